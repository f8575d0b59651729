"""Which recordings were played onto a topic, told from offsets alone: registered, dead or alive, over, live or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from memory_log import MemoryAdmin, MemoryBroker

from producers import registration
from producers.checks import Checked, check
from producers.registration import PATIENCE_S, Run, Runs, Taken, playing, wait_until_still
from streamer.cli.replay_target import require_same_partitions
from streamer.config import Config
from streamer.events.model import EVENTS
from streamer.ports import LogError, OutRecord, TopicPartition


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(partitions=2)


def runs_on(broker: MemoryBroker, group: str = "streamer-shop") -> Runs:
    return Runs(MemoryAdmin(broker), group, now_ms=lambda: 1_795_485_458_344)


@pytest.fixture
def runs(broker: MemoryBroker) -> Runs:
    return runs_on(broker)


@pytest.fixture
def recording(tmp_path: Path) -> Checked:
    """Ten events."""
    path = tmp_path / "clicks.jsonl"
    path.write_text(
        "".join(f'{{"type":"click","user_id":"u","item_id":"i","timestamp":{1_795_485_458_344 + n}}}\n' for n in range(10))
    )
    return check([path])


def put(broker: MemoryBroker, count: int, partition: int = 0) -> None:
    for n in range(count):
        broker.append(OutRecord(EVENTS, b"u", b"%d" % n, partition=partition))


def test_a_run_is_found_with_where_the_topic_ended_at_its_start_and_at_its_end(
    broker: MemoryBroker, runs: Runs, recording: Checked
) -> None:
    put(broker, 3)
    run = runs.begin(recording, 1)
    assert runs.all() == [run]
    assert run.starts == {TopicPartition(EVENTS, 0): 3, TopicPartition(EVENTS, 1): 0}
    assert (run.note.state, run.note.events, run.note.files, run.ends) == ("playing", 10, ["clicks.jsonl"], None)
    put(broker, 10, partition=1)
    runs.end(run, 9, 1)
    [over] = runs.all()
    assert over.starts == run.starts
    assert over.ends == {TopicPartition(EVENTS, 0): 3, TopicPartition(EVENTS, 1): 10}
    assert (over.note.state, over.note.events, over.note.refused) == ("done", 9, 1)


def test_runs_of_one_recording_are_told_apart_by_number_and_not_by_namespace_or_a_topic_made_anew(
    broker: MemoryBroker, runs: Runs, recording: Checked
) -> None:
    first = runs.begin(recording, 1)
    runs.end(first, 10, 0)
    second = runs.begin(recording, 2)
    assert [(run.number, run.ends is None) for run in runs.all()] == [(1, False), (2, True)]
    assert second.identity == first.identity
    assert runs_on(broker, "streamer-other").all() == []
    broker.create(EVENTS)
    assert runs_on(broker).all() == []


@pytest.mark.parametrize(("before", "own", "between", "after", "strangers"), [(0, 10, 0, 0, 0), (2, 10, 3, 4, 9)])
def test_records_outside_the_runs_are_of_strangers(
    broker: MemoryBroker, runs: Runs, recording: Checked, before: int, own: int, between: int, after: int, strangers: int
) -> None:
    put(broker, before)
    run = runs.begin(recording, 1)
    put(broker, own // 2, partition=1)
    put(broker, own - own // 2)
    runs.end(run, own, 0)
    put(broker, between)
    again = runs.begin(recording, 2)
    put(broker, own, partition=1)
    runs.end(again, own, 0)
    put(broker, after)
    assert runs.strangers(runs.all()) == strangers


def test_a_run_without_an_end_may_have_put_there_no_more_than_it_had_to_send(
    broker: MemoryBroker, runs: Runs, recording: Checked
) -> None:
    run = runs.begin(recording, 1)
    put(broker, 8)
    assert runs.strangers(runs.all()) == 0
    other = runs.begin(recording, 2)  # of another recording, as far as strangers are concerned
    put(broker, 50)
    runs.end(other, 50, 0)
    assert runs.strangers(runs.all()) == 0
    put(broker, 5)
    assert runs.strangers(runs.all()) == 3
    assert run.ends is None


class Hand:
    """A clock that sleeping moves, with something to do at each look."""

    def __init__(self, look: Callable[[float], None]) -> None:
        self.now_s = 0.0
        self._look = look

    def clock_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._look(self.now_s)


def waited(runs: Runs, run: Run, look: Callable[[float], None]) -> float:
    hand = Hand(look)
    wait_until_still(runs, run, clock_s=hand.clock_s, sleep=hand.sleep)
    return hand.now_s


def test_a_run_that_gives_signs_of_life_is_left_alone(runs: Runs, recording: Checked) -> None:
    run = runs.begin(recording, 1)
    beats = iter(range(1, 1_000))
    with pytest.raises(Taken, match=r"clicks\.jsonl is being played onto this topic by another process"):
        waited(runs, run, lambda now_s: runs.beat(run, next(beats)) if now_s > PATIENCE_S - 1 else None)


def test_a_dead_run_is_waited_for_until_nothing_of_it_lands_any_more(
    broker: MemoryBroker, runs: Runs, recording: Checked
) -> None:
    run = runs.begin(recording, 1)
    assert waited(runs, run, lambda _: None) == pytest.approx(PATIENCE_S, abs=0.3)
    late = waited(runs, run, lambda now_s: put(broker, 1) if now_s < PATIENCE_S else None)
    assert late == pytest.approx(PATIENCE_S + registration.STILL_S, abs=0.5)
    assert waited(runs, run, lambda _: put(broker, 1)) == pytest.approx(registration.STILL_S_MAX, abs=0.3)
    runs.stop(run)
    assert waited(runs, runs.all()[0], lambda _: None) == 0


def test_a_run_that_was_taken_over_ends(
    broker: MemoryBroker, runs: Runs, recording: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "BEAT_S", 0.01)
    run = runs.begin(recording, 1)

    def play() -> None:
        with playing(runs_on(broker), runs, run) as mine:
            assert runs_on(broker).take_over(run).starts == run.starts
            deadline_s = time.monotonic() + 10
            while time.monotonic() < deadline_s:
                mine.require()
                time.sleep(0.001)

    with pytest.raises(Taken, match="another process has taken over"):
        play()


@pytest.mark.parametrize(
    ("error", "settled", "state"),
    [
        (InterruptedError, True, "stopped"),
        (InterruptedError, False, "playing"),
        (lambda: LogError("away", retriable=True), True, "playing"),
    ],
)
def test_a_run_that_ends_early_is_said_to_be_stopped_where_nothing_of_it_is_under_way(
    broker: MemoryBroker, runs: Runs, recording: Checked, error: Callable[[], Exception], settled: bool, state: str
) -> None:
    run = runs.begin(recording, 1)

    def play() -> None:
        with playing(runs_on(broker), runs, run) as mine:
            mine.settled = settled
            raise error()

    with pytest.raises((InterruptedError, LogError)):
        play()
    assert runs.all()[0].note.state == state


def test_a_run_is_not_gone_on_with_where_the_topic_has_other_partitions_than_at_its_start(
    runs: Runs, recording: Checked
) -> None:
    run = runs.begin(recording, 1)
    require_same_partitions(Config(), run, 2)
    with pytest.raises(
        click.ClickException, match=r"events has 4 partitions, and had 2 when the replay of clicks\.jsonl began"
    ):
        require_same_partitions(Config(), run, 4)


def test_what_a_run_says_of_itself_stays_small_however_many_files_it_has_and_whatever_they_are_called(
    broker: MemoryBroker, runs: Runs, tmp_path: Path
) -> None:
    files = [tmp_path / f"{'é' * 110}{n}.jsonl" for n in range(8)]
    for path in files:
        path.write_text('{"type":"click","user_id":"u","item_id":"i","timestamp":1795485458344}\n')
    runs.begin(check(files), 1)
    [committed] = MemoryAdmin(broker).offsets_of_groups("streamer-shop").values()
    assert all(len(one.metadata.encode()) < 2_000 for one in committed.values())
    assert runs.all()[0].note.files[-1] == "and 3 more"
