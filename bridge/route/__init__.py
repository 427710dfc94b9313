"""The rules: which sinks an event goes to, and why.

Pure. Everything is compiled when the configuration is loaded; routing an event cannot fail.
`docs/configuration.md` describes the language.
"""

from __future__ import annotations

from bridge.route.match import JOB_FIELDS, Matcher, compile_match
from bridge.route.router import Router, RouteSpec, Verdict, compile_routes

__all__ = [
    "JOB_FIELDS",
    "Matcher",
    "RouteSpec",
    "Router",
    "Verdict",
    "compile_match",
    "compile_routes",
    "search_test",
]
