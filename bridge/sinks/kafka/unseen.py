"""What was committed without the caller's hearing of it, so that it is neither sent nor undone again.

Pure. A commit whose answer was lost may have counted. The caller offers its events again, perhaps in
other company, perhaps only some of them, with places that do not reach as far as the committed ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridge.model import Event, JobKey, Place
from bridge.sinks.kafka.places import union

Places = Mapping[JobKey, Place | None]


class Doubt(NamedTuple):
    """A transaction whose commit was asked for and not confirmed; `number` is its `Transaction`'s."""

    number: int
    events: Sequence[Event]
    places: Places


class Unseen:
    """Events and places that are committed and that the caller does not know to be."""

    def __init__(self) -> None:
        """The caller knows of everything."""
        self._ids: defaultdict[str, set[str]] = defaultdict(set)
        self._places: dict[JobKey, Place] = {}

    def add(self, doubt: Doubt) -> None:
        """Note that `doubt` was committed after all."""
        for event in doubt.events:
            self._ids[event.key].add(event.id)
        for key, place in doubt.places.items():
            if place is None:
                self._places.pop(key, None)
            else:
                self._places[key] = place

    def clear(self) -> None:
        """The caller starts anew from the committed places."""
        self._ids.clear()
        self._places.clear()

    def unsent(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return those of `events` that are not committed yet, in their order."""
        if not self._ids:
            return events
        return [event for event in events if event.id not in self._ids.get(event.key, ())]

    def unmoved(self, places: Places) -> Places:
        """Return those of `places` that are not committed yet, none behind what is."""
        if not self._places:
            return places
        ahead = {key: self._ahead(key, place) for key, place in places.items()}
        return {key: place for key, place in ahead.items() if place is None or place != self._places.get(key)}

    def told(self, events: Sequence[Event], places: Places) -> None:
        """Note that the caller has heard that `events` and `places` are committed."""
        for event in events:
            waiting = self._ids.get(event.key, set())
            waiting.discard(event.id)
            if not waiting:
                self._ids.pop(event.key, None)
        for key, place in places.items():
            if key in self._places and (place is None or self._ahead(key, place) == place):
                del self._places[key]
                self._ids.pop(str(key), None)

    def _ahead(self, key: JobKey, place: Place | None) -> Place | None:
        known = self._places.get(key)
        return place if known is None or place is None else union(place, known)
