"""Laws of what operators do: records like any other, so that cuts and restarts make no difference; a rollback is of the log alone."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from drafts import retained
from streams import Record, copies, differing, pieces, random_choices, records_of, tiny_config, works_of

from consumers.apart import Apart
from consumers.audit import _fold as fold_again
from consumers.fold import Fold, PieceFailed
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.engine.rules import structure_of
from streamer.events.control import Control, Freeze, Rollback, Unfreeze, encode_control
from streamer.events.model import CONTROL
from streamer.ports import RecordBatch
from streamer.snapshots import FolderStore, Manifest, snapshot_name, write_snapshot
from streamer.snapshots.lineage import AuditImpossible
from streamer.snapshots.pins import pin, still_pinned

CONFIG = tiny_config()
EPOCH = 1_000
NAME = snapshot_name(1_700_000_000_000, "aaaa")
COUNT = 400


def word(control: Control, append_ms: int) -> Record:
    return Record(CONTROL, 0, None, encode_control(control), append_ms)  # type: ignore[arg-type]


def with_words(seed: int, *words: Control) -> list[Record]:
    """A stream with the words at even distances."""
    records = records_of(random_choices(seed, COUNT))
    for n, control in enumerate(words, 1):
        at = n * COUNT // (len(words) + 1) + n - 1
        records.insert(at, word(control, records[at].append_ms))
    return records


def fold_of(store: FolderStore | None, engine: Engine | None = None, epoch: int = EPOCH) -> Fold:
    return Fold(engine or Engine(CONFIG), CONFIG, {}, epoch=epoch, snapshots=store)


def run(fold: Fold, records: list[Record], cuts: list[int] = []) -> Fold:  # noqa: B006 - never written
    for part in pieces(records, cuts):
        for work in works_of(part):
            fold.apply(work)
    return fold


def save(store: FolderStore, engine: Engine, name: str = NAME, control_offset: int = 0) -> Manifest:
    draft = Manifest(
        name=name,
        epoch=EPOCH,
        created_ms=int(name[:13]),
        parent=None,
        topic_ids={},
        offsets={CONTROL: {"0": control_offset}},
        structural=structure_of(engine._config),
        encoder_fingerprint="",
        versions={},
        head_step=0,
        event_ms=0,
        position=0,
        counters={},
        order=(),
        chunk_bytes=65_536,
    )
    return write_snapshot(store, draft, copies(engine.fold_tables()), {})


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Holds a snapshot of an engine that saw another stream of the same items."""
    store = FolderStore(tmp_path)
    save(store, run(fold_of(None), records_of(random_choices(99, COUNT))).engine)
    return store


@pytest.mark.parametrize("seed", [1, 2])
def test_cuts_of_the_log_make_no_difference_to_freezing_and_rolling_back(store, seed):
    records = with_words(seed, Freeze(), Rollback(NAME), Unfreeze(), Freeze(), Unfreeze(), Rollback(NAME))
    whole = run(fold_of(store), records)
    rng = random.Random(seed)
    cut = run(fold_of(store), records, rng.sample(range(len(records)), 60))
    assert differing(whole.engine.fold_tables(), cut.engine.fold_tables()) == []
    assert whole.epoch == cut.epoch > EPOCH


@pytest.mark.parametrize("seed", [1, 2])
def test_a_restart_makes_no_difference_to_freezing_and_rolling_back(store, seed):
    records = with_words(seed, Freeze(), Rollback(NAME), Unfreeze(), Rollback(NAME), Freeze())
    whole = run(fold_of(store), records)
    fold = fold_of(store)
    for part in pieces(records, random.Random(seed).sample(range(len(records)), 12)):
        tables = copies(fold.engine.fold_tables()), copies(fold.engine.publisher_tables())
        fold = run(fold_of(store, Engine(CONFIG, *tables), fold.epoch), list(part))
    assert differing(whole.engine.fold_tables(), fold.engine.fold_tables()) == []
    assert whole.epoch == fold.epoch
    assert fold.engine.frozen


def test_the_epoch_of_a_rollback_is_when_the_log_got_it_and_always_a_later_one(store):
    save(store, Engine(CONFIG))  # of the same encoder: none
    early, late = word(Rollback(NAME), EPOCH - 500), word(Rollback(NAME), EPOCH + 500)
    assert run(fold_of(store), [early]).epoch == EPOCH + 1
    assert run(fold_of(store), [late]).epoch == EPOCH + 500
    assert run(fold_of(store), [late, early]).epoch == EPOCH + 501
    assert run(fold_of(store), [word(Freeze(), EPOCH + 500)]).epoch == EPOCH


