"""Whether an ownership was kept through a rebalance, or is a new one whose state must be restored."""

from kafka import TopicPartition

from consumers.membership import NOTHING, Assignment, Membership

BOTH = frozenset({TopicPartition("events", 0), TopicPartition("events", 1)})


def adopted(*assignments, exclusive=True):
    membership = Membership(exclusive=exclusive)
    return [membership.adopt(one) for one in assignments]


def test_who_has_all_partitions_in_two_adjacent_generations_keeps_the_ownership():
    assert adopted(Assignment(5, BOTH), Assignment(6, BOTH), Assignment(7, BOTH)) == [5, 5, 5]


def test_a_generation_in_between_may_have_been_anothers():
    assert adopted(Assignment(5, BOTH), Assignment(7, BOTH)) == [5, 7]


def test_other_partitions_and_none_in_between_end_the_ownership():
    more = BOTH | {TopicPartition("events", 2)}
    assert adopted(Assignment(5, BOTH), Assignment(6, more)) == [5, 6]
    assert adopted(Assignment(5, BOTH), Assignment(6, frozenset()), Assignment(7, BOTH)) == [5, None, 7]
    assert adopted(Assignment(5, BOTH), NOTHING, Assignment(6, BOTH)) == [5, None, 6]


def test_a_member_that_shares_has_a_new_generation_at_every_rebalance():
    assert adopted(Assignment(5, BOTH), Assignment(6, BOTH), exclusive=False) == [5, 6]
