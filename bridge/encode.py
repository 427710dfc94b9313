"""What an event looks like on the wire: its id, its body, its CloudEvents attributes.

Pure: values in, bytes out. Bodies are spliced as bytes; nothing is decoded that need not be.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bridge.contract import CORE
from bridge.errors import PermanentDeliveryError
from bridge.model import JOB_TYPES, SCHEMA_VERSION, Event, JobKey
from bridge.options import FieldOptions

MESSAGE_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:awx-event-bridge:event")
"""Namespace of `message_uuid`: UUIDv5 of the URL namespace and `urn:awx-event-bridge:event`."""

DATA_SCHEMA: Final = f"urn:awx-event-bridge:event:{SCHEMA_VERSION}"

_Raws = dict[str, msgspec.Raw]
_ID: Final = re.compile(
    r"(?P<source>[^/]+)/(?P<type>[^/]+)/(?P<job>[0-9]{1,18})/"
    r"(?:event/(?P<counter>[0-9]{1,18})(?:/(?P<repeat>[0-9]{1,9}))?|[^/]+(?:/.+)?)"
)
_EMPTY_OBJECT: Final = msgspec.Raw(b"{}")
_encoder: Final = msgspec.json.Encoder()
_raws: Final = msgspec.json.Decoder(_Raws)


def event_id(key: JobKey, counter: int, repeat: int = 1) -> str:
    """Return the id of a job event: the `repeat`-th different row of this counter."""
    return f"{key}/event/{counter}" + (f"/{repeat}" if repeat > 1 else "")


def status_id(key: JobKey, status: str, repeat: int = 1) -> str:
    """Return the id of a status: `deleted` comes once, `stalled` is always numbered."""
    if status == "deleted":
        return f"{key}/deleted"
    if status == "stalled":
        return f"{key}/stalled/{repeat}"
    return f"{key}/status/{status}" + (f"/{repeat}" if repeat > 1 else "")


def read_id(text: str) -> tuple[JobKey, int | None, int] | None:
    """Return what the id of an event of a job says: the job, the counter and the repeat of a job event.

    Of anything else of a job the counter is None; of the bridge's own events nothing is said: None.
    """
    found = _ID.fullmatch(text)
    if found is None or found["type"] not in JOB_TYPES:
        return None
    key = JobKey(found["source"], found["type"], int(found["job"]))
    return key, int(found["counter"]) if found["counter"] else None, int(found["repeat"] or 1)


def message_uuid(event_id: str) -> str:
    """Return the UUIDv5 of an event id, which Ansible's `ansible.eda.kafka` takes as its own."""
    return str(uuid.uuid5(MESSAGE_NAMESPACE, _utf8(event_id)))


def iso(epoch: float) -> str:
    """Return epoch seconds as RFC 3339 in UTC with microseconds, ending in `Z`.

    Raises:
        ValueError: before the year 1 or after the year 9999.
    """
    try:
        moment = datetime.fromtimestamp(epoch, UTC)
    except (OverflowError, OSError) as err:
        raise ValueError(f"{epoch} is no time") from err
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def dump(fields: Mapping[str, Any]) -> bytes:
    """Encode flat fields as JSON; `msgspec.Raw` values are spliced as they are.

    What JSON or UTF-8 cannot carry (a lone surrogate) is replaced, never refused.
    """
    try:
        return _encoder.encode(fields)
    except UnicodeEncodeError:
        return _encoder.encode(_clean(fields))


def to_event(
    fields: Mapping[str, Any],
    *,
    key: str,
    counter: int | None = None,
    repeat: int = 1,
    status_number: int | None = None,
    extra_vars: str | None = None,
) -> Event:
    """Make the event of these normalized and redacted fields.

    `fields` needs `id`, `type`, `time` and `source`; `event_data` may be `msgspec.Raw`.
    """
    return Event(
        id=_utf8(fields["id"]),
        type=fields["type"],
        time=fields["time"],
        source=_utf8(fields["source"]),
        key=_utf8(key),
        body=dump(fields),
        counter=counter,
        repeat=repeat,
        late="late" in fields,
        status_number=status_number,
        extra_vars=None if extra_vars is None else _utf8(extra_vars),
    )


def replayed(event: Event) -> Event:
    """Return the same event with `replayed: true` in its body."""
    body = event.body[:-1] + b',"replayed":true}'
    return msgspec.structs.replace(event, body=body)


