"""What befalls events on their way: they come late, twice, behind younger ones, from a clock that is ahead, and with broken ones beside them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.synthetic.broken import REASONS
from producers.synthetic.draws import WAIT_MEANS_MAX, Ints, Raw, below, happens, mixed, raw_bits, waits
from producers.synthetic.people import Visits
from producers.synthetic.settings import DAY_MS, LATE_MARGIN_MS, LATE_SPAN_MS, Traffic
from streamer.events.model import EVENT_TYPE_NAMES

TYPES = len(EVENT_TYPE_NAMES)
LATE, DUPLICATE, BROKEN = TYPES, TYPES + 1, TYPES + 2
"""What a record is: below LATE a sound event of that type, from BROKEN on refused for that one of REASONS."""
KINDS = BROKEN + len(REASONS)
FUTURE, DISORDERED, BOT = 32, 64, 128
"""Added to the kind of a sound event."""
LABELS = 256

LATE_BIT, BROKEN_BIT = 1 << 60, 1 << 61
"""In the number of an event, so that ids stay unique."""
DELAY_MS_MAX = 5_000
DELAY_RECORDS_MIN, DELAY_RECORDS_MAX = 20, 200_000
"""So many records may come meanwhile, on average: enough for an order to be upset, and a worker's table of ids still knows them."""
FUTURE_DAYS = 365

_MASKS, _DELAY, _STAMP = range(40, 43)


class Rows(NamedTuple):
    """Records as columns: due on the log at ``due_N``, of what happened at ``time_N``, which they say was at ``stamp_N``."""

    due_N: Ints
    stamp_N: Ints
    time_N: Ints
    number_N: Ints
    visit_N: Ints
    user_N: Ints
    place_N: Ints
    item_N: Ints
    type_N: Ints
    label_N: Ints

    def where(self, chosen: NDArray[np.bool_] | Ints | slice) -> Rows:
        """Some of them."""
        return Rows(*(column[chosen] for column in self))


def joined(parts: list[Rows]) -> Rows:
    """One after the other."""
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Defects:
    """Makes records of events. What comes beside an event comes after it, in its user's partition, with another id unless it is a copy.

    So a worker counts it as what it is, however the log is partitioned: the event has raised its partition's watermark before.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        least_ms, most_ms = (1_000 / traffic.rate * records for records in (DELAY_RECORDS_MIN, DELAY_RECORDS_MAX))
        delay_ms = min(max(DELAY_MS_MAX, least_ms), most_ms, traffic.lateness_ms_max / 2)
        self._delay_ms = max(2, round(delay_ms))

    def records(self, block: int, events: Visits) -> Rows:
        """The block's events that are due after the start, then what comes beside them."""
        traffic = self._traffic
        bits_N = raw_bits(traffic.seed, block, _MASKS, len(events.time_N))
        delay_N = 1 + below(raw_bits(traffic.seed, block, _DELAY, len(bits_N)), self._delay_ms - 1)
        disordered_N = happens(mixed(bits_N, 1), traffic.disorder)
        future_N = happens(mixed(bits_N, 2), traffic.future)
        ahead_N = future_N * DAY_MS * (1 + below(mixed(bits_N, 3), FUTURE_DAYS))
        rows = Rows(
            due_N=events.time_N + delay_N * disordered_N,
            stamp_N=events.time_N + ahead_N,
            time_N=events.time_N,
            number_N=events.number_N,
            visit_N=events.visit_N,
            user_N=events.user_N,
            place_N=events.place_N,
            item_N=events.item_N,
            type_N=events.type_N,
            label_N=events.type_N + FUTURE * future_N + DISORDERED * disordered_N + BOT * events.bot_N,
        )
        sent_N = rows.due_N >= traffic.start_ms
        rows, bits_N = rows.where(sent_N), bits_N[sent_N]
        return joined([rows, self._late(rows, bits_N), self._duplicates(rows, bits_N), self._broken(rows, bits_N)])

    def _beside(self, rows: Rows, bits_N: Raw, chance: float) -> tuple[Rows, Raw]:
        """The events that something comes beside, a little later, and bits for what it is."""
        chosen = np.flatnonzero(happens(bits_N, chance))
        bits_C = mixed(bits_N[chosen], _STAMP)
        copies = rows.where(chosen)
        return copies._replace(due_N=copies.due_N + waits(mixed(bits_C), self._delay_ms // WAIT_MEANS_MAX)), bits_C

    def _late(self, rows: Rows, bits_N: Raw) -> Rows:
        copies, bits_C = self._beside(rows, mixed(bits_N, 4), self._traffic.late)
        older_C = self._traffic.lateness_ms_max + LATE_MARGIN_MS + below(bits_C, LATE_SPAN_MS)
        return copies._replace(
            stamp_N=copies.time_N - older_C,
            number_N=copies.number_N | LATE_BIT,
            label_N=np.full_like(copies.label_N, LATE),
        )

    def _duplicates(self, rows: Rows, bits_N: Raw) -> Rows:
        copies, _ = self._beside(rows, mixed(bits_N, 5), self._traffic.duplicate)
        return copies._replace(label_N=np.full_like(copies.label_N, DUPLICATE))

    def _broken(self, rows: Rows, bits_N: Raw) -> Rows:
        copies, bits_C = self._beside(rows, mixed(bits_N, 6), self._traffic.broken)
        reason_C = below(bits_C, len(REASONS))
        return copies._replace(number_N=copies.number_N | BROKEN_BIT, label_N=BROKEN + reason_C)
