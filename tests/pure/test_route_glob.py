"""Globs: against an oracle of its own, and what is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.route.glob import compile_glob, search_test


def oracle(pattern, text):
    """A slow, obvious matcher for patterns of tokens: a literal, "*", "?" or a set of characters."""
    if not pattern:
        return text == ""
    kind, what = pattern[0]
    rest = pattern[1:]
    if kind == "star":
        return any(oracle(rest, text[at:]) for at in range(len(text) + 1))
    if not text:
        return False
    good = {"one": True, "literal": text[0] == what, "in": text[0] in what, "out": text[0] not in what}[kind]
    return good and oracle(rest, text[1:])


SMALL = "ab-[]*?!^\\\né"
SPECIAL = "*?[]\\"
TOKENS = st.one_of(
    st.just(("star", "*")),
    st.just(("one", "?")),
    st.tuples(st.just("literal"), st.sampled_from(SMALL)),
    st.tuples(st.sampled_from(["in", "out"]), st.text(SMALL, min_size=1, max_size=3)),
)


def written(token):
    kind, what = token
    if kind == "literal":
        return f"\\{what}" if what in SPECIAL else what
    if kind in {"in", "out"}:
        escaped = "".join("\\" + char for char in what)
        return f"[{'!' if kind == 'out' else ''}{escaped}]"
    return what


@given(st.lists(TOKENS, max_size=5), st.text(SMALL, max_size=6))
@example([("literal", "a"), ("star", "*")], "a\n")
def test_a_glob_agrees_with_the_oracle(tokens, text):
    glob = compile_glob("".join(map(written, tokens)))
    assert glob.test(text) is oracle(tokens, text)


@given(st.lists(TOKENS, max_size=5), st.text(SMALL, max_size=6))
def test_what_matches_has_the_literal_start(tokens, text):
    glob = compile_glob("".join(map(written, tokens)))
    if glob.test(text):
        assert text.startswith(glob.literal)
        assert not glob.exact or text == glob.literal
    if glob.open_end:
        assert glob.test(glob.literal + text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("deploy-*", "deploy-web", "Deploy-web"),
        ("*-prod", "web-prod", "web-prod2"),
        ("web[0-9]", "web7", "webx"),
        ("web[!0-9]", "webx", "web7"),
        ("web[^0-9]", "webx", "web7"),
        ("[]]x", "]x", "x"),
        ("[a-]", "-", "b"),
        (r"\[prod\] *", "[prod] deploy", "p deploy"),
        ("", "", "a"),
        ("a?c", "aéc", "ac"),
        ("*", "", None),
        ("a*b*c", "a--b--c", "a--c--b"),
    ],
)
def test_examples(pattern, yes, no):
    test = compile_glob(pattern).test
    assert test(yes)
    assert no is None or not test(no)


@pytest.mark.parametrize("pattern", ["[", "web[0-9", "[]", "[!]", "a\\", "[z-a]", "[a\\"])
def test_a_broken_glob_is_refused(pattern):
    with pytest.raises(ValueError, match=r"\\|range"):
        compile_glob(pattern)


def test_a_regex_is_found_anywhere_and_never_raises():
    find = search_test("timed? out")
    assert find("it timed out twice")
    assert not find("fine")
    assert not find("\ud800")


def test_a_regex_that_is_none_says_why():
    with pytest.raises(ValueError, match=r"missing \)"):
        search_test("(")


@given(st.text(max_size=20))
def test_any_regex_compiles_or_is_refused(pattern):
    try:
        test = search_test(pattern)
    except ValueError:
        return
    assert test("some text") in (True, False)
