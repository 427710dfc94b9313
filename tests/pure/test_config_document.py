"""Reading YAML: the core schema of 1.2, lines, bounds, and that any bytes are answered."""

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.config.document import MAX_BYTES, read_document
from bridge.errors import ConfigError


def data(text):
    return read_document(text.encode()).data


def complaint(text):
    with pytest.raises(ConfigError) as caught:
        read_document(text if isinstance(text, bytes) else text.encode())
    return "\n".join(map(str, caught.value.problems))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("2026-11-01", "2026-11-01"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        ('"12"', "12"),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("<<", "<<"),
        ("=", "="),
        ("${VAR}", "${VAR}"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = data(f"key: {text}")["key"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_texts():
    assert data("1: a\ntrue: b\nnull: c\nyes: d") == {"1": "a", "true": "b", "null": "c", "yes": "d"}


def test_every_value_has_its_line():
    document = read_document(b"a: 1\nb:\n  - c: 2\n  - d:\n      e: 3\n")
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 0, "c"): 3,
        ("b", 1): 4,
        ("b", 1, "d"): 4,
        ("b", 1, "d", "e"): 5,
    }
    assert document.line(("b", 1, "d", "missing", "deeper")) == 4


def test_anchors_and_merges():
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd:\n  <<: [{y: 9}, *a]\n"
    assert data(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"y": 9, "x": 1},
    }
    assert "only a mapping can be merged" in complaint("a: {<<: 5}")


def test_a_byte_order_mark_is_fine():
    assert read_document("\ufeffa: 1".encode()).data == {"a": 1}


def test_every_duplicate_key_is_reported():
    said = complaint("a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert said == (
        "line 2: b.c: this key is here twice, first on line 2: remove one\n"
        "line 3: a: this key is here twice, first on line 1: remove one"
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "empty"),
        ("# only a comment", None, "empty"),
        ("- a", 1, "must be a mapping"),
        ("text", 1, "must be a mapping"),
        ("a: 1\n---\nb: 2", 2, "one document"),
        ("a:\n\t- b", 2, "a tab"),
        ("a: b: c", 1, "out of place"),
        ("a: 1\nb: [1, 2", 2, "no YAML"),
        ("a: %x", 1, "in quotes"),
        ("a: @x", 1, "in quotes"),
        ("a: *nothing", 1, "in quotes"),
        ("a: !secret x", 1, "in quotes"),
        ("a: !!python/object/apply:os.system [ls]", 1, "tags are not supported"),
        ("a: &a [*a]", 1, "alias"),
        ("? [a]\n: b", 1, "a key must be"),
        ("a: .nan", 1, "finite"),
        ("a: -.inf", 1, "finite"),
        ("a: 1e999", 1, "finite"),
        ("a: 99999999999999999999", 1, "in quotes"),
        ('a: "\\ud800"', 1, "Unicode"),
        ('a: "\\UFFFFFFFF"', None, "no YAML"),
        (b"a: 1\nb: \xff", 2, "not UTF-8"),
        ("a: 1\nb: \x01", 2, "does not allow"),
        (b"a: " + b"x" * MAX_BYTES, None, "larger than"),
        ("a: " + "[" * 500, 1, "nested deeper"),
        ("[" * 100_000, 1, "nested deeper"),
    ],
)
def test_what_is_no_configuration(text, line, words):
    said = complaint(text)
    assert words in said
    assert said.startswith(f"line {line}: " if line else "the file") or line is None


def test_an_alias_bomb_does_not_go_off():
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases make more than" in complaint("\n".join(bomb))


def test_a_syntax_error_does_not_show_what_stands_there():
    for text in (
        "token: hunter2: x",
        "token: *hunter2",
        "token: !hunter2 x",
        "token: [hunter2",
        "t: &h'unter2 x",
    ):
        assert "unter2" not in complaint(text)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@example(b"%YAML 99999999999999999999.1\n---\na: 1")
@example(b"\xfe\xff")
def test_any_bytes_are_answered(raw):
    with suppress(ConfigError):
        assert isinstance(read_document(raw).data, dict)


@given(st.text("ab:-[]{}&*!|>'\"%@#?,\n \t<1", max_size=60))
def test_anything_like_yaml_is_answered(text):
    with suppress(ConfigError):
        assert isinstance(read_document(text.encode()).data, dict)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc", max_size=3), JSON, max_size=4))
def test_json_is_read_as_it_is(value):
    assert read_document(json.dumps(value).encode()).data == value


WORDS = st.text("xyzé𐀀 :-#{}[]'\"\n,&*!|>%@", max_size=8)


@given(st.dictionaries(WORDS, st.recursive(WORDS | st.integers(0, 9), st.lists, max_leaves=5), max_size=4))
def test_what_yaml_writers_write_is_read_back(value):
    assert read_document(yaml.safe_dump(value, allow_unicode=True).encode()).data == value
