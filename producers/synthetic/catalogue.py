"""The items of synthetic traffic: places in the order of popularity, each taken by one item after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from producers.formats import Recorded
from producers.synthetic.draws import Ints, Raw, below, mixed, zipf
from producers.synthetic.settings import Traffic, between_changes_ms
from producers.synthetic.words import FILLERS, PROVIDERS, QUALITIES, TOPICS
from streamer.events.items import encode_item
from streamer.events.model import ItemDocument

EXPONENT = 1.0
"""Of the items' popularity within a topic."""
TOPIC_EXPONENT = 0.4
PER_TOPIC_MIN = 10
"""Items, where there are enough for two topics."""
TEXT_WORDS = 12
_PHASES, _TEXT, _PRICE = 101, 102, 103
"""What bits are drawn for."""


class Catalogue:
    """``items`` places over the topics in turn, so that low places are popular ones; the same place is taken again when its item dies.

    An item's number is its generation times ``items`` plus its place: nothing is remembered of any item but a phase.
    """

    def __init__(self, traffic: Traffic) -> None:
        self.items = traffic.items
        self.topics = max(1, min(len(TOPICS), traffic.items // PER_TOPIC_MIN))
        self.topic_choice = zipf(self.topics, TOPIC_EXPONENT)
        self._places = zipf(-(-traffic.items // self.topics), EXPONENT)
        self._seed, self._start_ms = traffic.seed, traffic.start_ms
        self._life_ms = between_changes_ms(traffic.turnover)
        if self._life_ms:
            phase_I = mixed(np.arange(traffic.items), self._seed, _PHASES) % np.uint64(self._life_ms)
            self._phase_I: Ints = phase_I.astype(np.int64)
            self._by_death_I = np.argsort(-self._phase_I, kind="stable")
            self._death_I = self._life_ms - self._phase_I[self._by_death_I]

    def places(self, topic_N: Ints, bits_N: Raw) -> Ints:
        """A place of each topic, by popularity."""
        place_N: Ints = self._places.pick(bits_N) * self.topics + topic_N
        found: Ints = np.where(place_N < self.items, place_N, topic_N)
        return found

    def anywhere(self, bits_N: Raw) -> Ints:
        """Any place, popular or not."""
        return below(bits_N, self.items)

    def taken(self, place_N: Ints, time_N: Ints) -> Ints:
        """The numbers of the items that have these places at these times."""
        if not self._life_ms:
            return place_N
        generation_N = (time_N - self._start_ms + self._phase_I[place_N]) // self._life_ms
        number_N: Ints = np.maximum(generation_N, 0) * self.items + place_N
        return number_N

    def cents(self, item_N: Ints) -> Ints:
        """The items' prices."""
        return 199 + below(mixed(item_N, self._seed, _PRICE), 20_000)

    def documents(self) -> Iterator[Recorded]:
        """Those of the items at the start: without a time, so whenever the stream starts they are the same."""
        for item in range(self.items):
            yield self._recorded(item + 1, item, None)

    def changes(self, first_ms: int, end_ms: int) -> Iterator[Recorded]:
        """Documents of the items that come in ``[first_ms, end_ms)`` after the start, and the dead ones' as no longer available."""
        if not self._life_ms:
            return
        start = max(first_ms - self._start_ms, 1)
        end = end_ms - self._start_ms
        for turn in range(max(0, start // self._life_ms - 1), end // self._life_ms + 1):
            low, high = (int(np.searchsorted(self._death_I, one - turn * self._life_ms)) for one in (start, end))
            for place, death in zip(self._by_death_I[low:high].tolist(), self._death_I[low:high].tolist(), strict=True):
                when_ms = self._start_ms + turn * self._life_ms + death
                yield self._recorded(0, turn * self.items + place, when_ms, available=False)
                yield self._recorded(0, (turn + 1) * self.items + place, when_ms)

    def _recorded(self, line: int, item: int, when_ms: int | None, *, available: bool = True) -> Recorded:
        document = self.document(item, when_ms, available=available)
        return Recorded(line, document.item_id.encode(), encode_item(document), when_ms)

    def document(self, item: int, when_ms: int | None, *, available: bool = True) -> ItemDocument:
        """What is known of an item: words of its topic, so that items that people like together read alike."""
        topic = tuple(TOPICS)[item % self.items % self.topics]
        words = TOPICS[topic]
        drawn = [int(bits) >> 32 for bits in mixed(np.arange(TEXT_WORDS + 4), item, self._seed, _TEXT)]
        quality, noun = QUALITIES[drawn[0] % len(QUALITIES)], words[drawn[1] % len(words)]
        text = [(words, FILLERS)[place % 3 == 2][number % 10] for place, number in enumerate(drawn[4:])]
        return ItemDocument(
            item_id=f"i{item}",
            title=f"{quality} {noun} {item}".capitalize(),
            text=f"{' '.join(text)}.".capitalize(),
            categories=(topic, noun),
            provider=f"provider-{drawn[2] % PROVIDERS}",
            available=available,
            timestamp_ms=when_ms,
        )
