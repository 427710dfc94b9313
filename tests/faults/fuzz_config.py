"""Configuration files, mutated: each gives a configuration that can run, or problems for people."""

from __future__ import annotations

import json
from functools import cache

import yaml

from bridge.assemble import scope_of
from bridge.config import parse
from bridge.config.loading import config_schema
from bridge.contract import FIELDS
from bridge.errors import ConfigError
from bridge.examples import golden_examples
from bridge.route import compile_routes
from bridge.sinks import builtin_kinds
from tests.faults.mutate import mutated_bytes, mutated_tree

BASE = {
    "name": "b",
    "sources": {
        "prod": {
            "url": "https://awx.example.com",
            "token": "${T:-t}",
            "jobs": {"exclude": {"template": "x*"}},
        }
    },
    "sinks": {
        "out": {"type": "file", "path": "./x.jsonl", "retry_for": "1h", "fields": {"exclude": ["stdout"]}},
        "hook": {"type": "webhook", "url": "https://h/", "secret": "s", "headers": {"X-A": "b"}},
    },
    "routes": [
        {"match": {"type": ["awx.job.failed", "awx.job.*"], "elapsed": {"gt": 600}}, "to": ["out", "hook"]},
        {
            "match": {"any": [{"host": {"regex": "^web"}}, {"labels": {"not": "x"}}]},
            "to": "out",
            "stop": True,
        },
    ],
    "server": {"listen": "127.0.0.1:8088"},
    "redact": {"keys": ["pin"], "patterns": ["[0-9]{16}"]},
}


@cache
def names():
    """Return every option, field and operator that there is."""
    found = {
        *FIELDS,
        "gt",
        "gte",
        "lt",
        "lte",
        "regex",
        "not",
        "exists",
        "any",
        "kafka",
        "slack",
        "stdout",
        "file",
    }

    def look(schema):
        if isinstance(schema, dict):
            found.update(schema.get("properties", {}))
            for inner in schema.values():
                look(inner)
        for inner in schema if isinstance(schema, list) else ():
            look(inner)

    look(config_schema())
    return sorted(found)


@cache
def examples():
    return list(golden_examples().values())


def make(rng):
    """Return the bytes of one file: block or flow style, good or not."""
    tree = mutated_tree(rng, BASE, names(), times=rng.choice((0, 1, 1, 2, 3)))
    try:
        text = json.dumps(tree) if rng.random() < 0.7 else yaml.safe_dump(tree, allow_unicode=True)
    except RecursionError:
        text = json.dumps(BASE)
    return mutated_bytes(rng, text.encode(errors="surrogatepass"), times=rng.choice((0, 0, 0, 1, 1, 3)))


def check(raw):
    """Load it; what loads must compile and route every kind of event."""
    try:
        config = parse(raw, {}, builtin_kinds())
    except ConfigError as err:
        return _refused(err)
    routes = compile_routes(config.route_specs, known_fields=FIELDS)
    for fields in examples():
        assert set(routes.sinks_for(fields)) <= set(config.sinks)
    for options in config.sources.values():
        scope_of(options, public_url="https://awx")
    for options in config.sinks.values():
        assert options.destination
        assert options.batching.max_events > 0
    assert config.server.address is None or config.server.address[1] >= 0
    return "loaded"


def _refused(error):
    assert error.problems
    assert all(problem.message and "\n" not in problem.message for problem in error.problems)
    assert str(error).encode()
    return "refused"
