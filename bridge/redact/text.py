"""Find secrets in plain text: by the name before them, and by what they look like.

Works on bytes, in time linear in their length: RE2 finds where something begins, and each scan for
its end goes on where the last one stopped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

import re2

from bridge.redact.names import SecretNames, ascii_caseless

MARK: Final = b"[redacted]"

Replace = Callable[[Any], bytes | None]

_PEM: Final = (
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\z)"
)
_PEM_END: Final = r"(?s)\A.*-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----"
_URL: Final = (
    r"""(://|:\\+/\\+/)([^\s/:@"'<>\[\]]*):("""
    r"""[0-9]*[^0-9@\s"'<>/?#][^@\s"'<>/?#]*[/?#][^\s"'<>]*|[^\s"'<>/?#]*)@"""
)
_URL_USER: Final = r"""(?i)(https?:\\*/\\*/)([^\s/:@"'<>\[\]\\]{20,})@"""
_SHAPES: Final = (
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bgl[a-z]{2,6}-[A-Za-z0-9_\-]{20,}",
    r"\bxox[a-z]-[A-Za-z0-9\-]{8,}",
    r"\bxapp-[A-Za-z0-9\-]{8,}",
    r"\bhooks\.slack\.com\\*/(?:services|workflows|triggers)\\*/[A-Za-z0-9/\\_\-]{8,}",
    r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)*",
    r"\bAIza[A-Za-z0-9_\-]{35}",
    r"\bhv[sbr]\.[A-Za-z0-9_\-]{20,}",
    r"\bnpm_[A-Za-z0-9]{30,}",
    r"\bsk_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\bsk-(?:ant-|proj-)[A-Za-z0-9_\-]{20,}",
)
_AWS_KEY_ID: Final = r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
_AWS_OTHER_HALF: Final = r"(?:^|[^A-Za-z0-9/+=])([A-Za-z0-9/+]{40})(?:$|[^A-Za-z0-9/+=])"
_SCHEME: Final = r"(?i)\b(bearer|basic) +([A-Za-z0-9._~+/\-]{6,}=*)"
_TYPED: Final = r"(?i)\b((?:password|secret|community|md5|key|key-string) +[0-9] +)([^\s\"',;\\]+)"
_COMMUNITY: Final = r"(?i)(snmp-server +community +)([^\s\"',;\\]+)"
_USER_OPTION: Final = r"""((?:^|[\s"'])(?:-u|--user|--proxy-user)[ =]+\\*["']?[^\s:"'\\]+:)([^\s"'\\]+)"""
_SSHPASS: Final = r"""(\bsshpass +-p *\\*["']?)([^\s"'\\]+)"""

NEEDLES: Final = (
    r"PRIVATE KEY",
    r":\\*/\\*/[^\s\"]*@",
    r"AKIA|ASIA",
    r"gh[pousr]_|github_pat_|gl[a-z]{2,6}-[A-Za-z0-9_\-]{20}",
    r"xox[a-z]-|xapp-|hooks\.slack",
    r"eyJ[A-Za-z0-9_\-]{8}|AIza|hv[sbr]\.|npm_|sk_(?:live|test)_|sk-(?:ant|proj)-",
    r"(?i:(?:bearer|basic) +[a-z0-9._~+/\-]|snmp-server +community|(?:community|md5|key|key-string) +[0-9])",
    r"(?:-u|--user|--proxy-user)[ =]",
)
"""What any secret that this room finds by its looks must contain, also in the bytes of a JSON document
without escaped printable characters.
"""

_KEPT: Final = frozenset(
    {
        b"",
        MARK,
        b"null",
        b"Null",
        b"None",
        b"none",
        b"true",
        b"false",
        b"True",
        b"False",
        b"~",
        b"$encrypted$",
        b"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER",
    }
)
_OPENING: Final = frozenset({b"{", b"["})
_GLUED: Final = frozenset({b"_", b"$", b"'", b'"', b"%", b"@", b"!", b"#", b"+", b"/", b"-", b"."})
_QUOTES: Final = frozenset({b"'", b'"'})
_ROUNDS: Final = 4
"""What was hidden may bring out what stands beside it, so a text is read again until nothing is found."""
_MIXED: Final = 20


def kept(value: bytes) -> bool:
    """Whether this value hides nothing: nothing at all, or already hidden by AWX or by us."""
    return value in _KEPT or not value.strip(b"*") or value.startswith(b"$hidden due to Ansible no_log flag$")


