"""Who visits when, with which tastes, and how far each visit goes; and bots. Nothing is remembered of a user: all is drawn from his number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from producers.synthetic.catalogue import Catalogue
from producers.synthetic.draws import Choice, Ints, Raw, below, happens, mixed, raw_bits, waits, zipf
from producers.synthetic.rhythm import Rhythm
from producers.synthetic.settings import DAY_MS, Traffic, between_changes_ms
from streamer.events.model import EventType

USER_EXPONENT = 0.8
USER_FLAT_SHARE = 0.01
"""Shifts the users' Zipf, so that the most active of many is an active person, no bot."""

ROUNDS_MEAN, ROUNDS_MAX = 3.0, 20
"""Things looked at a visit."""
FUNNEL = (0.65, 0.5, 0.3, 0.35)
"""How many views follow an impression, clicks a view, carts a click, purchases a cart."""
PAUSE_MS_MEAN = 30_000.0
"""Between two events of a visit."""
VISITING_SHARE_MAX = 0.2
"""Of the users at once: where the rate would need more, pauses are shorter."""

MAIN_SHARE, SECOND_SHARE = 0.65, 0.2
"""Of the visits; what is left goes to any topic, by its popularity."""
STAPLES = 4
"""Items a user comes back to, as long as his taste is the same."""

BOT_EVENTS_PER_HOUR = 7_200.0
BOTS_MAX = 1_000
BLOCK_VISITS_MIN, BLOCK_VISITS_MAX = 2_048, 32_768
BLOCK_MS_MAX = 900_000.0
NUMBER_BITS, VISIT_BITS = 20, 17

(
    _WHEN,
    _WHO,
    _TOPIC,
    _ANY,
    _ROUNDS,
    _DEPTH,
    _PAUSE,
    _ITEM,
    _REPEAT,
    _BOT,
) = range(10)
_TASTE, _STAPLE, _TURN, _TARGET = range(110, 114)
"""What bits are drawn for."""

IMPRESSION, VIEW, CLICK = (int(kind) for kind in (EventType.IMPRESSION, EventType.VIEW, EventType.CLICK))


class Visits(NamedTuple):
    """Sound events that begin in a block, as columns. ``type_N`` are event types, the stages of the funnel in their order."""

    time_N: Ints
    number_N: Ints
    visit_N: Ints
    user_N: Ints
    place_N: Ints
    item_N: Ints
    type_N: Ints
    bot_N: Ints


