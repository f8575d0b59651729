"""Item documents and encoder vectors between bytes and values."""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Annotated

import msgspec

from streamer.events import fields as read
from streamer.events.fields import Fields, RefusedError, refuse
from streamer.events.model import (
    ITEM_BYTES_MAX,
    DeletedItem,
    Id,
    ItemDocument,
    ItemVectors,
    Reject,
    RejectReason,
    Timestamp,
)

CATEGORIES_MAX = 200
VECTORS_FORMAT = 1
FINGERPRINT_BYTES_MAX = 256


class ItemValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an item, as a feed writes it: the value of a record of topic ``items``, whose key is the item id."""

    item_id: Annotated[Id, msgspec.Meta(description="Which item; also the key of the record.")]
    title: Annotated[str | None, msgspec.Meta(description="Its name.")] = None
    text: Annotated[str | None, msgspec.Meta(description="Its description.")] = None
    image: Annotated[str | None, msgspec.Meta(description="A path under the image root, a URL, or a data URI.")] = None
    categories: Annotated[
        Annotated[tuple[str, ...], msgspec.Meta(max_length=CATEGORIES_MAX)] | None,
        msgspec.Meta(description="The categories that it belongs to."),
    ] = None
    provider: Annotated[str | None, msgspec.Meta(description="Who offers it.")] = None
    available: Annotated[bool | None, msgspec.Meta(description="Whether it may be listed; true where absent.")] = None
    timestamp: Annotated[Timestamp | None, msgspec.Meta(description="When this became so, in the form that events use.")] = None


class _VectorsValue(msgspec.Struct, frozen=True, array_like=True):
    """The fields in the order in which they are written; later formats may only append."""

    format: int
    item_id: str
    fingerprint: str
    content_hash: str
    text: bytes | None
    image: bytes | None


_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()
_VECTORS = msgspec.msgpack.Decoder(_VectorsValue)


def encode_item(document: ItemDocument) -> bytes:
    """The JSON value of a record of topic ``items``, which ``decode_item`` reads as the same document."""
    return _JSON.encode(
        ItemValue(
            item_id=document.item_id,
            title=document.title,
            text=document.text,
            image=document.image,
            categories=document.categories or None,
            provider=document.provider,
            available=None if document.available else False,
            timestamp=document.timestamp_ms,
        )
    )


def decode_item(key: bytes | None, value: bytes | None) -> ItemDocument | DeletedItem | Reject:
    """Every record becomes a document, a deletion (null value) or one reject; nothing in the input raises.

    Args:
        key: the item id in UTF-8. A record without a key is accepted where its value names the item.
        value: the JSON document of at most ITEM_BYTES_MAX bytes, or None.

    """
    try:
        if value is None:
            return DeletedItem(key_id("item_id", key))
        document = _document(read.parse_object(value, bytes_max=ITEM_BYTES_MAX))
        if key is not None and key_id("item_id", key) != document.item_id:
            found = f'the key is "{read.shown(key)}", but item_id is "{read.shown(document.item_id)}"'
            refuse(RejectReason.BAD_ID, f"{found}, expected the same id: send the record with the item id as its key")
    except RefusedError as refused:
        return refused.reject
    return document


def key_id(name: str, key: bytes | None) -> str:
    """The id in a record's key. Raises RefusedError (missing_field, bad_id)."""
    if key is None:
        refuse(RejectReason.MISSING_FIELD, f"the record has no key, expected the {name}: send the id as its key")
    try:
        return read.checked_id(name, key.decode())
    except UnicodeDecodeError:
        return refuse(RejectReason.BAD_ID, f"the key is no UTF-8 ({read.shown(key)}), expected the {name}")


def _document(fields: Fields) -> ItemDocument:
    item_id = read.identifier("item_id", read.require(fields, "item_id"))
    present = {name: raw for name, raw in fields.items() if read.kind_of(raw) != "null"}
    texts = {name: read.string(name, present[name]) for name in ("title", "text", "image", "provider") if name in present}
    if "available" in present:
        read.expect("available", present["available"], "boolean")
    return ItemDocument(
        item_id=item_id,
        **texts,
        categories=_categories(present),
        available="available" not in present or bytes(present["available"]) == b"true",
        timestamp_ms=read.instant_ms("timestamp", present["timestamp"]) if "timestamp" in present else None,
    )


