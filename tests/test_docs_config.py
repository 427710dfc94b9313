"""config.example.yaml is complete and true: every option of every block, each with its default."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from bridge import config
from bridge.options import Options
from bridge.sinks import builtin_kinds

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"
SECRETS = {"AWX_TOKEN": "t", "SLACK_TOKEN": "xoxb-1", "CMDB_SECRET": "s"}
SHOWN_FILLED_IN = {
    "sources.prod.public_url",
    "sources.prod.token",
    "sinks.ops.token",
    "sinks.cmdb.secret",
    "routes[0].to",
}
"""Options whose example says more than their default, `null` or nothing."""


@pytest.fixture(scope="module")
def loaded():
    return config.load(EXAMPLE, SECRETS)


@pytest.fixture(scope="module")
def raw():
    return yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))


def blocks(made, raw, path=""):
    """Every block of options with what stands in the file for it; of the routes the first."""
    if isinstance(made, Options):
        yield path, made, raw
        for name in type(made).model_fields:
            yield from blocks(getattr(made, name), raw.get(name), f"{path}.{name}".strip("."))
    elif isinstance(made, dict):
        for name, inner in made.items():
            yield from blocks(inner, raw.get(name), f"{path}.{name}")
    elif isinstance(made, tuple) and made and isinstance(made[0], Options):
        yield from blocks(made[0], raw[0], f"{path}[0]")


def test_every_option_is_shown(loaded, raw):
    missing = [
        f"{path}.{name}"
        for path, made, shown in blocks(loaded, raw)
        for name in type(made).model_fields
        if not isinstance(shown, dict) or name not in shown
    ]
    assert missing == []


def test_every_default_is_the_true_one(loaded, raw):
    wrong = {}
    for path, made, _ in blocks(loaded, raw):
        for name, field in type(made).model_fields.items():
            where = f"{path}.{name}".strip(".")
            value = getattr(made, name)
            if field.is_required() or where in SHOWN_FILLED_IN or isinstance(value, Options):
                continue
            if value != field.get_default(call_default_factory=True, validated_data={}):
                wrong[where] = value
    assert wrong == {}


def test_every_kind_of_sink_is_shown(raw):
    assert {block["type"] for block in raw["sinks"].values()} == set(builtin_kinds())


def test_the_schema_for_editors_accepts_it(raw):
    jsonschema.Draft202012Validator(config.config_schema()).validate(raw)


def test_every_option_has_a_comment_or_an_obvious_twin():
    """The first time an option's name appears, a comment stands beside it."""
    seen, silent = set(), []
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        name, colon, rest = line.strip().removeprefix("- ").partition(":")
        if not colon or name.startswith("#") or name in seen:
            continue
        seen.add(name)
        if "#" not in rest.replace('"#', "") and not name.endswith("_file"):
            silent.append(name)
    assert set(silent) <= {
        *("prod", "events", "ops", "cmdb", "archive", "console", "state", "server", "type"),
        *(
            "password",
            "sasl_username",
            "sasl_password",
            "jobs",
            "types",
            "tls",
            "fields",
            "hub_signature_header",
        ),
    }