def _bytes(pattern: str) -> Any:
    return re2.compile(pattern.encode(), ascii_caseless())


class PlainText:
    """Replaces secrets in text by `[redacted]`, and says how many there were."""

    def __init__(self, names: SecretNames) -> None:
        """Compile everything once."""
        self._names = names
        name = rf"[\w.\-]*(?:{names.loose})[\w.\-]*"
        line = r"(?:(?:^|\n)(?:\x1b\[[0-9;]*m|[ \t+#*>|]|- )*)?"
        self._named = _bytes(rf"""(?i)({line})({name})(\\*["'])?(?:(\s*(?:=>|:=|[:=])\s*)|(,?[ \t]+))""")
        self._unquoted = _bytes(r"""(?:[^\s"'\x1b]|["'][^\s,;:)\]}"'\\\x1b])+""")
        self._literal = _bytes(r"""[^\s"',}\])\\\x1b]+""")
        self._header = _bytes(r"""[^"'\r\n\x1b]+""")
        self._escape = _bytes(r"^(?:[abfnrtv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")
        self._open = _bytes(r"""[uUbB]?(\\*)(["'])""")
        self._quote = _bytes(r"""(\\*)(["'])""")
        self._bracket = _bytes(r"""(?s)\\.|["{}\[\]]""")
        self._key_id = _bytes(_AWS_KEY_ID)
        self._aws_other_half = _bytes(_AWS_OTHER_HALF)
        self._passes: tuple[tuple[Any, Replace], ...] = (
            (_bytes(_PEM), _whole),
            (_bytes(_PEM_END), _whole),
            (_bytes("|".join(_SHAPES)), _whole),
            (_bytes(_URL), _url),
            (_bytes(_URL_USER), _url_user),
            (_bytes(_TYPED), _second),
            (_bytes(_COMMUNITY), _second),
            (_bytes(_USER_OPTION), _second),
            (_bytes(_SSHPASS), _second),
            (_bytes(_SCHEME), _scheme),
        )

    def redact(self, text: bytes) -> tuple[bytes, int]:
        """Return the text without its secrets, and how many were replaced."""
        count = 0
        for _ in range(_ROUNDS):
            text, found = self._round(text)
            count += found
            if not found:
                break
        return text, count

    def _round(self, text: bytes) -> tuple[bytes, int]:
        count = 0
        if self._key_id.search(text) is not None:
            text, count = _substitute(self._aws_other_half, text, _aws_other_half)
        for pattern, replace in self._passes:
            text, found = _substitute(pattern, text, replace)
            count += found
        text, found = self._by_name(text)
        return text, count + found

    def _by_name(self, text: bytes) -> tuple[bytes, int]:
        pieces: list[bytes] = []
        done = at = count = 0
        while (match := self._named.search(text, at)) is not None:
            at = match.end()
            span = self._value(text, match)
            if span is None:
                continue
            start, end = span
            at = max(at, end)
            if not kept(text[start:end]):
                pieces += (text[done:start], MARK)
                done, count = end, count + 1
        pieces.append(text[done:])
        return b"".join(pieces), count

    def _value(self, text: bytes, match: Any) -> tuple[int, int] | None:
        """Return where the value begins and ends that belongs to this name; None when there is none."""
        name, separator, start = match[2], match[4], match.end()
        option = separator is None and name.startswith(b"-") and text[start : start + 1] != b"-"
        if separator is None and not option:
            return None
        if not self._is_secret(name, escaped=text[: match.start(2)].endswith(b"\\")):
            return None
        opening = self._open.match(text, start)
        if opening is not None:
            return self._quoted(text, opening)
        if separator is not None and b"\n" in separator:
            return None
        return self._bare_value(text, match)

    def _is_secret(self, name: bytes, *, escaped: bool) -> bool:
        r"""Whether this names a secret; after a backslash it may begin with an escape: `\ntoken`."""
        names = [name, self._escape.sub(b"", name)] if escaped else [name]
        return any(one.decode("utf-8", "replace").strip("-.") in self._names for one in names)

    def _bare_value(self, text: bytes, match: Any) -> tuple[int, int] | None:
        """Return the value without quotes: an object or list, a header, a whole line or a word."""
        name, separator, start = match[2].lower(), match[4], match.end()
        if text.startswith(MARK, start):
            return start, self._after_mark(text, start + len(MARK))
        if text[start : start + 1] in _OPENING:
            return start, self._extended(text, self._closing_bracket(text, start))
        if b"authori" in name or b"cookie" in name:
            return self._trimmed(text, start, self._header)
        spaced = separator is not None and separator[-1:].isspace()
        if spaced and match[3] is None and self._begins_line(match):
            return self._line(text, start)
        return self._trimmed(text, start, self._unquoted if match[3] is None else self._literal)

    @staticmethod
    def _begins_line(match: Any) -> bool:
        return bool(match[1]) or match.start() == 0

    @staticmethod
    def _line(text: bytes, start: int) -> tuple[int, int]:
        end = _end_of_line(text, start)
        return start, start + len(text[start:end].rstrip(b" \t,;"))

    @staticmethod
    def _trimmed(text: bytes, start: int, pattern: Any) -> tuple[int, int] | None:
        match = pattern.match(text, start)
        if match is None:
            return None
        value = match[0].rstrip(b" \t\\,;)}")
        # A bracket at the end is punctuation, but for that of what is hidden already.
        return start, start + len(value if value.endswith(MARK) else match[0].rstrip(b" \t\\,;)]}"))

    def _quoted(self, text: bytes, opening: Any) -> tuple[int, int]:
        """Return what is between the quotes; all of it when more is glued to the closing quote."""
        depth, mark, at = len(opening[1]), opening[2], opening.end()
        while (quote := self._quote.search(text, at)) is not None:
            slashes = len(quote[1])
            at = quote.end()
            closes = slashes % 2 == 0 if depth == 0 else slashes <= depth
            if quote[2] == mark and closes:
                glued = self._extended(text, at)
                if glued > at:
                    return opening.start(), glued
                return opening.end(), quote.start() if depth else at - 1
        return opening.end(), _end_of_line(text, opening.end())

    def _closing_bracket(self, text: bytes, start: int) -> int:
        """Return the end of the object or list that begins at `start`, or of the text."""
        depth = 0
        in_text = False
        for token in self._bracket.finditer(text, start):
            sign = token[0]
            if sign == b'"':
                in_text = not in_text
            elif not in_text and sign in b"{[":
                depth += 1
            elif not in_text and sign in b"}]":
                depth -= 1
                if depth == 0:
                    return int(token.end())
        return len(text)

    def _after_mark(self, text: bytes, end: int) -> int:
        """Return the end of a value that begins like one redacted before, but goes on."""
        if text[end : end + 1] in _QUOTES:
            return end
        return self._extended(text, end)

    def _extended(self, text: bytes, end: int) -> int:
        """Return the end of what is glued to a quoted or bracketed value, as a shell would read it."""
        if not text[end : end + 1].isalnum() and text[end : end + 1] not in _GLUED:
            return end
        span = self._trimmed(text, end, self._unquoted)
        return end if span is None else span[1]


