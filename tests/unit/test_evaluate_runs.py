"""Test, then learn: what a list may depend on, that all runs are judged alike, and that the engine is the one that serves."""

import json
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import T0, random_rows, stream_of

from streamer.config.tree import Config, Head, Ranking
from streamer.engine.engine import Engine
from streamer.evaluate import figures, methods
from streamer.evaluate.engines import leaves_out_seen_auto, run_engine
from streamer.evaluate.method import Ranked
from streamer.evaluate.methods import MethodKilled, Task, _result, run_all
from streamer.evaluate.prequential import run_method
from streamer.evaluate.report import list_lines
from streamer.evaluate.stream import Document, engine_batches
from streamer.events.model import EventType, ItemDocument

CLICK, PURCHASE, IMPRESSION = EventType.CLICK, EventType.PURCHASE, EventType.IMPRESSION


def config(exclude_seen="false"):
    return Config(head=Head(block_records=32, negatives=8), ranking=Ranking(exclude_seen=exclude_seen))


def quiet(done):
    _ = done


def silent(name, done):
    _ = name, done


class Recorder:
    """A method that lists what it is told to, and notes what it is asked and taught."""

    def __init__(self, items, scores):
        self.ranked = Ranked(np.array(items, np.int64), np.array(scores, np.float64))
        self.steps = []

    def rank(self, user, time_ms, excluded):
        self.steps.append(("rank", user, time_ms - T0, sorted(excluded)))
        return self.ranked

    def learn(self, user, item_G, time_ms):
        self.steps.append(("learn", user, list(item_G)))
        assert self.steps[-2] == ("rank", user, time_ms - T0, self.steps[-2][3])


def run_recorder(rows, items, scores, exclude_seen, documents=()):
    stream = stream_of(rows, documents)
    recorder = Recorder(items, scores)
    leaves_out_G = np.full(stream.groups, exclude_seen)
    return recorder, run_method("popularity", recorder, stream, leaves_out_G, quiet)


def test_a_group_is_ranked_once_before_all_of_it_is_learned():
    rows = [(0, "a", "x", CLICK), (0, "a", "yz", PURCHASE), (1, "b", "x", CLICK)]
    recorder, run = run_recorder(rows, [0, 1, 2], [3, 2, 2], exclude_seen=False)
    assert recorder.steps == [
        ("rank", 0, 0, []),
        ("learn", 0, [0, 1, 2]),
        ("rank", 1, 1_000, []),
        ("learn", 1, [0]),
    ]
    assert run.rank_M.tolist() == [1, 2.5, 2.5, 1]


def test_an_item_that_is_not_listed_is_a_miss_and_an_impression_no_target():
    rows = [(0, "a", "xy", IMPRESSION), (1, "a", "z", CLICK)]
    recorder, run = run_recorder(rows, [0], [1], exclude_seen=False)
    assert np.isnan(run.rank_M[:2]).all()
    assert run.rank_M[2] == np.inf
    assert [step[0] for step in recorder.steps] == ["rank", "rank", "learn"]


def test_seen_and_withdrawn_items_are_excluded_from_the_moment_on():
    rows = [(0, "a", "x", CLICK), (1, "b", "y", CLICK), (2, "a", "z", CLICK), (3, "a", "x", CLICK)]
    documents = [
        Document(T0 + 2_000, ItemDocument(item_id="y", available=False), None),
        Document(T0 + 3_000, ItemDocument(item_id="y"), None),
    ]
    recorder, _ = run_recorder(rows, [0], [1], exclude_seen=True, documents=documents)
    asked = [(step[1], step[3]) for step in recorder.steps if step[0] == "rank"]
    assert asked == [(0, []), (1, []), (0, [0, 1]), (0, [0, 2])]


def lists_of(rows, settings_=None, documents=()):
    return run_engine("streamer", stream_of(rows, documents), settings_ or config(), quiet, keeps_lists=True)


def items_listed(stream, run, group):
    return [stream.item_ids[item] for item in run.item_GK[group].tolist() if item >= 0]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1_000), st.integers(5, 79), st.integers(0, 1_000))
def test_a_list_depends_on_nothing_but_earlier_groups(seed, cut, other_seed):
    rows = random_rows(seed, 80)
    stream = stream_of(rows)
    group = int(stream.group_N[cut])
    first = int(stream.first_G1[group])
    changed = [(second, user, ["other"], CLICK) for second, user, _, _ in rows[first : int(stream.first_G1[group + 1])]]
    last = rows[cut][0]
    later = [(last + 1 + second, user, items, kind) for second, user, items, kind in random_rows(other_seed, 20)]
    theirs = stream_of(rows[:first] + changed + later)
    ours, found = lists_of(rows), run_engine("streamer", theirs, config(), quiet, keeps_lists=True)
    for n in range(group + 1):
        assert items_listed(stream, ours, n) == items_listed(theirs, found, n)


