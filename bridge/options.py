"""What configuration classes are made of: durations, sizes, secrets, TLS.

Each room declares its own options with these; `config.py` puts them together.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

_DURATION: Final = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?"
    r"(?:(?P<s>\d+(?:\.\d+)?)s)?(?:(?P<ms>\d+)ms)?"
)
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE: Final = re.compile(r"(?P<n>\d+)\s*(?P<unit>|B|KB|KiB|MB|MiB|GB|GiB)", re.IGNORECASE)
_SIZE_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "kib": 1024,
    "mb": 1000**2,
    "mib": 1024**2,
    "gb": 1000**3,
    "gib": 1024**3,
}


def parse_duration(value: object) -> float:
    """Read `10s`, `2m`, `1h30m`, `7d`, or a number of seconds.

    Raises:
        ValueError: when it is none of these, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration is a number of seconds or a text like 10s, 2m, 1h30m")
    if isinstance(value, int | float):
        seconds = float(value)
    elif _NUMBER.fullmatch(value.strip()):
        # What `${WAIT}` gives is a text.
        seconds = float(value)
    else:
        match = _DURATION.fullmatch(value.strip())
        if match is None or not any(match.groups()):
            raise ValueError(f"{value!r} is no duration: write 10s, 2m, 1h30m or a number of seconds")
        seconds = sum(float(n) * _UNITS[unit] for unit, n in match.groupdict().items() if n)
    if not 0 <= seconds < float("inf"):
        raise ValueError("a duration cannot be negative or endless")
    return seconds


def parse_size(value: object) -> int:
    """Read `16MiB`, `900kB`, or a number of bytes.

    Raises:
        ValueError: when it is none of these.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a size is a number of bytes or a text like 64KiB, 16MB")
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is no size: write 64KiB, 16MB or a number of bytes")
    return int(match["n"]) * _SIZE_UNITS[match["unit"].lower()]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
"""Seconds."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
]
"""Bytes."""

Secret = SecretStr
"""Never shown by repr, logs or `check`."""


class Options(BaseModel):
    """Base of every block of the configuration: frozen, unknown keys are errors.

    A field `x: Secret | None` beside a field `x_file: Path | None` is a secret that may be given
    either way; `config.py` refuses both at once and an unreadable file, `reveal` reads it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _tell_booleans_from_the_rest(cls, value: object, info: ValidationInfo) -> object:
        """Take true and false alone as booleans (YAML 1.2), or the texts that `${VAR}` gives."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind is bool:
            value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
        elif kind in (int, float) and isinstance(value, bool):
            raise ValueError("must be a number")
        return value

    def reveal(self, name: str) -> str | None:
        """Return the clear text of the secret `name`, its file read anew at each call.

        Raises:
            OSError: the file cannot be read.
        """
        value: Secret | None = getattr(self, name)
        if value is not None:
            return value.get_secret_value()
        path: Path | None = getattr(self, f"{name}_file")
        return None if path is None else path.read_text(encoding="utf-8").strip()


class TlsOptions(Options):
    """How to trust a server, and how to show who we are."""

    ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust; default: the system's"
    )
    client_cert: Path | None = Field(None, description="PEM file of the client certificate")
    client_key: Path | None = Field(None, description="PEM file of its key; default: in client_cert")
    verify: bool = Field(default=True, description="false switches certificate checks off: for trials only")

    def context(self) -> ssl.SSLContext:
        """Make the TLS context.

        Raises:
            OSError: a file cannot be read.
            ssl.SSLError: a file is no certificate or key.
        """
        made = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if self.client_cert is not None:
            made.load_cert_chain(str(self.client_cert), str(self.client_key) if self.client_key else None)
        return made


class FieldOptions(Options):
    """Which fields leave towards one sink, beside the default ones."""

    include: tuple[Literal["extra_vars"], ...] = Field((), description="fields that are off by default")
    exclude: tuple[str, ...] = Field((), description="fields to leave out; id, type, time and source stay")


class Batching(NamedTuple):
    """How a lane may hand events to a sink.

    At most `max_events` and `max_bytes` in one `send`; `in_flight` sends at a time, never two with
    events of one job.
    """

    max_events: int
    max_bytes: int
    in_flight: int


class SinkOptions(Options):
    """What every sink's block has."""

    retry_for: Duration = Field(
        3600.0, description="how long one failing event may hold back its job while others pass"
    )
    max_lag: Duration = Field(
        7 * 86400.0, description="a sink further behind gives up, with a count and an event"
    )
    fields: FieldOptions = FieldOptions()

    @property
    def batching(self) -> Batching:
        """How the lane hands events over."""
        return Batching(max_events=1, max_bytes=1 << 20, in_flight=1)

    @property
    def destination(self) -> str:
        """Where this sink delivers, without secrets: a changed destination is refused at start."""
        raise NotImplementedError
