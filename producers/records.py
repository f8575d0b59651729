"""Sending typed records: one method a kind of event, over a writer that waits or an event loop that does not."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack

from streamer.events.codec import InvalidEventError, encode_event
from streamer.events.forget import decode_forget, encode_forget
from streamer.events.items import decode_item, encode_item
from streamer.events.model import EVENTS, FORGET, ITEMS, Event, Forget, ItemDocument, Reject, RejectReason
from streamer.ports import Acknowledge, LogWriter, OutRecord

FLUSH_TIMEOUT_S = 130.0
SEND_TIMEOUT_S = 30.0
"""How long an asynchronous sender waits for room in the buffer unless told otherwise."""
SEND_THREADS = 4

T_co = TypeVar("T_co", covariant=True)


class More(TypedDict, total=False):
    """What an event may hold beside user and item. Without ``event_id`` it gets a new one, without ``timestamp`` now."""

    event_id: str
    timestamp: int | float | str
    session_id: str
    request_id: str
    quantity: float
    price: float
    context: dict[str, Any]


class Described(TypedDict, total=False):
    """What an item document may hold beside its id."""

    title: str
    text: str
    image: str
    categories: Sequence[str]
    provider: str
    available: bool
    timestamp_ms: int


class _Verbs(ABC, Generic[T_co]):
    """One method a kind of record; what each returns is the business of ``_put``."""

    @abstractmethod
    def _put(self, record: OutRecord, name: str) -> T_co: ...

    def view(self, user_id: str, item_id: str, **more: Unpack[More]) -> T_co:
        """The user looked at the item. Raises InvalidEventError where a worker would refuse the event; so do the others."""
        return self._event("view", user_id, more, item_id=item_id)

    def click(self, user_id: str, item_id: str, **more: Unpack[More]) -> T_co:
        """The user chose the item from a list."""
        return self._event("click", user_id, more, item_id=item_id)

    def cart(self, user_id: str, item_id: str, **more: Unpack[More]) -> T_co:
        """The user put the item into the cart."""
        return self._event("cart", user_id, more, item_id=item_id)

    def purchase(self, user_id: str, *item_ids: str, **more: Unpack[More]) -> T_co:
        """The user bought the items."""
        return self._event("purchase", user_id, more, item_ids=item_ids)

    def impression(self, user_id: str, item_ids: Sequence[str], **more: Unpack[More]) -> T_co:
        """The user was shown the items, in this order."""
        return self._event("impression", user_id, more, item_ids=tuple(item_ids))

    def item(self, item_id: str, **described: Unpack[Described]) -> T_co:
        """What is known of the item, in place of what was known before; with ``available=False`` it is listed no more."""
        categories = described.get("categories", ())
        if isinstance(categories, str):
            message = f"categories is the text {categories!r}, expected a sequence of texts"
            raise InvalidEventError(Reject(RejectReason.WRONG_TYPE, message))
        fields: dict[str, Any] = {**described, "categories": tuple(categories)}
        key, value = _encoded(item_id), encode_item(ItemDocument(item_id=item_id, **fields))
        return self._put(OutRecord(ITEMS, key, _accepted(value, decode_item(key, value))), item_id)

    def forget(self, user_id: str) -> T_co:
        """Everything up to now that is known of the user is to be forgotten."""
        _encoded(user_id)
        key, value = encode_forget(Forget(user_id))
        return self._put(OutRecord(FORGET, key, _accepted(value, decode_forget(key, value))), user_id)

    def _event(self, kind: str, user_id: str, more: More, **items: Any) -> T_co:
        fields: dict[str, Any] = {"event_id": str(uuid.uuid4()), "timestamp": time.time_ns() // 1_000_000, **more, **items}
        event = Event(type=kind, user_id=user_id, **fields)  # type: ignore[arg-type]
        return self._put(OutRecord(EVENTS, _encoded(user_id), encode_event(event)), fields["event_id"])


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = f"the id {text!r} cannot be written in UTF-8 (a lone surrogate), expected plain text"
        raise InvalidEventError(Reject(RejectReason.BAD_ID, message)) from None


def _accepted(value: bytes | None, decoded: object) -> bytes | None:
    """What was encoded, if a worker would take it."""
    if isinstance(decoded, Reject):
        raise InvalidEventError(decoded)
    return value


class Sender(_Verbs[str]):
    """Buffers typed records; each method returns the id of what it sent: the event's, the item's or the user's.

    A method blocks while the writer's buffer is full. Thread-safe; closes the writer that it was given.

    Args:
        writer: where records go, as ``producers.sender.KafkaWriter(config)`` or ``streamer.embedded.EmbeddedWriter(config)``.
        on_done: called once a record, on the writer's thread, with None or the reason why the log has it not.
    """

    def __init__(self, writer: LogWriter, on_done: Acknowledge | None = None) -> None:
        self._writer = writer
        self._on_done = on_done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _put(self, record: OutRecord, name: str) -> str:
        self._writer.send(record, self._on_done)
        return name

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Waits until every record sent before is acknowledged or refused; raises LogError after ``timeout_s``."""
        self._writer.flush(timeout_s)

    def close(self) -> None:
        """Flushes, and closes the writer."""
        self._writer.close()


class AsyncSender(_Verbs[Awaitable[str]]):
    """The same for an event loop: awaiting a method waits for the log's acknowledgement, and raises LogError where it refuses.

    A record is on its way once its method is awaited, not before; gather several to send them together. Several at once may reach the
    log in any order: await one before the next where a user's events must stay in theirs.
    """

    def __init__(self, writer: LogWriter, *, timeout_s: float = SEND_TIMEOUT_S) -> None:
        self._writer = writer
        self._timeout_s = timeout_s
        # of its own: whoever waits for room must not keep the loop's executor from looking up names and the like
        self._threads = ThreadPoolExecutor(SEND_THREADS, "async-sender")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _put(self, record: OutRecord, name: str) -> str:
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            if not acknowledged.done():
                if error is None:
                    acknowledged.set_result(None)
                else:
                    acknowledged.set_exception(error)

        def on_done(_: OutRecord, error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(settle, error)

        send = partial(self._writer.send, record, on_done, timeout_s=self._timeout_s)
        await loop.run_in_executor(self._threads, send)
        await acknowledged
        return name

    async def close(self) -> None:
        """Flushes, and closes the writer."""
        await asyncio.to_thread(self._writer.close)
        self._threads.shutdown(wait=False)
