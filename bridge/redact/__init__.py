"""Take secrets out of everything that leaves: by the names beside them and by what they look like.

Pure and total. One linear search over the bytes decides; only on a hit is a document parsed,
redacted and dumped, and without a hit it would have come out the same. A document that cannot be
read again is dropped, never sent. Redacting twice changes nothing more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
import re2
from pydantic import AfterValidator, Field

from bridge.options import Options
from bridge.redact.names import SecretNames, ascii_caseless
from bridge.redact.text import MARK, NEEDLES, PlainText, kept

__all__ = ["REDACTED", "RedactOptions", "Redactor"]

REDACTED: Final = MARK.decode()

_MAX_NESTED: Final = 4
"""How many levels of JSON inside strings of JSON are parsed; deeper ones are read as plain text."""

_ESCAPES: Final = (r"\\u00[2-7]", r"\\/")
"""How JSON can spell a printable ASCII character otherwise."""

_OPTION: Final = re.compile(r"--?[A-Za-z0-9_.-]+")
_NAME_KEYS: Final = frozenset({"name", "Name", "key", "Key", "var", "varname", "variable", "option"})
_VALUE_KEYS: Final = frozenset({"value", "Value", "val", "default"})


def _re2_pattern(pattern: str) -> str:
    try:
        re2.compile(pattern, _quiet())
    except re2.error as err:
        message = err.args[0] if err.args else ""
        text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        raise ValueError(f"is no RE2 pattern: {text}") from err
    return pattern


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_. -]{2,100}$")]


class RedactOptions(Options):
    """What is secret here, beside what is secret everywhere."""

    keys: tuple[Word, ...] = Field(
        (), description="further words: a key, variable or option with one in its name is secret"
    )
    patterns: tuple[Annotated[str, AfterValidator(_re2_pattern)], ...] = Field(
        (), description="further RE2 patterns: what they match in any text is redacted"
    )
    allow: tuple[str, ...] = Field((), description="names of keys that are not secret after all, any case")


class Redactor:
    """Replaces secrets by `[redacted]`, and counts them."""

    def __init__(self, options: RedactOptions | None = None) -> None:
        """Compile everything once."""
        options = options or RedactOptions()
        self._names = SecretNames(options.keys, options.allow)
        self._plain = PlainText(self._names)
        self._patterns = [re2.compile(pattern, _quiet()) for pattern in options.patterns]
        needles = "|".join((self._names.needle, *NEEDLES, *_ESCAPES))
        quick = ascii_caseless()
        quick.never_capture = True
        self._needle = re2.compile(needles.encode(), quick)

    def document(self, raw: bytes) -> tuple[bytes, int]:
        """Redact a JSON document: return it, byte for byte unless something was found, and how much.

        A document that cannot be parsed becomes `{}` and counts as one redaction.
        """
        if not self._suspicious(raw):
            return raw, 0
        try:
            holder = [msgspec.json.decode(raw)]
            count = self._walk(holder, 0) or _has_twins(raw)
            return (msgspec.json.encode(holder[0]), count) if count else (raw, 0)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return b"{}", 1

    def text(self, text: str) -> tuple[str, int]:
        """Redact a text, which may be JSON: return it and how many secrets were replaced."""
        if not self._suspicious(text.encode("utf-8", "replace")):
            return text, 0
        return self._string(text, 0)

    def fields(self, fields: dict[str, Any], names: tuple[str, ...]) -> int:
        """Redact the texts, lists and objects at `names` in place; return how many secrets there were.

        `msgspec.Raw` values are documents.
        """
        texts = [value for name in names if type(value := fields.get(name)) is str]
        suspicious = self._suspicious("\n".join(texts).encode("utf-8", "replace"))
        count = 0
        for name in names:
            value = fields.get(name)
            if type(value) is str:
                if suspicious:
                    fields[name], found = self.text(value)
                    count += found
            elif isinstance(value, msgspec.Raw):
                raw = bytes(value)
                document, found = self.document(raw)
                if found:
                    fields[name] = msgspec.Raw(document)
                count += found
            elif type(value) in (list, dict):
                count += self._walk([value], 0)
        return count

    def _suspicious(self, raw: bytes) -> bool:
        # What a configured pattern needs cannot be told from the pattern: then look at everything.
        return bool(self._patterns) or self._needle.search(raw) is not None

    def _walk(self, holder: list[Any], nested: int) -> int:
        """Redact everything in `holder`, in place and without recursion."""
        count = 0
        todo: list[tuple[Any, bool]] = [(holder, False)]
        while todo:
            container, secret = todo.pop()
            exposed: frozenset[str] = frozenset()
            if type(container) is dict:
                found, exposed = self._rename(container)
                count += found
            for place, value, hidden in self._items(container, secret=secret):
                if type(value) in (dict, list):
                    todo.append((value, hidden or place in exposed))
                    continue
                new, found = self._scalar(value, nested, hidden=hidden or place in exposed)
                if found:
                    container[place] = new
                    count += found
        return count

    def _items(self, container: Any, *, secret: bool) -> Iterator[tuple[Any, Any, bool]]:
        """Yield place, value, and whether the value is a secret because of where it stands."""
        if type(container) is list:
            return self._list_items(container, secret=secret)
        return self._dict_items(container, secret=secret)

    def _dict_items(self, container: dict[str, Any], *, secret: bool) -> Iterator[tuple[Any, Any, bool]]:
        named = any(
            type(container.get(key)) is str and container[key] in self._names
            for key in _NAME_KEYS & container.keys()
        )
        for key, value in container.items():
            yield key, value, secret or key in self._names or (named and key in _VALUE_KEYS)

    def _list_items(self, container: list[Any], *, secret: bool) -> Iterator[tuple[Any, Any, bool]]:
        """A value follows its option (`--password`, `x`); a private key may come line by line."""
        option = in_key = False
        for place, value in enumerate(container):
            text = value if type(value) is str else ""
            if "PRIVATE KEY-----" in text or "PRIVATE KEY BLOCK-----" in text:
                in_key = text.rfind("-----BEGIN") > text.rfind("-----END")
                yield place, value, True
            else:
                yield place, value, secret or option or (in_key and bool(text))
            option = _OPTION.fullmatch(text) is not None and text.strip("-") in self._names

    def _scalar(self, value: Any, nested: int, *, hidden: bool) -> tuple[Any, int]:
        if type(value) is str:
            if not hidden:
                return self._string(value, nested)
            return (value, 0) if kept(value.encode("utf-8", "replace")) else (REDACTED, 1)
        if hidden and type(value) in (int, float):
            return REDACTED, 1
        return value, 0

    def _string(self, text: str, nested: int) -> tuple[str, int]:
        if nested < _MAX_NESTED and text.lstrip()[:1] in ("{", "["):
            try:
                holder = [msgspec.json.decode(text)]
                count = self._walk(holder, nested + 1) or _has_twins(text)
                return (msgspec.json.encode(holder[0]).decode(), count) if count else (text, 0)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass
        plain = text.encode("utf-8", "replace")
        redacted, count = self._plain.redact(plain) if self._needle.search(plain) else (plain, 0)
        for pattern in self._patterns:
            redacted, found = _apply(pattern, redacted)
            count += found
        return (redacted.decode("utf-8", "replace"), count) if count else (text, 0)

    def _rename(self, container: dict[str, Any]) -> tuple[int, frozenset[str]]:
        """Redact the keys themselves; a key that is taken gets a number.

        Return how many secrets there were, and the new keys of what had a secret name before.
        """
        if not any(self._suspicious(key.encode("utf-8", "replace")) for key in container):
            return 0, frozenset()
        items = list(container.items())
        container.clear()
        count = 0
        exposed = []
        for key, value in items:
            new, found = self._string(key, _MAX_NESTED)
            count += found
            name, number = new, 1
            while name in container:
                number += 1
                name = f"{new} ({number})"
            container[name] = value
            if key in self._names:
                exposed.append(name)
        return count, frozenset(exposed)


def _has_twins(document: str | bytes) -> int:
    """Return 1 when an object has a key twice: only the last of them was read, so only it may leave."""
    found = 0

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        if len({key for key, _ in pairs}) < len(pairs):
            found = 1

    json.loads(document, object_pairs_hook=look)
    return found


def _apply(pattern: Any, text: bytes) -> tuple[bytes, int]:
    """Replace what `pattern` matches between the marks of earlier redactions."""
    count = 0
    pieces = text.split(MARK)
    for index, piece in enumerate(pieces):
        parts: list[bytes] = []
        done = 0
        for match in pattern.finditer(piece):
            if match.end() > match.start():
                parts += (piece[done : match.start()], MARK)
                done, count = match.end(), count + 1
        parts.append(piece[done:])
        pieces[index] = b"".join(parts)
    return MARK.join(pieces), count
