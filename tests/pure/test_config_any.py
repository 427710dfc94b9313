"""Arbitrary YAML gives a configuration or problems, and nothing else."""

import json
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import config
from bridge.errors import ConfigError
from bridge.sinks import sink_kinds

KINDS = sink_kinds()
KEYS = st.sampled_from(
    [
        *(
            "sources",
            "sinks",
            "routes",
            "server",
            "state",
            "log",
            "redact",
            "out",
            "any",
            "not",
            "gt",
            "template",
        ),
        *(
            "type",
            "url",
            "token",
            "token_file",
            "tls",
            "jobs",
            "exclude",
            "match",
            "to",
            "stop",
            "listen",
            "path",
        ),
        *(
            "retry_for",
            "max_event_bytes",
            "verify",
            "keys",
            "patterns",
            "headers",
            "name",
            "channel",
            "topic",
        ),
    ]
)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["10s", "https://x", "${X}", "awx.*", "out", "9" * 400, "[", "stdout", "webhook", ""])
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {
            "sources": ANY | st.dictionaries(KEYS, st.dictionaries(KEYS, ANY, max_size=4), max_size=2),
            "sinks": ANY | st.dictionaries(KEYS, st.dictionaries(KEYS, ANY, max_size=4), max_size=2),
            "routes": ANY | st.lists(st.dictionaries(KEYS, ANY, max_size=3), max_size=2),
        },
        optional={"server": ANY, "log": ANY, "redact": ANY, "state": ANY, "max_hosts": ANY},
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_yaml_gives_a_configuration_or_problems(value):
    with suppress(ConfigError):
        config.parse(json.dumps(value).encode(), {}, KINDS)
