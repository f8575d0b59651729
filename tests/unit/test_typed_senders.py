"""Typed senders over a log of our own: what they write is what a worker accepts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers import AsyncSender, Sender
from streamer.config.tree import Config, Kafka, Log
from streamer.embedded import EmbeddedAdmin, EmbeddedReader, EmbeddedWriter
from streamer.events.codec import InvalidEventError, decode_events
from streamer.events.forget import decode_forget
from streamer.events.items import decode_item
from streamer.events.model import EVENTS, FORGET, ITEMS, Forget, ItemDocument
from streamer.ports import BufferFullError, LogError, OutRecord, TopicPartition

T0 = 1_795_485_458_344


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = Config(log=Log(kind="embedded", root=str(tmp_path)), kafka=Kafka(partitions=1, buffer_records_max=2))
    with contextlib.closing(EmbeddedAdmin(made)) as admin:
        admin.create_topics()
    return made


def logged(config: Config, topic: str) -> tuple[list[bytes | None], list[bytes | None]]:
    with contextlib.closing(EmbeddedReader(config)) as reader:
        batch = reader.read(TopicPartition(topic, 0), 0, 100)
    return batch.keys, batch.values


def test_every_kind_of_event_is_accepted_with_an_id_and_the_time_of_now(config: Config) -> None:
    before_ms = time.time_ns() // 1_000_000
    with Sender(EmbeddedWriter(config)) as sender:
        ids = [
            sender.view("u1", "a"),
            sender.click("u1", "a", session_id="s"),
            sender.cart("u1", "a", quantity=2),
            sender.purchase("ü", "a", "b", price=9.5),
            sender.impression("u1", ["a", "b"]),
        ]
    keys, values = logged(config, EVENTS)
    decoded = decode_events(values)
    assert decoded.rejects == []
    assert decoded.event_ids == ids
    assert len(set(ids)) == 5
    assert keys == [user.encode() for user in decoded.user_ids]
    assert decoded.item_counts == [1, 1, 1, 2, 2]
    assert all(before_ms <= at_ms <= time.time_ns() // 1_000_000 for at_ms in decoded.timestamps_ms)


def test_what_is_given_wins_over_what_is_made_up(config: Config) -> None:
    with Sender(EmbeddedWriter(config)) as sender:
        assert sender.click("u1", "a", event_id="e7", timestamp=T0) == "e7"
    [value] = logged(config, EVENTS)[1]
    assert json.loads(value or b"") == {"event_id": "e7", "type": "click", "user_id": "u1", "item_id": "a", "timestamp": T0}


def test_items_and_requests_to_forget_are_read_back_as_they_were_given(config: Config) -> None:
    with Sender(EmbeddedWriter(config)) as sender:
        sender.item("a", title="A", categories=["x"], available=False)
        sender.forget("u1")
    [item_key], [item] = logged(config, ITEMS)
    assert decode_item(item_key, item) == ItemDocument(item_id="a", title="A", categories=("x",), available=False)
    [forget_key], [forget] = logged(config, FORGET)
    assert decode_forget(forget_key, forget) == Forget("u1")


@pytest.mark.parametrize(
    "send",
    [
        lambda sender: sender.forget(""),
        lambda sender: sender.forget("x" * 300),
        lambda sender: sender.item(""),
        lambda sender: sender.item("i", timestamp_ms=12),
        lambda sender: sender.item("i", categories=[1]),
        lambda sender: sender.item("i", categories="abc"),
        lambda sender: sender.click("u\ud800", "i"),
        lambda sender: sender.forget("u\ud800"),
    ],
)
def test_nothing_is_sent_that_a_worker_would_refuse(config: Config, send: Callable[[Sender], str]) -> None:
    with Sender(EmbeddedWriter(config)) as sender, pytest.raises(InvalidEventError):
        send(sender)
    assert [logged(config, topic) for topic in (EVENTS, ITEMS, FORGET)] == [([], [])] * 3


def test_an_event_that_a_worker_would_refuse_is_not_sent(config: Config) -> None:
    with Sender(EmbeddedWriter(config)) as sender:
        with pytest.raises(InvalidEventError, match="user_id"):
            sender.click("", "a")
        with pytest.raises(InvalidEventError, match="item_ids"):
            sender.purchase("u1")
    assert logged(config, EVENTS) == ([], [])


def test_a_callback_hears_of_each_record(config: Config) -> None:
    heard: list[tuple[bytes | None, Exception | None]] = []
    with Sender(EmbeddedWriter(config), on_done=lambda record, error: heard.append((record.key, error))) as sender:
        sender.click("u1", "a")
        sender.flush()
        assert heard == [(b"u1", None)]


def test_awaiting_gives_the_acknowledgement_or_the_refusal(config: Config) -> None:
    async def send() -> list[Any]:
        async with AsyncSender(EmbeddedWriter(config)) as sender:
            ids = await asyncio.gather(*(sender.click(f"u{n}", "a", event_id=f"e{n}") for n in range(20)))
            assert len(logged(config, EVENTS)[0]) == 20
            return ids

    assert asyncio.run(send()) == [f"e{n}" for n in range(20)]


def test_a_topic_that_is_not_there_is_heard_of_when_awaited(tmp_path: Path) -> None:
    async def send() -> None:
        async with AsyncSender(EmbeddedWriter(Config(log=Log(kind="embedded", root=str(tmp_path / "empty"))))) as sender:
            await sender.click("u1", "a")

    with pytest.raises(LogError):
        asyncio.run(send())


def test_a_full_buffer_of_the_embedded_log_is_waited_for_within_bounds(config: Config) -> None:
    record, holding, let_go = OutRecord(EVENTS, b"u", b"{}"), threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        holding.set()
        let_go.wait(30)

    with contextlib.closing(EmbeddedWriter(config)) as writer:
        writer.send(record, hold)
        assert holding.wait(30)
        writer.send(record)  # the buffer holds two
        with pytest.raises(BufferFullError, match="buffer_records_max"):
            writer.send(record, timeout_s=0.05)
        let_go.set()