@pytest.mark.parametrize("exclude_seen", ["true", "false", "auto"])
def test_the_run_leaves_the_engine_as_a_plain_fold_of_the_stream_does(exclude_seen):
    """Ranking in between changes nothing, and neither does settling before every group."""
    stream = stream_of(random_rows(3, 300))
    plain = Engine(config(exclude_seen))
    for batch in engine_batches(stream):
        plain.apply(batch.columns)
    plain.settle(int(stream.time_N[-1]))
    run = run_engine("streamer", stream, config(exclude_seen), quiet, served_ms=(60_000, None))
    judged = plain.quality()["live"]["judged"]
    assert run.candidates == (judged, float(plain.state.candidates[0]))


def test_hits_agree_with_what_the_engine_counts_itself():
    rows = [(second, user, items[:1], CLICK) for second, user, items, _ in random_rows(4, 1_500, ties=False)]
    stream = stream_of(rows)
    engine = Engine(config())
    for batch in engine_batches(stream):
        engine.apply(batch.columns)
    engine.settle(int(stream.time_N[-1]))
    own = engine.quality()["live"]
    run = run_engine("streamer", stream, config(), quiet)
    found = figures.values_of(run.rank_M).mean(axis=0)
    assert found[0] > 0.2
    assert own["hits"] / own["judged"] == pytest.approx(found[0], rel=0.01)
    assert own["ndcg"] / own["judged"] == pytest.approx(found[1], rel=0.01)


def test_every_line_of_the_file_has_its_list_in_the_order_of_the_file():
    rows = random_rows(5, 60)
    shuffled = [rows[n] for n in np.random.default_rng(0).permutation(60)]
    stream = stream_of(shuffled)
    run = run_engine("streamer", stream, config(), quiet, keeps_lists=True)
    lines = [json.loads(line) for line in list_lines(stream, run)]
    assert [line["event"] for line in lines] == list(range(60))
    for event, group in enumerate(stream.group_N.tolist()):
        items = lines[int(stream.line_N[event])]["items"]
        assert items == items_listed(stream, run, group)
        assert len(items) == len(set(items)) <= 20


def test_an_item_may_be_listed_once_its_document_is_there_and_not_once_it_is_withdrawn():
    rows = [(n, f"u{n % 5}", [f"i{n % 7}"], CLICK) for n in range(200)]
    gone = [Document(T0 + 100_000, ItemDocument(item_id="i3", available=False), None)]
    stream = stream_of(rows, gone)
    run = run_engine("streamer", stream, config(), quiet, keeps_lists=True)
    listed = [items_listed(stream, run, group) for group in range(stream.groups)]
    assert any("i3" in items for items in listed[50:100])
    assert not any("i3" in items for items in listed[100:])


def test_what_is_left_out_when_the_stream_decides_is_what_the_engine_does():
    stream = stream_of(random_rows(6, 400))
    run = run_engine("streamer", stream, config("auto"), quiet)
    assert np.array_equal(run.leaves_out_G, leaves_out_seen_auto(stream, config("auto")))
    assert set(run.leaves_out_G.tolist()) == {True, False}


def test_gates_are_told_for_every_part_of_the_stream():
    run = run_engine("streamer", stream_of(random_rows(7, 300)), config(), quiet)
    assert run.gate_BF.shape[0] == figures.BINS
    assert len(run.signals) == run.gate_BF.shape[1]
    assert np.isfinite(run.gate_BF).all()


def test_runs_in_processes_of_their_own_say_the_same():
    task = Task(stream_of(random_rows(8, 150)), config("true"), time.perf_counter, keeps_lists=True, served_ms=(None,))
    told = {}
    alone = run_all(["fixed", "streamer"], task, processes=1, told=silent)
    beside = run_all(["fixed", "streamer"], task, processes=2, told=lambda name, done: told.update({name: done}))
    assert list(alone) == list(beside) == ["fixed", "streamer"]
    for name in alone:
        assert np.array_equal(alone[name].rank_M, beside[name].rank_M, equal_nan=True)
    assert np.array_equal(alone["streamer"].item_GK, beside["streamer"].item_GK)
    assert np.array_equal(alone["streamer"].served["off"], beside["streamer"].served["off"], equal_nan=True)
    assert told == {"fixed": 150, "streamer": 150}


def test_an_unknown_method_is_refused_before_anything_runs():
    task = Task(stream_of(random_rows(8, 5)), config(), time.perf_counter)
    with pytest.raises(ValueError, match="no method is called 'magic', expected some of streamer, bilinear"):
        run_all(["magic"], task, processes=1, told=silent)


def test_the_methods_that_are_the_engine_come_first():
    assert methods.METHODS[0] == methods.OURS


def test_a_process_that_was_killed_is_named_by_its_method_with_what_to_do():
    future: Future = Future()
    future.set_exception(BrokenProcessPool("gone"))
    with pytest.raises(MethodKilled, match=r"ended at once, ials or one beside it.* --processes 1"):
        _result("ials", future)