def shape(event: Event, *, fields: FieldOptions, max_bytes: int | None = None) -> bytes:
    """Return the body for one sink: its choice of fields, at most `max_bytes` bytes.

    Too large, it is cut in the order `event_data.res`, the rest of `event_data`, `stdout`, `hosts`
    and `extra_vars`; `truncated` then names what was cut. `stdout` and `hosts` keep what fits.

    Raises:
        PermanentDeliveryError: it is too large even so.
    """
    with_vars = "extra_vars" in fields.include and event.extra_vars is not None
    fits = max_bytes is None or len(event.body) <= max_bytes
    if fits and not with_vars and not fields.exclude:
        return event.body
    raws = _raws.decode(event.body)
    if with_vars:
        raws["extra_vars"] = msgspec.Raw(_encoder.encode(event.extra_vars))
    for name in set(fields.exclude) - CORE:
        raws.pop(name, None)
    body = _encoder.encode(raws)
    if max_bytes is None or len(body) <= max_bytes:
        return body
    return _cut(raws, max_bytes)


def cloudevents(event: Event) -> list[tuple[str, str]]:
    """Return the CloudEvents 1.0 attributes, without `datacontenttype`, which the sink knows.

    `subject` is the key without the source (`job/42`); `partitionkey` is the partitioning extension.
    """
    return [
        ("specversion", "1.0"),
        ("id", event.id),
        ("source", event.source),
        ("type", event.type),
        ("time", event.time),
        ("subject", event.key.partition("/")[2] or event.key),
        ("dataschema", DATA_SCHEMA),
        ("partitionkey", event.key),
    ]


def structured(event: Event, body: bytes) -> bytes:
    """Return the CloudEvents 1.0 JSON envelope of `body` (`application/cloudevents+json`)."""
    return _encoder.encode(
        {**dict(cloudevents(event)), "datacontenttype": "application/json", "data": msgspec.Raw(body)}
    )


def _cut(raws: _Raws, max_bytes: int) -> bytes:
    cuts: list[str] = []
    body = b""
    for name, cut in _CUTS:
        if not cut(raws, max_bytes, len(_with_note(raws, [*cuts, name]))):
            continue
        cuts.append(name)
        body = _with_note(raws, cuts)
        if len(body) <= max_bytes:
            return body
    size = len(body or _encoder.encode(raws))
    raise PermanentDeliveryError(f"{size} bytes even when cut; the limit is {max_bytes}")


def _with_note(raws: _Raws, cuts: list[str]) -> bytes:
    return _encoder.encode({**raws, "truncated": cuts})


def _cut_res(raws: _Raws, _max_bytes: int, _size: int) -> bool:
    if "event_data" not in raws:
        return False
    data = _raws.decode(raws["event_data"])
    if data.pop("res", None) is None:
        return False
    raws["event_data"] = msgspec.Raw(_encoder.encode(data))
    return True


def _cut_event_data(raws: _Raws, _max_bytes: int, _size: int) -> bool:
    if len(bytes(raws.get("event_data", _EMPTY_OBJECT))) <= len(b"{}"):
        return False
    raws["event_data"] = _EMPTY_OBJECT
    return True


def _cut_extra_vars(raws: _Raws, _max_bytes: int, _size: int) -> bool:
    return raws.pop("extra_vars", None) is not None


def _keep_what_fits(name: str) -> Callable[[_Raws, int, int], bool]:
    """Make the cut of a text or list: its longest beginning that leaves the body within the limit."""

    def cut(raws: _Raws, max_bytes: int, size: int) -> bool:
        value: str | list[Any] = msgspec.json.decode(raws.get(name, b"[]"))
        if not value:
            return False
        room = max_bytes - (size - len(bytes(raws[name])))
        fits, too_long = 0, len(value)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if len(_encoder.encode(value[:middle])) <= room:
                fits = middle
            else:
                too_long = middle
        raws[name] = msgspec.Raw(_encoder.encode(value[:fits]))
        return True

    return cut


_CUTS: Final[tuple[tuple[str, Callable[[_Raws, int, int], bool]], ...]] = (
    ("event_data.res", _cut_res),
    ("event_data", _cut_event_data),
    ("stdout", _keep_what_fits("stdout")),
    ("hosts", _keep_what_fits("hosts")),
    ("extra_vars", _cut_extra_vars),
)


def _utf8(text: str) -> str:
    """Return `text`, with `?` for what UTF-8 cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, Mapping):
        return {_clean(name): _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
