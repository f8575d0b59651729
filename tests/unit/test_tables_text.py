"""Text written by words beside the same text joined by Python; bytes that need an escape beside what JSON escapes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables.compile import kernel
from streamer.tables.text import WORD_BYTES, needs_escape, phrase, put, put_word, word_at


@kernel
def put_one(buffer_B, at, told):
    return put(buffer_B, at, told)


@kernel
def copy_word(from_B, start, to_B, at):
    put_word(to_B, at, word_at(from_B, start))


@kernel
def escapes(text_B):
    return needs_escape(word_at(text_B, 0))


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=8))
def test_phrases_put_one_after_the_other_are_their_texts_joined(texts):
    told = "".join(texts).encode()
    buffer_B, at = np.full(len(told) + WORD_BYTES, 0xAA, np.uint8), 0
    for text in texts:
        at = put_one(buffer_B, at, phrase(text))
    assert buffer_B[:at].tobytes() == told


@pytest.mark.parametrize("start", range(5))
@pytest.mark.parametrize("at", range(5))
def test_a_word_may_lie_anywhere(start, at):
    text_B, buffer_B = np.arange(16, dtype=np.uint8), np.full(16, 99, np.uint8)
    copy_word(text_B, start, buffer_B, at)
    expected = [99] * 16
    expected[at : at + WORD_BYTES] = range(start, start + WORD_BYTES)
    assert buffer_B.tolist() == expected


@pytest.mark.parametrize("place", range(WORD_BYTES))
def test_what_needs_an_escape_is_found_at_every_place(place):
    for neighbour in (b"a", b" ", b"!", b"\x80", b"\xff", b"]", b"["):
        for byte in range(256):
            word = bytearray(neighbour * WORD_BYTES)
            word[place] = byte
            expected = byte < 0x80 and json.dumps(chr(byte)) != f'"{chr(byte)}"' and byte != 0x7F
            assert escapes(np.frombuffer(bytes(word), np.uint8)) == expected, (neighbour, byte)
