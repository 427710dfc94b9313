"""The one client of AWX's API that daemon and commands share; aiohttp only here."""

from bridge.awx.budget import RequestBudget
from bridge.awx.options import SourceOptions
from bridge.awx.source import AwxSource, open_source

__all__ = ["AwxSource", "RequestBudget", "SourceOptions", "open_source"]
