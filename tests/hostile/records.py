"""Malformed and hostile records of every input topic, from a seed: what broken, careless and malicious producers write."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from producers.formats import Recorded
from streamer.events.items import encode_vectors
from streamer.events.model import EVENTS, FORGET, ITEMS, VECTORS, ItemVectors

NOW_MS = 1_795_485_458_344
BIG_EVERY = 2_000
"""One record in so many is large: up to a megabyte."""
HUGE_NUMBERS = (
    "1e400",
    "-1e400",
    "1" + "0" * 400,
    "9" * 5_000,
    "-0",
    "1e-400",
    "0.1e1",
    "1E+2",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
)
NON_FINITE = ("NaN", "Infinity", "-Infinity", "nan", "inf")
ODD_TEXT = (
    *('""', '" "', '"\\u0000"', '"\x00"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u00"', '"\\x41"', '"\\"'),
    *('"\t"', '"\\n"', '"\u202e\u2066"', '"é\\u0301"', '"' + "é" * 128 + '"', '"' + "é" * 129 + '"', '"' + "i" * 256 + '"'),
    *('"' + "i" * 257 + '"', '"' + "\\u0069" * 257 + '"', "'single'", "plain", '"\ufeff"', '"../../etc/passwd"', '"%s%n{0}"'),
)
ODD_VALUES = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "[]",
    "{}",
    "[[]]",
    '[""]',
    "[null]",
    "[1]",
    '{"a":{}}',
    "[" * 300 + "]" * 300,
)
TIMESTAMPS = (
    *("0", "-1", "1795485458", "1795485458344000", "1795485458344.999", "99999999999", "100000000000", "100000000000000"),
    *(
        "100000000000001",
        "1e12",
        "1.7e12",
        "1e13",
        "1e400",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
    ),
    *('"1795485458344"', '"2026-11-24"', '"2026-11-24T03:17:38Z"', '"2026-11-24T03:17:38"', '"2026-13-45T99:99:99Z"'),
    *(
        '"2026-11-24T23:59:60Z"',
        '"9999-12-31T23:59:60Z"',
        '"0000-00-00T00:00:00Z"',
        '"2026-11-24t03:17:38.' + "1" * 5_000 + 'z"',
    ),
    *(
        '"2026-11-24T03:17:38+99:99"',
        '"9999-12-31T23:59:59-23:59"',
        '"0001-01-01T00:00:00+23:59"',
        '"\uff12\uff10\uff12\uff16-11-24T03:17:38Z"',
        '""',
    ),
)
FIELDS = (
    "type",
    "user_id",
    "item_id",
    "item_ids",
    "timestamp",
    "event_id",
    "session_id",
    "request_id",
    "quantity",
    "price",
    "context",
)
DOCUMENT = ("item_id", "title", "text", "image", "categories", "provider", "available", "timestamp")
KEYS = (
    None,
    b"",
    b"u1",
    b"\xff\xfe",
    b"\x00",
    b"k" * 256,
    b"k" * 257,
    "é".encode() * 128,
    b'{"user_id":"u1"}',
    b"\xed\xa0\x80",
)


class Hostile(NamedTuple):
    """A record as somebody sends it."""

    topic: str
    key: bytes | None
    value: bytes | None


class Hostility:
    """Makes records from a seed; ``real`` are events that are mutated beside the ones made here."""

    def __init__(self, seed: int, real: list[Recorded] | None = None) -> None:
        self._rng = random.Random(seed)
        self._real = [self._now(record.value) for record in real or () if record.value] or [self._event()]
        self._makers: list[tuple[Callable[[], bytes | None], int]] = [
            (self._flipped, 25),
            (self._cut, 8),
            (self._odd_field, 30),
            (self._odd_timestamp, 12),
            (self._noise, 5),
            (self._scalar, 4),
            (self._dressed, 5),
            (self._doubled, 4),
            (self._nested, 3),
            (self._good, 4),
        ]

    def records(self, count: int, *, topics: tuple[str, ...] = (EVENTS, ITEMS, VECTORS, FORGET)) -> Iterator[Hostile]:
        """So many records, of events most."""
        weights = {EVENTS: 70, ITEMS: 15, VECTORS: 8, FORGET: 7}
        shares = [weights[topic] for topic in topics]
        for n in range(count):
            topic = self._rng.choices(topics, shares)[0]
            yield self._big(topic) if n % BIG_EVERY == BIG_EVERY - 1 else self._record(topic)

    def _record(self, topic: str) -> Hostile:
        if topic == VECTORS:
            return Hostile(topic, self._key(), self._vectors())
        self._topic = topic
        makers, weights = zip(*self._makers, strict=True)
        value = self._rng.choices(makers, weights)[0]()
        if topic == FORGET and self._rng.random() < 0.2:
            value = self._rng.choice((None, b""))
        return Hostile(topic, self._key(), value)

    def _key(self) -> bytes | None:
        return self._rng.choice(KEYS) if self._rng.random() < 0.5 else f"u{self._rng.randrange(9)}".encode()

    def _now(self, value: bytes) -> bytes:
        """A recorded event as if it happened now, so that it is not late."""
        return json.dumps(json.loads(value) | {"timestamp": self._time_ms()}, separators=(",", ":")).encode()

    def _time_ms(self) -> int:
        return NOW_MS + self._rng.randrange(-(10**6), 10**6)

    # -- values of JSON topics ----------------------------------------------------------------------------------------------

    def _event(self) -> bytes:
        rng = self._rng
        event: dict[str, Any] = {
            "event_id": f"e{rng.randrange(10**6)}",
            "type": rng.choice(("impression", "view", "click", "cart", "purchase")),
            "user_id": f"u{rng.randrange(50)}",
            "item_id": f"i{rng.randrange(100)}",
            "timestamp": self._time_ms(),
        }
        if event["type"] in ("impression", "purchase"):
            event["item_ids"] = [f"i{rng.randrange(100)}" for _ in range(rng.randrange(4))]
        if rng.random() < 0.3:
            event |= {"quantity": rng.random() * 5, "price": rng.randrange(100), "context": {"page": "é[{", "n": [1, {}]}}
        return json.dumps(event, ensure_ascii=rng.random() < 0.5).encode()

    def _document(self) -> bytes:
        rng = self._rng
        document = {
            "item_id": f"i{rng.randrange(100)}",
            "title": "Boots é",
            "text": "Warm. " * rng.randrange(9),
            "image": "a.png",
            "categories": ["shoes", "winter"],
            "provider": "p",
            "available": rng.random() < 0.8,
            "timestamp": NOW_MS,
        }
        return json.dumps(document).encode()

    def _good(self) -> bytes:
        if self._topic == ITEMS:
            return self._document()
        if self._topic == FORGET:
            return json.dumps({"user_id": f"u{self._rng.randrange(9)}", "timestamp": NOW_MS}).encode()
        return self._event() if self._rng.random() < 0.5 else self._rng.choice(self._real)

    def _flipped(self) -> bytes:
        """A good one in which a few bytes changed, vanished or were put in."""
        value = bytearray(self._good())
        for _ in range(self._rng.choice((1, 1, 1, 2, 5))):
            at = self._rng.randrange(len(value))
            match self._rng.randrange(4):
                case 0:
                    value[at] ^= 1 << self._rng.randrange(8)
                case 1:
                    value[at] = self._rng.choice(b'{}[]":,\\0n\x00\xff\xc3')
                case 2:
                    del value[at : at + self._rng.choice((1, 1, 9))]
                case _:
                    value[at:at] = self._rng.choice((b'"', b"\\", b"{", b"]", b"\xf0\x9f", b",", b"1e999", b"\r\n"))
            if not value:
                break
        return bytes(value)

    def _cut(self) -> bytes:
        value = self._good()
        at = self._rng.randrange(len(value) + 1)
        return value[:at] if self._rng.random() < 0.7 else value[at:]

    def _odd(self) -> str:
        return self._rng.choice(self._rng.choice((ODD_TEXT, ODD_VALUES, HUGE_NUMBERS, NON_FINITE, TIMESTAMPS)))

    def _members(self) -> dict[str, str]:
        found = json.loads(self._good())
        return {name: json.dumps(member) for name, member in found.items()}

    def _odd_field(self) -> bytes:
        """One or more fields of a good one hold something else, or are gone, or are there under another name."""
        members, names = self._members(), DOCUMENT if self._topic == ITEMS else FIELDS
        for _ in range(self._rng.choice((1, 1, 2, 4))):
            name = self._rng.choice(names)
            match self._rng.randrange(8):
                case 0:
                    members.pop(name, None)
                case 1:
                    members[name.upper()] = members.pop(name, "1")
                case 2 if name in ("item_ids", "categories"):
                    members[name] = "[" + ",".join(self._odd() for _ in range(self._rng.choice((1, 3, 201)))) + "]"
                case _:
                    members[name] = self._odd()
        return written(members)

    def _odd_timestamp(self) -> bytes:
        return written(self._members() | {"timestamp": self._rng.choice(TIMESTAMPS)})

    def _noise(self) -> bytes:
        length = self._rng.choice((0, 1, 2, 8, 100, 1_000))
        if self._rng.random() < 0.5:
            return self._rng.randbytes(length)
        return bytes(self._rng.choices(b'{}[]":,\\0123.eE-+ntrue falsl\x00\xe9', k=length))

    def _scalar(self) -> bytes | None:
        odd = self._odd()
        return None if self._rng.random() < 0.1 else odd.encode("utf-8", "surrogatepass")

    def _dressed(self) -> bytes:
        """A good one with something before, after or around it, or in another encoding."""
        good = self._good()
        text = good.decode()
        choices = [
            b"\xef\xbb\xbf" + good,
            good + b"\x00",
            b"\x00" + good,
            good + good,
            b"[" + good + b"]",
            b" \r\n\t" + good + b" \n",
        ]
        choices += [
            text.encode("utf-16"),
            text.encode("utf-32-le"),
            text.encode("latin-1", "replace"),
            good + b",",
            good + b"//x",
        ]
        choices += [
            json.dumps(text).encode(),
            good.replace(b":", b": \x0b"),
            good.replace(b'"', b"'"),
            b"/**/" + good,
            b"\x1f\x8b" + good,
        ]
        choices += [
            good.replace(b"u", b"\xed\xa0\x80", 1),
            good.replace(b"i", b"\xc0\xaf", 1),
            good.replace(b"e", b"\xf5\x80\x80\x80", 1),
        ]
        return self._rng.choice(choices)

    def _doubled(self) -> bytes:
        """Fields that come twice, thousands of them, or with names of all kinds."""
        members = self._members()
        pairs = [f"{json.dumps(name)}:{member}" for name, member in members.items()]
        if self._rng.random() < 0.2:
            pairs += [f'"k{n}":{n}' for n in range(self._rng.choice((50, 3_000)))]
        else:
            pairs += [f'"{self._rng.choice(FIELDS)}":{self._odd()}' for _ in range(self._rng.randrange(4))]
            pairs += [f"{self._rng.choice(ODD_TEXT)}:1"]
        self._rng.shuffle(pairs)
        return ("{" + ",".join(pairs) + "}").encode("utf-8", "surrogatepass")

    def _nested(self) -> bytes:
        depth = self._rng.choice((100, 254, 255, 256, 257, 1_000, 10_000))
        opening, closing = self._rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        inside = (
            opening * depth
            + self._rng.choice(("1", "", '"', '"' + '\\"' * 900))
            + closing * self._rng.choice((depth, depth, depth - 1, 0))
        )
        return written(self._members() | {self._rng.choice(("context", "x", "title", "user_id")): inside})

    # -- vectors ------------------------------------------------------------------------------------------------------------

    def _vectors(self) -> bytes | None:
        rng = self._rng
        width = rng.choice((0, 1, 4, 4, 4, 384))
        with np.errstate(over="ignore"):
            numbers = (np.array([rng.gauss(0, rng.choice((1, 1, 1e6))) for _ in range(width)])).astype(np.float16)
        good = encode_vectors(
            ItemVectors(
                item_id=rng.choice(("i1", "i2", "", "é" * 200, "i3")),
                fingerprint=rng.choice(("f", "f" * 300)) if rng.random() < 0.1 else "f",
                content_hash="c",
                text=numbers.tobytes() if rng.random() < 0.8 else None,
                image=rng.choice((None, numbers.tobytes() + b"\x00")),
            )
        )
        kind = rng.randrange(6)
        if kind == 0:
            return None
        if kind == 1:
            return good[: rng.randrange(len(good) + 1)]
        if kind == 2:
            flipped = bytearray(good)
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            return bytes(flipped)
        if kind == 3:  # arrays of four milliards of members, maps, extensions, deep nesting
            return rng.choice(
                (
                    b"\xdd\xff\xff\xff\xff",
                    b"\xdf\xff\xff\xff\xff",
                    b"\xc9\xff\xff\xff\xff\x01",
                    b"\x91" * 5_000,
                    b"\x96\x01" + b"\xdb\xff\xff\xff\xff",
                )
            )
        return rng.randbytes(rng.choice((0, 1, 20, 300))) if kind == 4 else good

    # -- large ones ---------------------------------------------------------------------------------------------------------

    def _big(self, topic: str) -> Hostile:
        rng = self._rng
        size = rng.choice((65_000, 65_537, 300_000, 900_000, 1_000_000))
        self._topic = topic
        members = self._members() if topic != VECTORS else {}
        inside = rng.choice(
            (
                '"' + "a" * size + '"',
                '"' + "\\u0061" * (size // 6) + '"',
                "9" * size,
                "[" + "{}," * (size // 3) + "1]",
                "{" + ",".join(f'"{n}":0' for n in range(size // 10)) + "}",
                "[" * 300 + '"' + '\\"' * (size // 2),
                "[" * 300 + '"' * size,
                ("[" * 250 + "]" * 250) * (size // 500),
                '"' + "\\" * size + '"',
                " " * size + "1",
            )
        )
        name = rng.choice(("context", "x", "item_id", "title", "timestamp", "categories", "item_ids"))
        return Hostile(topic, self._key(), written(members | {name: inside}))


def written(members: dict[str, str]) -> bytes:
    """The object of members whose values are JSON texts, or what passes for it."""
    return ("{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}").encode("utf-8", "surrogatepass")
