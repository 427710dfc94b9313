"""Measurements of the whole command: `python -m bench` lists them, `python -m bench NAME` runs one."""
