"""Small streams of every kind of record, from a list of choices (so that Hypothesis can shrink them) or from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from consumers.work import Work, decode
from streamer.config.tree import Catalog, Config, Head, Ranking, Signals, Windows
from streamer.engine.engine import Engine
from streamer.events.items import encode_vectors
from streamer.events.model import CONTROL, EVENTS, FORGET, ITEMS, VECTORS, ItemVectors
from streamer.ports import RecordBatch
from streamer.tables.arrays import Array

START_MS = 1_700_000_000_000
KINDS = (
    *("click", "click", "click", "view", "cart", "purchase", "basket", "impression"),
    *("broken", "document", "withdrawn", "deleted", "vector", "forget", "forget_before"),
)
EVENT_KINDS = KINDS[:9]
ALL_KINDS = (*KINDS, "freeze", "unfreeze")
GAPS_MS = (0, 0, 1_000, 60_000, 3_600_000)
OFFSETS_MS = (0, 0, 0, 0, -60_000, -40_000_000, 400_000)
"""Of an event's own time from the log's: on time, late within bounds, too late, ahead of the clock."""
VECTOR_WIDTH = 4
USERS, ITEMS_ = 6, 14


class Record(NamedTuple):
    """A record as the log gives it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    append_ms: int


class Choice(NamedTuple):
    """From which a record is made."""

    kind: str
    user: int
    item: int
    gap: int
    offset: int
    event_id: int
    partition: int


CHOICE = st.builds(
    Choice,
    kind=st.sampled_from(KINDS),
    user=st.integers(0, USERS - 1),
    item=st.integers(0, ITEMS_ - 1),
    gap=st.integers(0, len(GAPS_MS) - 1),
    offset=st.integers(0, len(OFFSETS_MS) - 1),
    event_id=st.integers(-2, 20),
    partition=st.integers(0, 1),
)
STREAM = st.lists(CHOICE, min_size=1, max_size=60)


def tiny_config(**ranking: object) -> Config:
    """Blocks, generations, histories, the journal and rows of neighbours so small that a short stream fills them; soon not every group is judged."""
    return Config(
        windows=Windows(dedup_ids_min=5, history_items_max=4, lateness_ms_max=20_000_000, click_wait_ms=30_000),
        catalog=Catalog(),
        signals=Signals(neighbours_max=5, journal_interactions_max=40, user_contributions_per_hour_max=3),
        head=Head(block_records=7, negatives=6, judged_first=15, judged_every=2, judged_gap_ms=100_000),
        ranking=Ranking(**ranking),  # type: ignore[arg-type]
    )