def _categories(present: Fields) -> tuple[str, ...]:
    if "categories" not in present:
        return ()
    elements = read.array("categories", present["categories"])
    if len(elements) > CATEGORIES_MAX:
        error = f"categories has {len(elements)} members, at most {CATEGORIES_MAX} are accepted: send the chief ones"
        refuse(RejectReason.TOO_LARGE, error)
    return tuple(read.string("a member of categories", raw) for raw in elements)


def content_hash(document: ItemDocument) -> str:
    """The SHA-256, in hex, of what an encoder looks at: title, text, categories, image."""
    looked_at = [document.title, document.text, document.categories, document.image]
    return hashlib.sha256(_JSON.encode(looked_at)).hexdigest()


def text_of(document: ItemDocument) -> str:
    r"""What a text encoder reads: title, categories and text, a line each; "" where there is none.

    >>> text_of(ItemDocument(item_id="i1", title="Boots", categories=("shoes", "winter"), text="Warm."))
    'Boots\nshoes, winter\nWarm.'
    """
    parts = (document.title or "", ", ".join(document.categories), document.text or "")
    return "\n".join(part for part in map(str.strip, parts) if part)


def encode_vectors(vectors: ItemVectors) -> bytes:
    """The value of a record of topic ``items.vectors`` (MessagePack), which ``decode_vectors`` reads as the same vectors."""
    return _MSGPACK.encode(
        _VectorsValue(VECTORS_FORMAT, vectors.item_id, vectors.fingerprint, vectors.content_hash, vectors.text, vectors.image)
    )


def decode_vectors(value: bytes) -> ItemVectors | Reject:
    """Vectors of finite float16 numbers, or one reject; nothing in the input raises.

    A null value deletes the vectors of the item named by the key: the caller asks for that first.
    """
    if len(value) > ITEM_BYTES_MAX:
        return Reject(RejectReason.TOO_LARGE, f"the vectors have {len(value)} bytes, at most {ITEM_BYTES_MAX} are accepted")
    try:
        found = _VECTORS.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Reject(RejectReason.WRONG_TYPE, f"the value is no vectors of an item: {error}; expected what the encoder writes")
    try:
        return _checked_vectors(found)
    except RefusedError as refused:
        return refused.reject


def _checked_vectors(found: _VectorsValue) -> ItemVectors:
    if found.format != VECTORS_FORMAT:
        error = f"the vectors have format {found.format}, expected {VECTORS_FORMAT}: run worker and encoder of one version"
        refuse(RejectReason.WRONG_TYPE, error)
    read.checked_id("item_id", found.item_id)
    for name, text in (("fingerprint", found.fingerprint), ("content_hash", found.content_hash)):
        if len(text) > FINGERPRINT_BYTES_MAX:
            refuse(RejectReason.TOO_LARGE, f"{name} has {len(text)} characters, at most {FINGERPRINT_BYTES_MAX} are accepted")
    for name, buffer in (("text", found.text), ("image", found.image)):
        _check_vector(name, buffer)
    return ItemVectors(
        item_id=found.item_id,
        fingerprint=found.fingerprint,
        content_hash=found.content_hash,
        text=found.text,
        image=found.image,
    )


def _check_vector(name: str, buffer: bytes | None) -> None:
    if buffer is None:
        return
    if not buffer or len(buffer) % 2:
        refuse(RejectReason.WRONG_TYPE, f"the {name} vector has {len(buffer)} bytes, expected float16 numbers of 2 bytes each")
    numbers = struct.unpack(f"<{len(buffer) // 2}e", buffer)
    if not all(map(math.isfinite, numbers)):
        refuse(RejectReason.WRONG_TYPE, f"the {name} vector has numbers that are not finite, expected finite float16 numbers")
