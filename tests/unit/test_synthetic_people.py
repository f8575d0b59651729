"""Synthetic people: popularity, tastes and their drift, visits, the funnel, the day, bots, items that come and go."""

from __future__ import annotations

import json

import numpy as np
import pytest
from synthetic import SOUND, applied, columns

from producers.synthetic import SyntheticStream, Traffic
from producers.synthetic.catalogue import EXPONENT, Catalogue
from producers.synthetic.defects import BOT, Rows
from producers.synthetic.draws import WAIT_MEANS_MAX, Choice, below, happens, raw_bits, waits
from producers.synthetic.people import FUNNEL, IMPRESSION, MAIN_SHARE, SECOND_SHARE, People
from producers.synthetic.words import TOPICS
from streamer.config.tree import Signals
from streamer.events.items import decode_item
from streamer.events.model import ItemDocument

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
STEADY = SOUND | {"drift": 0.0, "turnover": 0.0, "repeats": 0.0, "rhythm": 0.0}


def looked_at(rows: Rows) -> Rows:
    """One row a thing looked at."""
    return rows.where(rows.type_N == IMPRESSION)


def exponent_of(place_N: np.ndarray, places: int) -> float:
    """The likeliest exponent of a Zipf law over so many places, of which these were drawn."""
    log_rank = np.log(np.arange(1, places + 1))
    mean = log_rank[place_N].mean()
    tried = np.arange(0.2, 2.0, 0.005)
    likelihoods = [-one * mean - np.log(np.exp(-one * log_rank).sum()) for one in tried]
    return float(tried[int(np.argmax(likelihoods))])


