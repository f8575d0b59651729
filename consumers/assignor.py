"""One owner: a partition assignor that gives every partition to one member of the group."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

NEVER = -1
"""The claim of a member that never had partitions."""

_CLAIM = struct.Struct(">q")
_VERSION = 0


class OneOwnerAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """All partitions of all topics go to the member that had partitions last; the others stand by.

    Each member claims with the generation in which it last had partitions, and the highest claim wins. A mere flag
    would let a member that was away for a while (its process stopped, its machine asleep) take everything back from
    the member that replaced it; its generation is older, so it cannot. Ties, which only members that never had
    partitions can have, go to the smallest member id. Eager protocol: nobody reads while a rebalance goes on.
    """

    name = "streamer-one-owner"

    def __init__(self) -> None:
        self._claim = NEVER

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolSubscription:
        """What this member says when it joins: its topics, and its claim."""
        return ConsumerProtocolSubscription(_VERSION, sorted(topics), _CLAIM.pack(self._claim))

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """Runs on the group's leader: everything to the winner, nothing to the others."""
        joined = list(members)
        winner = min(joined, key=lambda member: (-_claim_of(member), member.member_id))
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in sorted(winner.metadata.topics)]
        return {
            member.member_id: ConsumerProtocolAssignment(_VERSION, everything if member is winner else [], b"")
            for member in joined
        }

    def on_assignment(self, assignment: Any, generation: int) -> None:
        """Notes the generation as this member's claim when it got partitions."""
        if assignment.partitions():
            self._claim = generation


def _claim_of(member: Any) -> int:
    data = member.metadata.user_data
    return int(_CLAIM.unpack(data)[0]) if data and len(data) == _CLAIM.size else NEVER