def test_a_rollback_to_what_cannot_be_read_changes_nothing_and_becomes_a_dead_letter(store, caplog):
    records = records_of(random_choices(3, COUNT))
    other = snapshot_name(1_700_000_000_001, "bbbb")
    with caplog.at_level(logging.ERROR):
        fold = run(fold_of(store), [*records, word(Rollback(other), EPOCH + 5)])
    assert differing(fold.engine.fold_tables(), run(fold_of(store), records).engine.fold_tables()) == []
    assert fold.epoch == EPOCH
    (letter,) = fold.letters
    assert (letter.topic, letter.reject.reason.value) == (CONTROL, "engine_error")
    assert other in letter.reject.error
    assert "streamer snapshots list" in caplog.text


def test_a_rollback_to_a_state_of_another_structure_changes_nothing(store, tmp_path):
    fold = run(fold_of(store), records_of(random_choices(3, 200)))
    before = copies(fold.engine.fold_tables())
    foreign = FolderStore(tmp_path / "foreign")
    config = replace_block(CONFIG)
    save(foreign, Engine(config))
    run(fold_of(foreign, fold.engine), [word(Rollback(NAME), EPOCH + 5)])
    assert differing(before, fold.engine.fold_tables()) == []


def test_a_word_between_suspects_is_applied_again_with_them(store):
    """After a record that failed alone the state is built anew from before the first of its kind: a rollback among them too."""
    records = with_words(4, Rollback(NAME))
    works = [work for record in records[-300:] for work in works_of([record])]
    plain, suspected = fold_of(store), fold_of(store)
    for fold in (plain, suspected):
        for work in works:
            if fold is suspected and work.ordered is not None:
                work.suspect = work.ordered.letter
            fold.apply(replace(work))
    assert differing(plain.engine.fold_tables(), suspected.engine.fold_tables()) == []
    assert plain.epoch == suspected.epoch > EPOCH


def test_a_pinned_snapshot_stays_until_its_rollback_is_part_of_a_committed_one(tmp_path):
    store = FolderStore(tmp_path)
    names = [snapshot_name(1_700_000_000_000 + n, "aaaa") for n in range(6)]
    engine = Engine(CONFIG)
    for n, name in enumerate(names):
        save(store, engine, name, control_offset=3 if n == len(names) - 1 else 2)
    pin(store, names[0], 3)
    retained(store, 2, names[4])
    assert [name for name in names if f"manifests/{name}.json" in store.names("manifests/")] == [names[0], *names[3:]]
    retained(store, 2, names[5])
    assert [name for name in names if f"manifests/{name}.json" in store.names("manifests/")] == names[4:]
    assert still_pinned(store, []) == set()


def replace_block(config: Config) -> Config:
    return msgspec.structs.replace(config, head=msgspec.structs.replace(config.head, block_records=9))


class Replayed:
    """One operator's word, as an audit meets it."""

    records = 1

    def __init__(self, control: Control) -> None:
        self._batches = [RecordBatch(CONTROL, 0, 1, [0], [EPOCH], [None], [encode_control(control)])]

    def next(self, records_max: int) -> list[RecordBatch]:
        del records_max
        return [self._batches.pop()] if self._batches else []


def test_an_audit_does_a_rollback_again_and_says_where_it_cannot(store):
    fold = fold_of(store, run(fold_of(store), records_of(random_choices(1, COUNT))).engine)
    assert fold_again(fold, Replayed(Rollback(NAME)), {}, Apart(), None) == 1
    assert fold.epoch > EPOCH
    with pytest.raises(AuditImpossible, match=r"control\[0\] offset 0 cannot be done again"):
        fold_again(fold, Replayed(Rollback("1795485458999-9f3c02aa")), {}, Apart(), None)


def test_a_rollback_that_cannot_be_done_is_left_out_for_whoever_folds_it_next(store):
    fold = run(fold_of(store), [word(Rollback("1795485458999-9f3c02aa"), EPOCH)])
    assert [(letter.topic, letter.offset) for letter in fold.letters] == [(CONTROL, 0)]
    assert [one[:2] for one in fold.left_out] == [(CONTROL, 0)]


def test_a_store_that_cannot_be_read_now_rejects_no_rollback(store, monkeypatch):
    def away(_: str) -> bytes:
        raise OSError("timed out")

    monkeypatch.setattr(store, "get", away)
    fold = fold_of(store)
    with pytest.raises(PieceFailed, match="timed out"):
        run(fold, [word(Rollback(NAME), EPOCH)])
    assert not fold.letters
    assert not fold.left_out
