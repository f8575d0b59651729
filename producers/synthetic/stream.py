"""Synthetic traffic as records ready for the log, in the order in which they are due.

For load tests and demonstrations only: how good lists are on traffic that was made up says nothing about how good they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np

from producers.formats import Recorded
from producers.synthetic.broken import spoilt
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.defects import BROKEN, KINDS, LATE_BIT, Defects, Rows, joined
from producers.synthetic.draws import Ints, below, mixed
from producers.synthetic.people import IMPRESSION, People
from producers.synthetic.settings import Traffic
from streamer.events.model import EVENT_TYPE_NAMES, EventType

SLICE_RECORDS = 4_096
"""Encoded at a time."""
SHOWN = 6
"""Items of an impression."""
_SHOWN_PLACES, _CHOSEN = 120, 121
_CART, _PURCHASE = int(EventType.CART), int(EventType.PURCHASE)


class Batch(NamedTuple):
    """Records in order: when each is due, what it is (see ``defects``), and itself; and before them the catalogue's changes."""

    due_ms: list[int]
    labels: list[int]
    records: list[Recorded]
    items: list[Recorded]


class SyntheticStream:
    """An endless stream; memory grows neither with its length nor, but for a few visits under way, with the users."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.catalogue = Catalogue(traffic)
        self.people = People(traffic, self.catalogue)
        self._defects = Defects(traffic)
        self._tag = traffic.tag

    def batches(self) -> Iterator[Batch]:
        """All of it. Documents of new items come up to a quarter of an hour before these are first seen."""
        line = 1
        for first_ms, end_ms, rows in self.rows():
            items = list(self.catalogue.changes(first_ms, end_ms))
            for start in range(0, max(1, len(rows.due_N)), SLICE_RECORDS):
                part = rows.where(slice(start, start + SLICE_RECORDS))
                records = self._encoded(part, line)
                yield Batch(part.due_N.tolist(), part.label_N.tolist(), records, items)
                line += len(records)
                items = []

    def rows(self) -> Iterator[tuple[int, int, Rows]]:
        """The same as columns, by spans of time ``[first_ms, end_ms)``."""
        waiting: Rows | None = None
        first_ms = self.traffic.start_ms
        for block in count():
            begun = self._defects.records(block, self.people.visits(block))
            rows = begun if waiting is None else joined([waiting, begun])
            rows = rows.where(np.argsort(rows.due_N, kind="stable"))
            end_ms = self.people.end_ms(block)
            ready = int(np.searchsorted(rows.due_N, end_ms))
            waiting = rows.where(slice(ready, None))
            if end_ms > first_ms:
                yield first_ms, end_ms, rows.where(slice(0, ready))
                first_ms = end_ms

    def _encoded(self, rows: Rows, line: int) -> list[Recorded]:
        values = self._values(rows)
        stamps: list[int | None] = rows.stamp_N.tolist()
        errors: list[str | None] = [None] * len(values)
        for place in np.flatnonzero((rows.label_N >= BROKEN) & (rows.label_N < KINDS)).tolist():
            draw = int(mixed(int(rows.number_N[place]))[0]) >> 32
            values[place] = spoilt(values[place], int(rows.label_N[place]) - BROKEN, draw)
            stamps[place], errors[place] = None, "broken on purpose"
        keys = [b"u%d" % user for user in rows.user_N.tolist()]
        return list(map(Recorded, range(line, line + len(values)), keys, values, stamps, errors))

    def _values(self, rows: Rows) -> list[bytes]:
        """Every row as a sound event."""
        tag = self._tag
        shown = iter(self._shown(rows))
        values = []
        for number, visit, kind, user, item, stamp, cents in zip(
            rows.number_N.tolist(),
            rows.visit_N.tolist(),
            rows.type_N.tolist(),
            rows.user_N.tolist(),
            rows.item_N.tolist(),
            rows.stamp_N.tolist(),
            self.catalogue.cents(rows.item_N).tolist(),
            strict=True,
        ):
            about = f'"item_ids":["i{next(shown)}"]' if kind == IMPRESSION else f'"item_id":"i{item}"'
            paid = f',"price":{cents // 100}.{cents % 100:02d}' if kind >= _CART else ""
            bought = ',"quantity":1' if kind == _PURCHASE else ""
            values.append(
                f'{{"event_id":"{tag}-{number:x}","type":"{EVENT_TYPE_NAMES[kind]}","user_id":"u{user}",{about},'
                f'"timestamp":{stamp},"session_id":"{tag}-{visit:x}"{bought}{paid},"context":{{"page":"home"}}}}'.encode()
            )
        return values

    def _shown(self, rows: Rows) -> list[str]:
        """For every impression the items on it, ready for JSON: the one that was looked at among others of its topic."""
        chosen = rows.where(rows.type_N == IMPRESSION)
        number_N = chosen.number_N & (LATE_BIT - 1)  # late and broken ones show what the event beside them shows
        number_M = np.repeat(number_N, SHOWN) * SHOWN + np.tile(np.arange(SHOWN), len(number_N))
        topic_M = np.repeat(chosen.place_N % self.catalogue.topics, SHOWN)
        place_M = self.catalogue.places(topic_M, mixed(number_M, self.traffic.seed, _SHOWN_PLACES))
        item_NS: Ints = self.catalogue.taken(place_M, np.repeat(chosen.time_N, SHOWN)).reshape(-1, SHOWN)
        at_N = below(mixed(number_N, self.traffic.seed, _CHOSEN), SHOWN)
        item_NS[np.arange(len(at_N)), at_N] = chosen.item_N
        return ['","i'.join(map(str, shown)) for shown in item_NS.tolist()]
