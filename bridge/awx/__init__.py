"""The one client of AWX's API that daemon and commands share; aiohttp only here."""