def _end_of_line(text: bytes, start: int) -> int:
    ends = [at for sign in (b"\r", b"\n") if (at := text.find(sign, start)) >= 0]
    return min(ends, default=len(text))


def _substitute(pattern: Any, text: bytes, replace: Replace) -> tuple[bytes, int]:
    pieces: list[bytes] = []
    done = count = 0
    for match in pattern.finditer(text):
        new = replace(match)
        if new is not None and match.end() > match.start():
            pieces += (text[done : match.start()], new)
            done, count = match.end(), count + 1
    if not count:
        return text, 0
    pieces.append(text[done:])
    return b"".join(pieces), count


def _whole(_match: Any) -> bytes | None:
    return MARK


def _second(match: Any) -> bytes | None:
    return None if kept(match[2]) else bytes(match[1]) + MARK


def _url(match: Any) -> bytes | None:
    return None if kept(match[3]) else bytes(match[1] + match[2]) + b":" + MARK + b"@"


def _url_user(match: Any) -> bytes | None:
    return bytes(match[1]) + MARK + b"@"


def _aws_other_half(match: Any) -> bytes | None:
    found = bytes(match[1])
    mixed = found.lower() != found and found.upper() != found and any(c in b"0123456789" for c in found)
    return bytes(match[0]).replace(found, MARK) if mixed else None


def _scheme(match: Any) -> bytes | None:
    """Judge `Bearer x` and `Basic x`: prose such as `basic authentication` stays."""
    value = bytes(match[2])
    if bytes(match[1]).lower() == b"basic":
        try:
            plain = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
        hidden = b":" in plain
    else:
        hidden = len(value) >= _MIXED or value.lower() != value or any(c in b"0123456789" for c in value)
    return bytes(match[0])[: -len(value)] + MARK if hidden else None
