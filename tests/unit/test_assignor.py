"""Who owns the log: the claims that members make, and whether an ownership went on without a break."""

from __future__ import annotations

from types import SimpleNamespace

from kafka import TopicPartition
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from consumers.assignor import OneOwnerAssignor
from consumers.membership import Assignment, Membership

TOPICS = {"events": {0, 1}, "control": {0}}
CLUSTER = SimpleNamespace(partitions_for_topic=TOPICS.get)
ALL = frozenset(TopicPartition(topic, n) for topic, parts in TOPICS.items() for n in parts)


def joining(member_id: str, assignor: OneOwnerAssignor) -> SimpleNamespace:
    """A member as the group's leader sees it: its subscription went over the wire."""
    wire = assignor.metadata(set(TOPICS)).encode()
    return SimpleNamespace(member_id=member_id, metadata=ConsumerProtocolSubscription.decode(wire))


def rebalance(generation: int, **members: OneOwnerAssignor) -> str:
    """One rebalance among ``members``; returns the owner."""
    joined = [joining(name, assignor) for name, assignor in members.items()]
    given = OneOwnerAssignor().assign(CLUSTER, joined)
    for name, assignor in members.items():
        assignor.on_assignment(ConsumerProtocolAssignment.decode(given[name].encode()), generation)
    [owner] = [name for name in members if given[name].partitions()]
    assert frozenset(given[owner].partitions()) == ALL
    return owner


def test_among_members_that_never_owned_the_smallest_id_does():
    assert rebalance(1, b=OneOwnerAssignor(), a=OneOwnerAssignor()) == "a"


def test_an_owner_stays_when_others_join():
    b = OneOwnerAssignor()
    assert rebalance(1, b=b) == "b"
    assert rebalance(2, a=OneOwnerAssignor(), b=b) == "b"
    assert rebalance(3, a=OneOwnerAssignor(), b=b, c=OneOwnerAssignor()) == "b"


def test_a_zombie_that_returns_does_not_take_the_log_back():
    a, b = OneOwnerAssignor(), OneOwnerAssignor()
    assert rebalance(1, a=a, b=b) == "a"
    assert rebalance(2, b=b) == "b"
    assert rebalance(3, a=a, b=b) == "b"


def test_a_member_of_another_make_without_a_claim_is_taken_as_one_that_never_owned():
    owner = OneOwnerAssignor()
    rebalance(1, owner=owner)
    stranger = SimpleNamespace(member_id="a", metadata=ConsumerProtocolSubscription(0, sorted(TOPICS), b"??"))
    given = OneOwnerAssignor().assign(CLUSTER, [stranger, joining("owner", owner)])
    assert given["a"].partitions() == []


def test_an_ownership_goes_on_through_adjacent_generations_alone():
    membership = Membership(exclusive=True)
    assert membership.adopt(Assignment(4, ALL)) == 4
    membership.positions = dict.fromkeys(ALL, 7)
    assert membership.adopt(Assignment(5, ALL)) == 4
    assert membership.positioned
    assert membership.adopt(Assignment(7, ALL)) == 7
    assert not membership.positioned


def test_an_ownership_ends_when_partitions_come_or_go():
    membership = Membership(exclusive=True)
    membership.adopt(Assignment(1, ALL))
    more = ALL | {TopicPartition("events", 2)}
    assert membership.adopt(Assignment(2, more)) == 2
    assert membership.adopt(Assignment(3, frozenset())) is None
    assert membership.adopt(Assignment(4, more)) == 4


def test_a_sharing_member_sets_its_positions_anew_after_every_rebalance():
    membership = Membership(exclusive=False)
    assert membership.adopt(Assignment(1, ALL)) == 1
    membership.positions = dict.fromkeys(ALL, 7)
    assert membership.adopt(Assignment(2, ALL)) == 2
    assert not membership.positioned
