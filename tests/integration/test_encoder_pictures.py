"""The encoder worker with pictures: both modalities in one record, each encoded once; thirty hostile items among good ones."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryWriter
from PIL import Image

from consumers.document_vectors import document_vectors, joint_fingerprint
from consumers.encoder import EncoderWorker
from consumers.picture_files import PictureFiles
from consumers.picture_urls import PictureUrls
from streamer.cli.backtest_input import read_stream
from streamer.config.tree import Config, Encoder
from streamer.encoders import ImageEncoder, Picture, TextEncoder, VectorCache, load_image_encoder, load_text_encoder
from streamer.events.items import decode_vectors, encode_item
from streamer.events.model import DEAD, ITEMS, VECTORS, ItemDocument, ItemVectors
from streamer.ports import OutRecord

CONFIG = Config(encoder=Encoder(batch_items_max=8, image_hosts="img.example"))


class Counted:
    """The real image encoder with a count of the pictures that reach it, and one that breaks it."""

    def __init__(self, inner: ImageEncoder) -> None:
        self.inner = inner
        self.fingerprint = inner.fingerprint
        self.pictures = 0

    def encode(self, pictures: Sequence[Picture]) -> np.ndarray:
        if any((picture == 77).all() for picture in pictures):
            message = "cannot see this"
            raise RuntimeError(message)
        self.pictures += len(pictures)
        return self.inner.encode(pictures)


@pytest.fixture(scope="module")
def texts() -> TextEncoder:
    return load_text_encoder(CONFIG.encoder)


@pytest.fixture(scope="module")
def model() -> ImageEncoder:
    encoder = load_image_encoder(CONFIG.encoder)
    assert encoder is not None
    return encoder


@pytest.fixture
def images(model: ImageEncoder) -> Counted:
    return Counted(model)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(partitions=2)


@pytest.fixture
def dialled() -> list[str]:
    return []


@pytest.fixture
def worker(
    broker: MemoryBroker, texts: TextEncoder, images: Counted, tmp_path: Path, dialled: list[str]
) -> Iterator[EncoderWorker]:
    def connect(address: str, port: int, timeout_s: float) -> socket.socket:
        del port, timeout_s
        dialled.append(address)
        raise ConnectionRefusedError

    (tmp_path / "root").mkdir(exist_ok=True)
    with ExitStack() as stack:
        cache = stack.enter_context(closing(VectorCache(tmp_path / "vectors", vectors_max=1_000)))
        urls = stack.enter_context(
            closing(PictureUrls(CONFIG.encoder.image_hosts, resolve=lambda *_: ["10.0.0.7"], connect=connect))
        )
        files = PictureFiles((tmp_path / "root",), urls)
        made = document_vectors(texts, images, cache, CONFIG.encoder, files, time.monotonic)
        log = MemoryLog(broker, group=CONFIG.encoder_group, topics=[ITEMS], exclusive=False)
        yield EncoderWorker(log, MemoryWriter(broker), stack.enter_context(made), admin=MemoryAdmin(broker))


def put(broker: MemoryBroker, *documents: ItemDocument) -> None:
    for one in documents:
        broker.append(OutRecord(ITEMS, one.item_id.encode(), encode_item(one)))


def drain(worker: EncoderWorker) -> None:
    worker.step(0)
    while worker.step(0):
        pass


def vectors(broker: MemoryBroker) -> dict[str, ItemVectors]:
    found: dict[str, ItemVectors] = {}
    for record in broker.records(VECTORS):
        assert record.value is not None
        one = decode_vectors(record.value)
        assert isinstance(one, ItemVectors)
        found[one.item_id] = one
    return found


def letters(broker: MemoryBroker) -> dict[str, list[str]]:
    """Reasons by item."""
    found: dict[str, list[str]] = {}
    for record in broker.records(DEAD):
        assert record.key is not None
        found.setdefault(record.key.decode(), []).append(dict(record.headers)["reason"].decode())
    return found


def png(colour: str | tuple[int, int, int], size: int = 40) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return buffer.getvalue()


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_a_record_bears_both_modalities_under_the_names_of_both_encoders(
    broker: MemoryBroker, worker: EncoderWorker, texts: TextEncoder, images: Counted, tmp_path: Path
) -> None:
    (tmp_path / "root" / "red.png").write_bytes(png("red"))
    put(
        broker,
        ItemDocument(item_id="both", title="Boots", image="red.png"),
        ItemDocument(item_id="image", image=uri(png("red"))),
        ItemDocument(item_id="text", title="Boots"),
        ItemDocument(item_id="nothing", provider="nobody"),
    )
    drain(worker)
    found = vectors(broker)
    assert {one.fingerprint for one in found.values()} == {joint_fingerprint(texts, images)}
    assert {name: (one.text is not None, one.image is not None) for name, one in found.items()} == {
        "both": (True, True),
        "image": (False, True),
        "text": (True, False),
        "nothing": (False, False),
    }
    assert found["both"].image == found["image"].image
    expected = images.inner.encode([np.full((40, 40, 3), (255, 0, 0), np.uint8)])[0]
    assert np.allclose(np.frombuffer(found["both"].image or b"", "<f2"), expected, atol=2e-3)
    assert (images.pictures, worker.counters.encoded) == (1, 1)


def test_a_second_start_encodes_nothing(
    broker: MemoryBroker, worker: EncoderWorker, images: Counted, texts: TextEncoder, tmp_path: Path
) -> None:
    put(broker, *(ItemDocument(item_id=f"i{n}", title=f"film {n}", image=uri(png((n, 9, 9)))) for n in range(40)))
    drain(worker)
    assert images.pictures == 40
    before = vectors(broker)
    again = MemoryBroker(partitions=2)
    put(again, *(ItemDocument(item_id=f"i{n}", title=f"film {n}", image=uri(png((n, 9, 9)))) for n in range(40)))
    with ExitStack() as stack:
        cache = stack.enter_context(closing(VectorCache(tmp_path / "vectors", vectors_max=1_000)))
        files = PictureFiles((), PictureUrls(""))
        made = stack.enter_context(document_vectors(texts, images, cache, CONFIG.encoder, files, time.monotonic))
        log = MemoryLog(again, group=CONFIG.encoder_group, topics=[ITEMS], exclusive=False)
        second = EncoderWorker(log, MemoryWriter(again), made, admin=MemoryAdmin(again))
        drain(second)
    assert images.pictures == 40
    counters = second.counters
    assert (counters.encoded, counters.images_encoded, counters.cached, counters.images_cached) == (0, 0, 40, 40)
    assert vectors(again) == before


def test_a_picture_that_becomes_whole_between_two_tries_is_encoded(
    broker: MemoryBroker, worker: EncoderWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "root" / "late.png"
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        path.write_bytes(png("blue") if len(pauses) == 2 else png("blue")[:40])

    assert worker._vectors._pictures is not None
    monkeypatch.setattr(worker._vectors._pictures, "_pause", pause)
    put(broker, ItemDocument(item_id="late", image="late.png"))
    drain(worker)
    assert len(pauses) == 2
    assert vectors(broker)["late"].image is not None
    assert letters(broker) == {}


def hostile_items(root: Path) -> dict[str, ItemDocument]:
    """Items each of which is a dead letter, beside those whose hostile texts are harmless."""
    whole = png((9, 200, 9), 60)
    (root / "svg.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    frames[0].save(root / "animated.gif", save_all=True, append_images=frames[1:])
    (root / "cut.png").write_bytes(whole[:-30])
    (root / "empty.png").write_bytes(b"")
    (root / "huge.png").write_bytes(bytes(10_000_001))
    Image.new("1", (5_100, 5_000)).save(root / "pixels.png")
    Image.new("L", (3_000, 2)).save(root / "thread.png")
    (root / "circle.png").symlink_to("circle.png")
    (root / "out.png").symlink_to("/etc/hostname")
    (root / "folder.png").mkdir()
    (root / "device.png").symlink_to("/dev/zero")
    (root / "text.png").write_text("hello")
    (root / "polyglot.png").write_bytes(b"<html>" + whole)
    (root / "zip.png").write_bytes(b"PK\x03\x04" + bytes(100))
    images = {
        **{path.stem: path.name for path in root.iterdir()},
        "missing": "no/such.png",
        "up": "../vectors/vectors.sqlite",
        "absolute": "/etc/passwd",
        "environment": "/proc/self/environ",
        "nul": "a\x00b.png",
        "long": "x" * 10_000,
        "scheme": "file:///etc/passwd",
        "script": "javascript://%0aalert(1)",
        "stranger": "http://169.254.169.254/latest/meta-data",
        "local": "http://localhost:8080/a.png",
        "inner": "https://img.example/a.png",
        "port": "http://img.example:6379/a.png",
        "user": "http://a:b@img.example/a.png",
        "half uri": "data:image/png;base64",
        "broken uri": "data:image/png;base64,!!!!",
        "svg uri": "data:image/svg+xml,<svg onload='alert(1)'/>",
        "poison": uri(png((77, 77, 77))),
    }
    return {name: ItemDocument(item_id=name, title=f"a {name}", image=image) for name, image in images.items()}


HOSTILE_TEXTS = (
    "\x00\x01\x02",
    "\u202e\u200b\ufeff" * 2_000,
    "x" * 900_000,
    "\U0001f3ac" * 50_000,
    "<script>alert(1)</script>" * 1_000,
    "a\u0301" * 30_000,
    "{{7*7}} ${jndi:ldap://127.0.0.1/a} %s %n",
    " ".join("\u0e01\u4e2d\u05d0" for _ in range(20_000)),
)


def test_hostile_items_are_dead_letters_with_a_reason_and_the_good_ones_are_encoded(
    broker: MemoryBroker, worker: EncoderWorker, tmp_path: Path, dialled: list[str]
) -> None:
    hostile = hostile_items(tmp_path / "root")
    assert len(hostile) >= 30
    good = [ItemDocument(item_id=f"good {n}", title="fine", image=uri(png((n, n, 0)))) for n in range(10)]
    wordy = [ItemDocument(item_id=f"text {n}", text=text) for n, text in enumerate(HOSTILE_TEXTS)]
    started = time.monotonic()
    put(broker, *good[:5], *hostile.values(), *wordy, *good[5:])
    drain(worker)
    assert time.monotonic() - started < 60
    found, dead = vectors(broker), letters(broker)
    assert dead.keys() == hostile.keys()
    too_large = {"huge", "pixels"}
    expected = {name: ["too_large" if name in too_large else "bad_image"] for name in hostile} | {"poison": ["engine_error"]}
    assert dead == expected
    assert dialled == [], "no hostile item reaches the network"
    assert found.keys() == {*hostile, *(one.item_id for one in (*good, *wordy))}
    assert all(found[name].text is not None and found[name].image is None for name in hostile)
    assert all(found[one.item_id].image is not None for one in good)
    assert all(np.isfinite(np.frombuffer(found[one.item_id].text or b"", "<f2")).all() for one in wordy)
    assert (worker.counters.images_unusable, worker.counters.failed) == (len(hostile) - 1, 1)


def test_a_worker_that_is_told_to_reads_all_documents_again_once(
    broker: MemoryBroker, worker: EncoderWorker, images: Counted
) -> None:
    put(broker, *(ItemDocument(item_id=f"i{n}", title=f"film {n}", image=uri(png((n, 9, 9)))) for n in range(6)))
    drain(worker)
    log = MemoryLog(broker, group=CONFIG.encoder_group, topics=[ITEMS], exclusive=False)
    worker._log.close()
    again = EncoderWorker(log, MemoryWriter(broker), worker._vectors, admin=MemoryAdmin(broker), reencode=True)
    drain(again)
    assert len(broker.records(VECTORS)) == 12
    assert images.pictures == 6
    put(broker, ItemDocument(item_id="more", title="a film"))
    drain(again)
    assert len(broker.records(VECTORS)) == 13


def test_a_backtest_reads_images_beside_its_items_and_tells_those_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png("red"))
    events = [{"type": "click", "user_id": "u", "item_id": name, "timestamp": 1_700_000_000_000} for name in "ab"]
    items = [
        {"item_id": "a", "title": "Boots", "image": "pictures/a.png"},
        {"item_id": "b", "title": "Hat", "image": "../b.png"},
    ]
    for name, rows in (("events", events), ("items", items)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = Config(encoder=Encoder(cache_root=str(tmp_path / "cache")))
    told: list[int] = []
    found = read_stream(
        tmp_path / "events.jsonl", tmp_path / "items.jsonl", "auto", config, reading=lambda _: None, encoding=told.append
    )
    has = [(one.document.item_id, one.text is not None, one.image is not None) for one in found.stream.documents]
    assert has == [("a", True, True), ("b", True, False)]
    assert (found.problems.count, found.problems.contents_count, sum(told)) == (0, 1, 2)
    assert "item b: bad_image" in found.problems.contents[0]