def random_choices(
    seed: int, count: int, *, users: int = USERS, items: int = ITEMS_, kinds: Sequence[str] = KINDS
) -> list[Choice]:
    """Choices in which few users and items take most."""
    rng = random.Random(seed)
    return [
        Choice(
            kind=rng.choice(kinds),
            user=int(users * rng.random() ** 2),
            item=int(items * rng.random() ** 2),
            gap=rng.randrange(len(GAPS_MS)),
            offset=rng.randrange(len(OFFSETS_MS)),
            event_id=rng.randint(-2, count // 2),
            partition=rng.randrange(2),
        )
        for _ in range(count)
    ]


def user_id(n: int) -> str:
    return f'u{n}"é'


def item_id(n: int) -> str:
    return f"i{n}\\\n"


def records_of(choices: Iterable[Choice], *, partitions: int = 2) -> list[Record]:
    """The records, in the order of the log."""
    now_ms, records = START_MS, []
    for n, choice in enumerate(choices):
        now_ms += GAPS_MS[choice.gap]
        topic, key, value = _topic_key_value(choice, n, now_ms)
        partition = choice.partition % partitions if topic == EVENTS else 0
        records.append(Record(topic, partition, key, value, now_ms))
    return records


def _topic_key_value(choice: Choice, n: int, now_ms: int) -> tuple[str, bytes | None, bytes | None]:
    user, item = user_id(choice.user), item_id(choice.item)
    match choice.kind:
        case "document" | "withdrawn":
            document = {"item_id": item, "title": "t", "available": choice.kind == "document"}
            if choice.user:
                document |= {"provider": f"p{choice.user}", "categories": [f"c{n % 5}" for n in range(choice.user)]}
            return ITEMS, item.encode(), json.dumps(document).encode()
        case "deleted":
            return ITEMS, item.encode(), None
        case "vector":
            numbers = np.random.default_rng(choice.item).normal(size=VECTOR_WIDTH).astype(np.float16)
            text = numbers.tobytes() if choice.item % 3 else None
            image = numbers[1:].tobytes() if choice.item % 2 or text is None else None
            vectors = ItemVectors(item_id=item, fingerprint="f", content_hash="c", text=text, image=image)
            return VECTORS, item.encode(), encode_vectors(vectors)
        case "forget":
            return FORGET, user.encode(), None
        case "forget_before":
            return FORGET, user.encode(), json.dumps({"timestamp": now_ms - 1_000_000}).encode()
        case "freeze" | "unfreeze":
            return CONTROL, None, json.dumps({"action": choice.kind}).encode()
        case "broken":
            return EVENTS, user.encode(), b"{"
        case _:
            return EVENTS, user.encode(), json.dumps(_event(choice, n, now_ms)).encode()


def _event(choice: Choice, n: int, now_ms: int) -> dict[str, object]:
    event: dict[str, object] = {
        "type": "purchase" if choice.kind == "basket" else choice.kind,
        "user_id": user_id(choice.user),
        "timestamp": now_ms + OFFSETS_MS[choice.offset],
    }
    if choice.kind in ("basket", "impression"):
        event["item_ids"] = [item_id((choice.item + k) % ITEMS_) for k in range(1 + choice.event_id % 5)]
    else:
        event["item_id"] = item_id(choice.item)
    if choice.event_id == -1:
        event["event_id"] = f"only-{n}"
    elif choice.event_id >= 0:
        event["event_id"] = f"e{choice.event_id}"
    return event


def works_of(records: Sequence[Record]) -> list[Work]:
    """The records as one poll would give them: adjacent ones of a partition in one batch."""
    batches = []
    for (topic, partition), group in groupby(records, key=lambda record: record[:2]):
        run = list(group)
        batches.append(
            RecordBatch(
                topic=topic,
                partition=partition,
                next_offset=0,
                offsets=[0] * len(run),
                append_ms=[record.append_ms for record in run],
                keys=[record.key for record in run],
                values=[record.value for record in run],
            )
        )
    return decode(batches, {})


def fold(engine: Engine, records: Sequence[Record], cuts: Iterable[int] = ()) -> Engine:
    """Folds the records into the engine in polls cut before the records ``cuts``."""
    for part in pieces(records, cuts):
        for work in works_of(part):
            work.apply(engine)
    return engine


def pieces(records: Sequence[Record], cuts: Iterable[int]) -> Iterator[Sequence[Record]]:
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(records)}), len(records)]
    yield from (records[first:stop] for first, stop in pairwise(edges))


def restored(engine: Engine, config: Config) -> Engine:
    """Another engine from a snapshot's tables."""
    return Engine(config, copies(engine.fold_tables()), copies(engine.publisher_tables()))


def copies(tables: dict[str, Array]) -> dict[str, Array]:
    return {name: table.copy() for name, table in tables.items()}


def differing(ours: dict[str, Array], theirs: dict[str, Array]) -> list[str]:
    """Names of tables that are not equal bit for bit."""
    alike = {
        name
        for name in ours.keys() & theirs.keys()
        if ours[name].dtype == theirs[name].dtype
        and ours[name].shape == theirs[name].shape
        and ours[name].tobytes() == theirs[name].tobytes()
    }
    return sorted((ours.keys() | theirs.keys()) - alike)