def test_popularity_within_a_topic_follows_zipf() -> None:
    traffic = Traffic(**STEADY, items=2_400)
    rows = looked_at(columns(traffic, records=60_000))
    topics = Catalogue(traffic).topics
    assert topics == len(TOPICS)
    assert exponent_of(rows.place_N // topics, 100) == pytest.approx(EXPONENT, abs=0.03)


def test_the_most_active_of_many_people_is_no_bot() -> None:
    users = applied(columns(Traffic(**STEADY, users=20_000), hours=0.7)).user_N
    counts = np.sort(np.bincount(users, minlength=20_000))[::-1]
    assert counts[:200].sum() > 5 * counts.mean() * 200
    assert counts[0] < Signals().user_contributions_per_hour_max


def share_of_first_taste(drift: float) -> tuple[float, float]:
    """Of what users look at on their third day: the share of the topic that was their first on the first day, and by chance."""
    traffic = Traffic(**STEADY | {"drift": drift}, users=50, rate=0.2)
    rows = looked_at(columns(traffic, hours=72))
    day_N = (rows.time_N - traffic.start_ms) // DAY_MS
    topic_N = rows.place_N % len(TOPICS)
    seen_UT = np.zeros((2, traffic.users, len(TOPICS)))
    for place, day in enumerate((0, 2)):
        np.add.at(seen_UT[place], (rows.user_N[day_N == day], topic_N[day_N == day]), 1)
    first_U = seen_UT[0].argmax(1)
    own = seen_UT[1][np.arange(traffic.users), first_U].sum() / seen_UT[1].sum()
    others = seen_UT[1][np.arange(traffic.users), np.roll(first_U, 1)].sum() / seen_UT[1].sum()
    return own, others


def test_people_keep_to_their_own_topic_until_their_taste_drifts() -> None:
    own, others = share_of_first_taste(0.0)
    assert own > 0.6
    assert own > 5 * others
    drifted, _ = share_of_first_taste(1.0)
    assert drifted < own / 3


def test_visits_keep_to_main_and_second_tastes_in_their_shares() -> None:
    traffic = Traffic(**STEADY)
    rows = looked_at(columns(traffic, records=40_000))
    people = People(traffic, Catalogue(traffic))
    main_N, second_N = people.tastes(rows.user_N, rows.time_N)
    chosen, topic_N = main_N != second_N, rows.place_N % len(TOPICS)
    by_chance = (1 - MAIN_SHARE - SECOND_SHARE) / len(TOPICS)
    assert (topic_N == main_N)[chosen].mean() == pytest.approx(MAIN_SHARE + by_chance, abs=0.02)
    assert (topic_N == second_N)[chosen].mean() == pytest.approx(SECOND_SHARE + by_chance, abs=0.02)


def test_the_rate_is_there_from_the_first_minute() -> None:
    traffic = Traffic(**STEADY, users=100_000, rate=200.0)
    rows = columns(traffic, hours=0.1)
    per_minute = np.bincount((rows.due_N - traffic.start_ms) // 60_000)[:6]
    assert SyntheticStream(traffic).people.pause_ms == 30_000
    assert per_minute.tolist() == pytest.approx([60 * traffic.rate] * 6, rel=0.08)


def test_tastes_of_a_share_of_the_users_change_within_a_day() -> None:
    traffic = Traffic(drift=0.2)
    people, users = People(traffic, Catalogue(traffic)), np.arange(traffic.users)
    before, _ = people.tastes(users, np.full_like(users, traffic.start_ms))
    after, former = people.tastes(users, np.full_like(users, traffic.start_ms + DAY_MS))
    assert 0.16 < (before != after).mean() < 0.2, "a few change to the same topic"
    assert (former == before)[before != after].all()


def test_repeats_bring_people_back_to_what_they_had() -> None:
    def again(repeats: float) -> float:
        rows = looked_at(columns(Traffic(**STEADY | {"repeats": repeats}, users=500, items=20_000), records=40_000))
        pairs = np.unique(np.stack((rows.user_N, rows.item_N)), axis=1).shape[1]
        return 1 - pairs / len(rows.user_N)

    assert again(0.5) > again(0.0) + 0.2


def test_visits_are_dense_and_far_between() -> None:
    traffic = Traffic(**STEADY, users=10_000, rate=20.0)
    rows = columns(traffic, hours=6)
    order = np.lexsort((rows.number_N, rows.visit_N))
    same = np.diff(rows.visit_N[order]) == 0
    gaps = np.diff(rows.time_N[order])[same]
    pause_ms = SyntheticStream(traffic).people.pause_ms
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(pause_ms, rel=0.05)
    assert np.median(gaps) == pytest.approx(pause_ms * np.log(2), rel=0.05)
    begin_V, first_V = rows.time_N[order][np.append(True, ~same)], rows.user_N[order][np.append(True, ~same)]
    by_user = np.lexsort((begin_V, first_V))
    between = np.diff(begin_V[by_user])[np.diff(first_V[by_user]) == 0]
    assert np.median(between) > 20 * pause_ms


def test_stages_follow_each_other_at_the_rates_of_the_funnel() -> None:
    rows = columns(Traffic(**STEADY), records=100_000)
    counts = np.bincount(rows.type_N, minlength=5)
    ratios = counts[1:] / counts[:-1]
    bounds = 5 * np.sqrt(np.array(FUNNEL) * (1 - np.array(FUNNEL)) / counts[:-1]) + 0.002
    assert (np.abs(ratios - FUNNEL) < bounds).all(), ratios
    order = np.argsort(rows.number_N)
    next_stage = (rows.type_N[order][1:] > IMPRESSION) & (np.diff(rows.number_N[order]) == 1)
    for column, difference in ((rows.type_N, 1), (rows.item_N, 0), (rows.user_N, 0), (rows.visit_N, 0)):
        assert (np.diff(column[order])[next_stage] == difference).all()


def test_a_day_has_its_rhythm_and_the_rate_on_average() -> None:
    traffic = Traffic(**STEADY | {"rhythm": 0.8}, rate=2.0)
    rows = columns(traffic, hours=48)
    hours = (rows.due_N - traffic.start_ms) // HOUR_MS
    per_hour = np.bincount(hours[hours < 48], minlength=48)
    assert per_hour.sum() / (48 * 3_600) == pytest.approx(traffic.rate, rel=0.03)
    assert per_hour[[20, 44]].mean() > 4 * per_hour[[8, 32]].mean()
    level = columns(Traffic(**STEADY, rate=2.0), hours=24)
    counts = np.bincount((level.due_N - traffic.start_ms) // HOUR_MS)[:24]
    assert counts.max() < 1.1 * counts.min()


def test_bots_are_users_beyond_an_hourly_rate() -> None:
    traffic = Traffic(**STEADY | {"bots": 0.1}, users=20_000)
    rows = columns(traffic, hours=1)
    by_bots = rows.label_N & BOT > 0
    counts = np.bincount(rows.user_N[by_bots] - traffic.users)
    assert len(counts) == SyntheticStream(traffic).people.bots == 5
    assert counts.min() > 5 * Signals().user_contributions_per_hour_max
    assert rows.user_N[~by_bots].max() < traffic.users
    assert by_bots.mean() == pytest.approx(0.1, abs=0.01)
    walks, hammers = (len(np.unique(rows.item_N[by_bots & (rows.user_N == traffic.users + bot)])) for bot in (0, 1))
    assert walks > 0.9 * traffic.items
    assert hammers == 1


def test_items_come_and_go_with_their_documents() -> None:
    traffic = Traffic(**STEADY | {"turnover": 0.5}, items=300, rate=0.5)
    stream = SyntheticStream(traffic)
    there = {record.key for record in stream.catalogue.documents()}
    gone: dict[str, int] = {}
    come = set()
    for batch in stream.batches():
        for record in batch.items:
            document = decode_item(record.key, record.value)
            assert isinstance(document, ItemDocument)
            if document.available:
                there.add(record.key)
                come.add(record.key)
            else:
                gone[document.item_id] = document.timestamp_ms or 0
        for record in batch.records:
            event = json.loads(record.value)
            items = event.get("item_ids") or [event["item_id"]]
            assert {item.encode() for item in items} <= there
            begun = event["timestamp"] - 60 * 60_000  # a visit sees what was there when it looked at it first
            assert all(gone.get(item, begun) >= begun for item in items)
        if batch.due_ms and batch.due_ms[-1] > traffic.start_ms + DAY_MS:
            break
    assert len(come) == len(gone)
    assert len(come) / traffic.items == pytest.approx(0.5, abs=0.1)


def test_documents_are_made_of_their_topic() -> None:
    catalogue = Catalogue(Traffic(items=1_000))
    documents = [decode_item(record.key, record.value) for record in catalogue.documents()]
    assert len(documents) == 1_000
    for place, document in enumerate(documents):
        assert isinstance(document, ItemDocument)
        topic, noun = document.categories
        assert (document.item_id, topic) == (f"i{place}", tuple(TOPICS)[place % 24])
        assert noun in TOPICS[topic]
        assert document.title
        assert document.text
        assert sum(word.strip(".").lower() in TOPICS[topic] for word in document.text.split()) >= 8


@pytest.mark.parametrize("rate", [0.001, 1.0, 1e6])
@pytest.mark.parametrize(("users", "items"), [(1, 1), (3, 25), (1_000, 100_000)])
def test_small_and_large_worlds_have_traffic(users: int, items: int, rate: float) -> None:
    rows = columns(Traffic(users=users, items=items, rate=rate, bots=0.3), records=50)
    assert (rows.place_N < items).all()
    assert (np.diff(rows.due_N) >= 0).all()
    assert rows.due_N[0] >= Traffic().start_ms


def test_draws_have_their_distributions() -> None:
    bits = raw_bits(1, 2, 3, 200_000)
    assert (raw_bits(1, 2, 3, 10) == bits[:10]).all()
    assert not (raw_bits(1, 3, 3, 10) == bits[:10]).any()
    assert np.bincount(below(bits, 10)).min() > 19_000
    assert happens(bits, 0.25).mean() == pytest.approx(0.25, abs=0.01)
    assert waits(bits, 1_000).mean() == pytest.approx(1_000, rel=0.01)
    assert waits(~bits | bits, 1_000).max() == 0
    assert waits(bits & ~bits, 1_000).max() <= WAIT_MEANS_MAX * 1_000
    assert np.bincount(Choice([1, 0, 3]).pick(bits)).tolist() == pytest.approx([50_000, 0, 150_000], abs=1_000)