class People:
    """Visits by blocks: each holds those that begin within equal shares of the rhythm's clock."""

    def __init__(self, traffic: Traffic, catalogue: Catalogue) -> None:
        self._traffic, self._catalogue = traffic, catalogue
        self._rhythm = Rhythm(traffic.rhythm)
        self._users = zipf(traffic.users, USER_EXPONENT, USER_FLAT_SHARE * traffic.users)
        self._rounds = Choice([(1 - 1 / ROUNDS_MEAN) ** many for many in range(ROUNDS_MAX)])
        reach = np.cumprod((1.0, *FUNNEL))
        self._depths = Choice(reach - np.append(reach[1:], 0.0))
        self._period_ms = between_changes_ms(traffic.drift)
        per_visit = _mean(self._rounds) * _mean(self._depths)
        events_per_ms = traffic.rate / traffic.records_per_event / 1_000
        visits_per_ms = events_per_ms * (1 - traffic.bots) / per_visit
        self.pause_ms = max(1, round(min(PAUSE_MS_MEAN, VISITING_SHARE_MAX * traffic.users / events_per_ms)))
        waiting = self.pause_ms * visits_per_ms
        self._visits = round(min(max(BLOCK_VISITS_MIN, waiting), BLOCK_VISITS_MAX, max(1, BLOCK_MS_MAX * visits_per_ms)))
        self.block_ms = self._visits / visits_per_ms
        self._bot_events = events_per_ms * traffic.bots * self.block_ms
        self.bots = (
            max(1, min(BOTS_MAX, int(events_per_ms * traffic.bots * 3_600_000 / BOT_EVENTS_PER_HOUR))) if traffic.bots else 0
        )
        self._step = self._rhythm.span(self.block_ms)
        lead_ms = 3 * per_visit * self.pause_ms
        self.lead = int(lead_ms / self.block_ms) + 1
        """Blocks before the start, so that visits are under way at it."""
        self._first = self._rhythm.at(traffic.start_ms) - self.lead * self._step

    def end_ms(self, block: int) -> int:
        """When the next block begins."""
        return self._rhythm.time(self._first + (block + 1) * self._step)

    def visits(self, block: int) -> Visits:
        """The events of people's visits that begin in the block, and those of bots."""
        people = self._people(block)
        bots = self._bots(block, len(people.time_N))
        return Visits(*(np.concatenate(pair) for pair in zip(people, bots, strict=True)))

    def tastes(self, user_N: Ints, time_N: Ints) -> tuple[Ints, Ints]:
        """Main and second topic: the second is what was the main one before."""
        turn_N = self._turns(user_N, time_N)
        return self._main(user_N, turn_N), self._main(user_N, turn_N - 1)

    def _turns(self, user_N: Ints, time_N: Ints) -> Ints:
        """How often each user's taste has changed."""
        if not self._period_ms:
            return np.zeros_like(user_N)
        phase_N = (mixed(user_N, self._traffic.seed, _TURN) % np.uint64(self._period_ms)).astype(np.int64)
        return (time_N + phase_N) // self._period_ms

    def _main(self, user_N: Ints, turn_N: Ints) -> Ints:
        return self._catalogue.topic_choice.pick(mixed(user_N, turn_N, self._traffic.seed, _TASTE))

    def _draw(self, block: int, purpose: int, count: int) -> Raw:
        return raw_bits(self._traffic.seed, block, purpose, count)

    def _begins(self, block: int, bits_N: Raw) -> Ints:
        """Times within the block."""
        return self._rhythm.times(self._first + block * self._step + (bits_N % np.uint64(self._step)).astype(np.int64))

    def _people(self, block: int) -> Visits:
        visits = self._visits
        begin_V = self._begins(block, self._draw(block, _WHEN, visits))
        user_V = self._users.pick(self._draw(block, _WHO, visits))
        topic_V = self._topics(block, user_V, begin_V)
        rounds_V = 1 + self._rounds.pick(self._draw(block, _ROUNDS, visits))
        visit_R = np.repeat(np.arange(visits), rounds_V)
        depth_R = 1 + self._depths.pick(self._draw(block, _DEPTH, len(visit_R)))
        first_R = np.cumsum(depth_R) - depth_R
        round_N = np.repeat(np.arange(len(visit_R)), depth_R)
        visit_N = visit_R[round_N]
        time_N = self._times(block, begin_V, visit_N)
        user_R, begin_R = user_V[visit_R], begin_V[visit_R]
        place_R = self._places(block, user_R, begin_R, topic_V[visit_R])
        item_R = self._catalogue.taken(place_R, time_N[first_R])
        return Visits(
            time_N=time_N,
            number_N=(block << NUMBER_BITS) + np.arange(len(time_N)),
            visit_N=(block << VISIT_BITS) + visit_N,
            user_N=user_R[round_N],
            place_N=place_R[round_N],
            item_N=item_R[round_N],
            type_N=np.arange(len(time_N)) - first_R[round_N],
            bot_N=np.zeros_like(time_N),
        )

    def _topics(self, block: int, user_V: Ints, begin_V: Ints) -> Ints:
        main_V, second_V = self.tastes(user_V, begin_V)
        any_V = self._catalogue.topic_choice.pick(self._draw(block, _ANY, len(user_V)))
        bits_V = self._draw(block, _TOPIC, len(user_V))
        others_V = np.where(happens(bits_V, MAIN_SHARE + SECOND_SHARE), second_V, any_V)
        return np.where(happens(bits_V, MAIN_SHARE), main_V, others_V)

    def _times(self, block: int, begin_V: Ints, visit_N: Ints) -> Ints:
        """The begin of the visit, and then a pause after every event."""
        pause_N = waits(self._draw(block, _PAUSE, len(visit_N)), self.pause_ms)
        since_N = np.cumsum(pause_N)
        opens_V = np.flatnonzero(np.diff(visit_N, prepend=-1))
        return begin_V[visit_N] + since_N - since_N[opens_V][visit_N]

    def _places(self, block: int, user_R: Ints, begin_R: Ints, topic_R: Ints) -> Ints:
        """What is looked at: something popular of the visit's topic, or one of the user's staples."""
        place_R = self._catalogue.places(topic_R, self._draw(block, _ITEM, len(user_R)))
        bits_R = self._draw(block, _REPEAT, len(user_R))
        turn_R = self._turns(user_R, begin_R)
        which_R = mixed(bits_R) % np.uint64(STAPLES)
        staple_R = self._catalogue.places(
            self._main(user_R, turn_R), mixed(user_R, turn_R, which_R, self._traffic.seed, _STAPLE)
        )
        return np.where(happens(bits_R, self._traffic.repeats), staple_R, place_R)

    def _bots(self, block: int, numbers: int) -> Visits:
        """Events that walk through the catalogue (even bots), or hammer at one item a day (odd ones)."""
        count = int((block + 1) * self._bot_events) - int(block * self._bot_events)
        bits_N = self._draw(block, _BOT, count)
        time_N = self._begins(block, mixed(bits_N))
        bot_N = below(bits_N, max(1, self.bots))
        target_N = self._catalogue.anywhere(mixed(bot_N, time_N // DAY_MS, self._traffic.seed, _TARGET))
        place_N = np.where(bot_N % 2 == 0, self._catalogue.anywhere(mixed(bits_N, _TARGET)), target_N)
        return Visits(
            time_N=time_N,
            number_N=(block << NUMBER_BITS) + numbers + np.arange(count),
            visit_N=(block << VISIT_BITS) + self._visits + bot_N,
            user_N=self._traffic.users + bot_N,
            place_N=place_N,
            item_N=self._catalogue.taken(place_N, time_N),
            type_N=np.where(bot_N % 2 == 0, VIEW, CLICK),
            bot_N=np.ones_like(time_N),
        )


def _mean(choice: Choice) -> float:
    """Of 1 + place."""
    return float(sum((place + 1) * share for place, share in enumerate(choice.share_K)))
