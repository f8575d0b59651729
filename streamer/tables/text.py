"""Text written eight bytes at a time: most of what is written is shorter than the overhead of a loop over its bytes.

Words are written whole, so what lies behind is overwritten too, by up to seven bytes: it is written from the front to the back, and the buffer ends later than that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import config as numba_config
from numba.core import types
from numba.extending import intrinsic

from streamer.tables.arrays import Array
from streamer.tables.compile import leaf_kernel

WORD_BYTES = 8
_CHECKED = bool(numba_config.BOUNDSCHECK)
_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)


def phrase(text: str) -> Array:
    """The text as ``put`` takes it: its bytes in words of eight, uint64 [W + 1]; the last one is their number."""
    told = text.encode()
    words = np.frombuffer(told + bytes(-len(told) % WORD_BYTES), np.uint64)
    return np.append(words, np.uint64(len(told)))


def _address(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    made = context.make_array(array_type)(context, builder, array)
    first = builder.bitcast(made.data, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(first, [at]), ir.IntType(64).as_pointer())


def _are_bytes(array: Any) -> bool:
    return array.dtype == types.uint8 and array.ndim == 1 and array.layout == "C"


@intrinsic
def _word_at(typing_context: Any, text_B: Any, at: Any) -> Any:  # noqa: ARG001 - numba's signature
    if not _are_bytes(text_B):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(_address(context, builder, signature.args[0], arguments[0], at), align=1)

    return types.uint64(text_B, at), generate


@intrinsic
def _put_word(typing_context: Any, buffer_B: Any, at: Any, word: Any) -> Any:  # noqa: ARG001 - as above
    if not (_are_bytes(buffer_B) and buffer_B.mutable):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        word = context.cast(builder, arguments[2], signature.args[2], types.uint64)
        builder.store(word, _address(context, builder, signature.args[0], arguments[0], at), align=1)
        return context.get_dummy_value()

    return types.void(buffer_B, at, word), generate


@leaf_kernel
def word_at(text_B: Array, at: int) -> np.uint64:
    """The eight bytes from there on, wherever that is; all of them must be in the array."""
    if _CHECKED and not 0 <= at <= len(text_B) - WORD_BYTES:
        raise IndexError
    word: np.uint64 = _word_at(text_B, at)
    return word


@leaf_kernel
def put_word(buffer_B: Array, at: int, word: np.uint64) -> None:
    """Writes eight bytes, all of them in the buffer."""
    if _CHECKED and not 0 <= at <= len(buffer_B) - WORD_BYTES:
        raise IndexError
    _put_word(buffer_B, at, word)


@leaf_kernel
def put(buffer_B: Array, at: int, told: Array) -> int:
    """Writes a ``phrase``; returns where it ends."""
    for n in range(len(told) - 1):
        put_word(buffer_B, at + WORD_BYTES * n, told[n])
    return at + int(told[len(told) - 1])


@leaf_kernel
def needs_escape(word: np.uint64) -> bool:
    """Whether one of eight bytes is a quote, a backslash or a control character (Anderson, Bit Twiddling Hacks: a byte that is less, or zero)."""
    quotes, backslashes = word ^ _QUOTES, word ^ _BACKSLASHES
    control = (word - _SPACES) & ~word
    quote = (quotes - _ONES) & ~quotes
    backslash = (backslashes - _ONES) & ~backslashes
    return bool((control | quote | backslash) & _TOPS)
