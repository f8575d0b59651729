"""Threads: how soon one hands the interpreter over, and what its collector need not look at."""

from __future__ import annotations

import gc
import sys

import pytest

from consumers.loops import GIL_SWITCH_S, Threads


def test_threads_hand_the_interpreter_over_soon():
    before = sys.getswitchinterval()
    try:
        Threads()
        assert sys.getswitchinterval() == pytest.approx(GIL_SWITCH_S)
    finally:
        sys.setswitchinterval(before)


def test_what_is_kept_is_not_looked_at_for_garbage_until_it_is_kept_no_more():
    class Part:
        me: object

    threads = Threads()
    part = Part()
    part.me = part
    threads.keep(settled=True)
    try:
        assert all(found is not part for found in gc.get_objects())
        assert gc.get_freeze_count() > 0
    finally:
        threads.keep(settled=False)
    assert any(found is part for found in gc.get_objects())
    assert gc.get_freeze_count() == 0
