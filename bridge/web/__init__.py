"""What the bridge shows of itself over HTTP: probes, metrics, status.

It only shows: no request changes anything, and no answer holds a payload or a secret.
"""
