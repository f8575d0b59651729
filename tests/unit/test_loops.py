"""Threads: how soon one hands the interpreter over, and what its collector need not look at."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from consumers.loops import GIL_SWITCH_S, Threads


def test_threads_hand_the_interpreter_over_soon():
    before = sys.getswitchinterval()
    try:
        Threads()
        assert sys.getswitchinterval() == pytest.approx(GIL_SWITCH_S)
    finally:
        sys.setswitchinterval(before)


class Part:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.me = self


def test_what_is_settled_is_not_looked_at_for_garbage_until_it_is_settled_no_more():
    threads, part = Threads(), Part()
    threads.settle()
    try:
        assert all(found is not part for found in gc.get_objects())
    finally:
        threads.unsettle()
    assert any(found is part for found in gc.get_objects())
    assert gc.get_freeze_count() == 0


def test_what_is_garbage_when_all_is_unsettled_is_gone():
    threads = Threads()
    part = Part()
    threads.settle()
    gone = weakref.ref(part)
    del part
    assert gone() is not None
    threads.unsettle()
    assert gone() is None
