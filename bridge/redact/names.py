"""Which names mean that the value beside them is a secret.

A name is a key of an object, a variable, an option or a header. It is judged by the words in it,
whatever their case and whatever joins them: `db_password`, `dbPassword`, `DB-PASSWORD`. A word such
as `_policy`, `_count` or `_file` at the end says that the value is only *about* a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import re2

_JOIN: Final = r"[-_. ]?"
_KINDS_OF_KEY: Final = (
    "private|api|access|auth|account|shared|storage|master|encryption|signing|subscription|license|service"
)
_WHOSE: Final = (
    "db|user|my|root|admin|ssh|vault|become|sudo|su|login|mail|smtp|imap|ftp|ldap|pg|sql|mysql|key|store"
    "|keystore|truststore|http|proxy|auth|enable|wifi|bind|master|cert|server|client|host"
)
_STEMS: Final = (
    "passw",
    "passphrase",
    f"pass{_JOIN}(?:phrase|code)",
    "secret",
    "credential",
    "cookie",
    "authori[sz]ation",
    "pwd",
    f"(?:{_KINDS_OF_KEY}){_JOIN}key",
    f"connection{_JOIN}string",
    f"session{_JOIN}id",
    f"snmp{_JOIN}community",
)
_WHOLE_WORDS: Final = (
    "tokens?",
    f"(?:{_WHOSE})?pass",
    "(?:access|auth|bearer|api|id|refresh|session|csrf|xsrf|security|user|bot|app)tokens?",
    "psk",
    "otp",
    "authkey",
)
_ABOUT: Final = (
    "policy|policies|count|length|len|size|min|max|days|weeks|age|aging|ttl|timeout|expir[a-z]*|lifetime"
    "|validity|type|types|enabled|disabled|required|file|files|filename|path|paths|dir|directory|name|names"
    "|prompt|updated|changed|last|warn|warning|inactive|lock|locked|history|rotation|interval|method|algorithm"
    "|version|url|uri|endpoint|strength|complexity|attempts?|check|authentication|mode|owner|group"
)
_NOT_SECRET: Final = frozenset({"update_password", "PWD", "OLDPWD"})
"""`update_password` of Ansible's user modules is a choice; the shell's `PWD` is a folder."""

_CACHED: Final = 20_000


def ascii_caseless() -> Any:
    """Return RE2 options that look at bytes, and fold the case of ASCII only where `(?i)` says so."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options


class SecretNames:
    """Knows secret names; remembers its answers, at most 20,000 of them.

    `loose` is a pattern that every secret name contains, and `needle` one that every text with a
    secret name contains, which is rarer in other texts.
    """

    def __init__(self, extra: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
        """Take further words that make a name secret, and names that are not secret after all."""
        stems = [*_STEMS, *(re2.escape(word) for word in extra)]
        self._allowed = frozenset(name.lower() for name in allowed)
        words = "|".join(_WHOLE_WORDS)
        exact = rf"(?i)(?:{'|'.join(stems)})|(?:^|[^a-z])(?:{words})(?:[^a-z]|$)"
        loose = "|".join([*stems, "token", "pass", "psk", "otp", "authkey"])
        about = rf"(?i)(?:{loose})[a-z]*(?:[-_. ](?:{_ABOUT}))+$"
        self.loose = loose
        self.needle = rf"(?i:{'|'.join([*stems, 'token', 'authkey'])})|(?i:pass|psk|otp)(?:[^a-z]|$)"
        self._secret = re2.compile(exact.encode(), ascii_caseless())
        self._about = re2.compile(about.encode(), ascii_caseless())
        self._camel = re2.compile(rb"([a-z0-9])([A-Z])", ascii_caseless())
        self._answers: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        """Whether the value of `name` is a secret."""
        answer = self._answers.get(name)
        if answer is None:
            answer = self._judge(name)
            if len(self._answers) >= _CACHED:
                self._answers.clear()
            self._answers[name] = answer
        return answer

    def _judge(self, name: str) -> bool:
        if name in _NOT_SECRET or name.lower() in self._allowed:
            return False
        plain = name.encode("utf-8", "replace")
        split = self._camel.sub(rb"\1_\2", plain)
        if self._about.search(split) is not None:
            return False
        return self._secret.search(plain) is not None or self._secret.search(split) is not None
