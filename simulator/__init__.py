"""An AWX made of scenarios and recordings, for the demo and the tests. It imports nothing of `bridge`."""

from simulator.planted import SECRETS

__all__ = ["SECRETS"]
