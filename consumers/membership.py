"""What a member of a Kafka group owns, kept apart from the thread that learns of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition


@dataclass(frozen=True, slots=True)
class Assignment:
    """The outcome of one rebalance: the group's generation and this member's partitions."""

    generation: int
    partitions: frozenset[TopicPartition]


NOTHING = Assignment(-1, frozenset())


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what rebalances decide, and tells a kept ownership from a new one.

    The callbacks run on the client's network thread, always while the owner's thread waits inside ``poll``; they only
    note, pause, and give new partitions a provisional position, so that nothing is fetched, and no missing position is
    complained of, before the owner has restored its state and set the real ones.
    """

    def __init__(self, *, exclusive: bool) -> None:
        self.positions: dict[TopicPartition, int] = {}
        """Next offset of the owned partitions whose position was set in this generation."""
        self.paused = True
        self._exclusive = exclusive
        self._consumer: Any = None
        self._news: Assignment | None = None
        self._held = NOTHING
        self._generation: int | None = None

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """The partitions of this member."""
        return self._held.partitions

    @property
    def positioned(self) -> bool:
        """Whether every owned partition has its position, and there are some."""
        return bool(self._held.partitions) and len(self.positions) == len(self._held.partitions)

    def watch(self, consumer: Any) -> None:
        """Names the consumer whose partitions these are."""
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Nothing is decided yet: the partitions may all come back."""
        del revoked
        # A rebalance that new metadata brought about is forgotten by the client when the poll that began it ends before
        # the group has answered: the member then sends no heartbeats and waits for nothing, for ever. This keeps it joining.
        self._consumer._coordinator.request_rejoin()  # noqa: SLF001

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        """The group expelled this member."""
        del lost
        self._news = NOTHING

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """A rebalance is over."""
        for at in assigned:
            self._consumer.seek(at, self.positions.get(at, 0))
        self._consumer.pause(*assigned)
        self.paused = True
        self._news = Assignment(self._consumer.group_metadata().generation_id, frozenset(assigned))

    def take(self) -> Assignment | None:
        """What the last rebalance decided, once."""
        news, self._news = self._news, None
        return news

    def adopt(self, assignment: Assignment) -> int | None:
        """Makes ``assignment`` this member's; returns the generation under which its state may live, None for none.

        Generations of a group grow by one at each rebalance, so who had all partitions in two adjacent ones had them
        without a break: nobody else could read or commit between, and the state stays good.
        """
        kept = assignment.generation == self._held.generation + 1 and assignment.partitions == self._held.partitions
        self._held = assignment
        if not assignment.partitions:
            self.disown()
            return None
        if not (self._exclusive and kept and self._generation is not None):
            self.positions = {}
            self._generation = assignment.generation
        return self._generation

    def disown(self) -> None:
        """Forgets all partitions."""
        self._held = NOTHING
        self.positions = {}
        self._generation = None
