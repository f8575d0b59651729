"""Lists as JSON in the store: their version, their encoding, and what a reader makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from streamer.ports import Reason, RecommendationList, Recommended, StoreError

VERSION_AT = slice(12, 46)
"""Where a payload bears its version: after ``{"version":"``, 13 digits of epoch, a hyphen, 20 digits of position."""

_HEAD = re.compile(rb'\{"version":"[0-9]{13}-[0-9]{20}"[,}]')


class _Reason(msgspec.Struct, frozen=True, array_like=True):
    term: str
    value: float
    item_id: str | None


class _Item(msgspec.Struct, frozen=True):
    item_id: str
    score: float
    why: tuple[_Reason, ...] = ()


class _List(msgspec.Struct, frozen=True):
    version: str
    user_id: str
    items: tuple[_Item, ...]
    head_step: int
    event_ms: int
    written_ms: int


class _Gone(msgspec.Struct, frozen=True):
    version: str
    items: frozenset[str]


_encode = msgspec.json.Encoder().encode
_decode_list = msgspec.json.Decoder(_List).decode
_decode_gone = msgspec.json.Decoder(_Gone).decode


def version_text(epoch: int, position: int) -> str:
    """The version of what is written at ``position`` of ``epoch``: texts compare as the pairs do.

    >>> version_text(1795485458344, 42)
    '1795485458344-00000000000000000042'
    """
    text = f"{epoch:013d}-{position:020d}"
    if len(text) != VERSION_AT.stop - VERSION_AT.start or "-" in text[:13] + text[14:]:
        raise ValueError(f"no version from epoch {epoch} and position {position}: expected 0 to 13 and 0 to 20 digits")
    return text


def version_of(payload: bytes) -> bytes:
    """The version that a payload bears; ValueError where it does not begin with one: our own bug, not the store's."""
    if not _HEAD.match(payload):
        raise ValueError(f'a payload must begin {{"version":"<13 digits>-<20 digits>", found {payload[:50]!r}')
    return payload[VERSION_AT]


def encode_list(served: RecommendationList) -> bytes:
    """The payload of ``rec:USER``, or of ``popular`` with an empty ``user_id``; ``personal`` is the reader's word and left out."""
    items = tuple(
        _Item(item.item_id, item.score, tuple(_Reason(why.term, why.value, why.item_id) for why in item.why))
        for item in served.items
    )
    return _encode(_List(served.version, served.user_id, items, served.head_step, served.event_ms, served.written_ms))


def encode_gone(version: str, item_ids: Iterable[str]) -> bytes:
    """The payload of ``gone``: the items withdrawn within one TTL, sorted."""
    return _encode({"version": version, "items": sorted(item_ids)})


def parse_gone(payload: bytes | None, where: str) -> frozenset[str]:
    """The withdrawn items; none where there is no payload. Raises StoreError where it is not ours, naming ``where``."""
    if payload is None:
        return frozenset()
    try:
        return _decode_gone(payload).items
    except msgspec.DecodeError as error:
        raise _foreign(where, payload, error) from error


def parse_list(payload: bytes, user_id: str, gone: frozenset[str], where: str, *, personal: bool) -> RecommendationList:
    """A list without its withdrawn items. Raises StoreError where the payload is not ours, naming ``where``."""
    try:
        found = _decode_list(payload)
    except msgspec.DecodeError as error:
        raise _foreign(where, payload, error) from error
    items = tuple(
        Recommended(item.item_id, item.score, tuple(Reason(why.term, why.value, why.item_id) for why in item.why))
        for item in found.items
        if item.item_id not in gone
    )
    return RecommendationList(user_id, found.version, items, personal, found.head_step, found.event_ms, found.written_ms)


def served(
    user_id: str, own: tuple[bytes | None, str], popular: tuple[bytes | None, str], gone: frozenset[str]
) -> RecommendationList | None:
    """What a reader gets: the user's own list, else the popular one, else his own even if empty, else None.

    A list with no item left, as a forgotten user's is, counts as none where there is a popular one.

    Args:
        user_id: whom the list is for, whichever it is.
        own: the payload of his list, None where there is none, and the name of the place it was read from.
        popular: the same of the popular list.
        gone: items to drop.
    """
    mine = None if own[0] is None else parse_list(own[0], user_id, gone, own[1], personal=True)
    if (mine is not None and mine.items) or popular[0] is None:
        return mine
    return parse_list(popular[0], user_id, gone, popular[1], personal=False)


def _foreign(where: str, payload: bytes, error: Exception) -> StoreError:
    return StoreError(
        f"{where} holds something else than a list of ours: {error}; found {payload[:60]!r}; see what else writes there"
    )
