"""Event lists of AWX as bytes, and what can be read of them. Pure: no I/O.

Nothing here raises on arbitrary JSON inside `results`. The fast path decodes a whole page at once
with `event_data` as raw bytes; only a page with a malformed row is read row by row.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from bridge.model import AwxEvent

T = TypeVar("T")

HIGHEST_COUNTER: Final = 2**31 - 1
"""AWX keeps the counter in a PositiveIntegerField (awx/main/models/events.py)."""

_COUNTER_IN_HEAD: Final = re.compile(rb'"counter"\s*:\s*(\d{1,10})\b')
_ID_IN_HEAD: Final = re.compile(rb'"results"\s*:\s*\[\s*\{\s*"id"\s*:\s*(\d{1,18})\b')
_COUNT_IN_HEAD: Final = re.compile(rb'^\s*\{\s*"count"\s*:\s*(\d+)')


class NotJson(ValueError):
    """The body is no JSON."""


class WrongShape(ValueError):
    """The body is JSON, but not what was asked for."""


class TooDeep(ValueError):
    """The body is nested too deeply to be read."""


class Rows(NamedTuple):
    """The placeable rows of one answer, by counter, then id.

    `received` counts all rows of the answer; `unplaced` those without a usable counter. `more`
    says that AWX itself names a next page. `counted` is AWX's own number of rows, where it was asked
    for, `size` the length of the answer in bytes.
    """

    events: tuple[AwxEvent, ...]
    received: int
    unplaced: int
    more: bool
    counted: int | None
    size: int


class _Page(msgspec.Struct):
    results: list[AwxEvent]
    next: Any = None
    count: Any = None


class _RawPage(msgspec.Struct):
    results: list[msgspec.Raw]
    next: Any = None
    count: Any = None


_ANYTHING: Final = msgspec.json.Decoder()
_PAGE: Final = msgspec.json.Decoder(_Page)
_RAW_PAGE: Final = msgspec.json.Decoder(_RawPage)
_ROW: Final = msgspec.json.Decoder(AwxEvent)
_ROW_PARTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELDS: Final = {
    field.name: msgspec.json.Decoder(field.type)
    for field in msgspec.structs.fields(AwxEvent)
    if field.name not in {"event_data", "malformed"}
}


def decode_events(body: bytes) -> Rows:
    """Decode one answer of an event list.

    Raises:
        NotJson: it is no JSON.
        WrongShape: it has no list of results.
        TooDeep: it is nested too deeply.
    """
    try:
        body.decode()  # raw parts are not checked by the decoder, and leave the bridge as they are
        page = _PAGE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _rows_apart(body)
    except RecursionError as err:
        raise TooDeep("nested too deeply") from err
    return _placed(page.results, page, body)


def decode_results(body: bytes) -> list[Any]:
    """Decode the `results` of any other list, of which rows may be anything.

    Raises:
        NotJson: it is no JSON.
        WrongShape: it has no list of results.
        TooDeep: it is nested too deeply.
    """
    results = decode_object(body).get("results")
    if not isinstance(results, list):
        raise WrongShape("no list of results")
    return results


def decode_object(body: bytes) -> dict[str, Any]:
    """Decode one JSON object.

    Raises:
        NotJson: it is no JSON.
        WrongShape: it is no object.
        TooDeep: it is nested too deeply.
    """
    answer = _decoded(_ANYTHING, body)
    if not isinstance(answer, dict):
        raise WrongShape("no JSON object")
    return answer


def counter_in(head: bytes) -> int | None:
    """Return the counter of the first row of a page of which only the head is known.

    AWX writes `counter` before `event_data` and `stdout` (awx/api/serializers.py); inside a string
    its quotes would be escaped.
    """
    found = _COUNTER_IN_HEAD.search(head.partition(b'"event_data"')[0])
    counter = int(found[1]) if found else 0
    return counter if 1 <= counter <= HIGHEST_COUNTER else None


def id_in(head: bytes) -> int | None:
    """Return the id of the first row of a page of which only the head is known."""
    found = _ID_IN_HEAD.search(head)
    return int(found[1]) if found else None


def count_in(head: bytes) -> int | None:
    """Return the `count` with which a counted page begins."""
    found = _COUNT_IN_HEAD.match(head)
    return int(found[1]) if found else None


def _rows_apart(body: bytes) -> Rows:
    page = _decoded(_RAW_PAGE, body)
    events = [event for raw in page.results if (event := _read_row(bytes(raw))) is not None]
    return _placed(events, page, body)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            return decoder.decode(_repaired(body))
    except msgspec.ValidationError as err:
        raise WrongShape("not what was asked for") from err
    except msgspec.DecodeError as err:
        raise NotJson("no JSON") from err
    except RecursionError as err:
        raise TooDeep("nested too deeply") from err


def _read_row(raw: bytes) -> AwxEvent | None:
    """Read a row as far as it can be read; None when it has no usable counter."""
    try:
        raw.decode()
        return _ROW.decode(raw)
    except UnicodeDecodeError:
        raw = raw.decode(errors="replace").encode()
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        parts = _ROW_PARTS.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    fields: dict[str, Any] = {"event_data": parts.get("event_data", msgspec.Raw(b"{}")), "malformed": True}
    for name, decoder in _FIELDS.items():
        if name in parts:
            try:
                fields[name] = decoder.decode(parts[name])
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
    return AwxEvent(**fields) if "counter" in fields else None


def _repaired(body: bytes) -> bytes:
    """Make proper JSON of what Python's lenient parser still reads: lone surrogates, NaN, bad UTF-8."""
    try:
        value = json.loads(body.decode(errors="replace"), parse_constant=lambda _: None)
        return json.dumps(value, ensure_ascii=False).encode(errors="replace")
    except ValueError as err:
        raise NotJson("no JSON") from err


def _placed(events: list[AwxEvent], page: _Page | _RawPage, body: bytes) -> Rows:
    placed = [event for event in events if 1 <= event.counter <= HIGHEST_COUNTER]
    placed.sort(key=lambda event: (event.counter, event.id or 0))
    return Rows(
        events=tuple(placed),
        received=len(page.results),
        unplaced=len(page.results) - len(placed),
        more=page.next is not None,
        counted=page.count if isinstance(page.count, int) and page.count >= 0 else None,
        size=len(body),
    )
