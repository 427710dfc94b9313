"""Mutations for the fuzzer: values replaced, moved and nested, bytes flipped, cut and repeated."""

from __future__ import annotations

import json

ODD_TEXTS = (
    *("", " ", "\x00", "\x1b[2J\x1b]0;x\x07", "\ud800", "\u202e", "﷽" * 50, "é́", "\r\n", "a" * 5_000),
    *("<!channel> @here <@U1>", "*_~````", "{{ 7 * 7 }}", "%s%n", "${HOME}", "../../etc/passwd", "' OR 1=1"),
    *("password=x", "https://a:b@c", "Bearer x", "-----BEGIN RSA PRIVATE KEY-----", '\\"', "null", "NaN"),
    *("2026-02-30T25:61:61Z", "0001-01-01T00:00:00-23:59", "9999-12-31T23:59:59.999999Z", "2026-W01", "10s"),
)
ODD_NUMBERS = (0, -1, 1, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**400), 0.1, 1e308, -0.0)
ODD_NUMBERS_TOO = (float("nan"), float("inf"), float("-inf"))
ODD_REST = (None, True, False, [], {}, [[]], [{}], {"": None}, [None] * 300, {"results": [{}]})
CHUNKS = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"\\ud800", b"\\u0000", b"1e999", b"-0", b"null", b"NaN", b"Infinity", b'"counter":', b'"results":['),
    *(b"[" * 2_000, b'{"a":' * 2_000, b"9" * 5_000, b"<html>", b"\n", b"\t", b"\n  ", b"- ", b"&a ", b"*a"),
    *(
        b"<<: *a\n",
        b"!!python/object:os.system ",
        b"---\n",
        b"...\n",
        b"? ",
        b"|\n",
        b"${X}",
        b"${X:-1}",
        b"$",
    ),
)


def odd(rng):
    """Return a value that nobody should send."""
    value = copied(rng.choice(rng.choice((ODD_TEXTS, ODD_TEXTS, ODD_NUMBERS, ODD_NUMBERS_TOO, ODD_REST))))
    for _ in range(rng.choice((0, 0, 0, 0, 1, 3, 40))):
        value = [value] if rng.random() < 0.5 else {rng.choice(ODD_TEXTS[:20]): value}
    return value


def copied(value):
    """Copy a tree of lists and dicts."""
    if isinstance(value, dict):
        return {name: copied(inner) for name, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def places(value):
    """Yield (container, key) of everything inside a tree."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)


def mutated_tree(rng, tree, names, *, times):
    """Change `times` places of a copy of `tree`; `names` are keys worth trying."""
    tree = copied(tree)
    for _ in range(times):
        found = list(places(tree))
        if not found:
            break
        container, key = rng.choice(found)
        match rng.randrange(5):
            case 0 | 1:
                container[key] = odd(rng)
            case 2:
                del container[key]
            case 3 if isinstance(container, dict):
                container[rng.choice(names)] = container[key]
            case _:
                other, there = rng.choice(found)
                container[key] = copied(other.get(there) if isinstance(other, dict) else odd(rng))
    return tree


def mutated_bytes(rng, data, *, times):
    """Change `data` at `times` places: flip, insert, cut out, cut off, repeat."""
    for _ in range(times):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 8, 200)))
        match rng.randrange(6):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1 | 2:
                data = data[:at] + rng.choice(CHUNKS) + data[at:]
            case 3:
                data = data[:at] + data[end:]
            case 4:
                data = data[:at]
            case _:
                data = data[:end] + data[at:end] * rng.choice((1, 2, 50)) + data[end:]
    return data


def as_json(rng, tree):
    """Write `tree` as one of the ways in which JSON can be written, NaN and lone surrogates included."""
    ascii_only = rng.random() < 0.5
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=rng.choice((None, None, 1)))
    return text.encode(errors="surrogatepass")
