"""Threads: what gives way does so, and nothing else."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from consumers.loops import GIL_SWITCH_S, NICENESS, Threads


def niceness_here() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def niceness_of_a_child() -> int:
    found: list[int] = []
    child = threading.Thread(target=lambda: found.append(niceness_here()))
    child.start()
    child.join()
    return found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a niceness is of the whole process")
def test_a_pool_that_gives_way_is_nicer_than_the_rest_and_so_is_what_it_begins():
    threads, before = Threads(), niceness_here()
    with threads.pool("busy", 1) as busy, threads.pool("patient", 1, gives_way=True) as patient:
        assert busy.submit(niceness_here).result() == before
        assert patient.submit(niceness_here).result() == NICENESS
        assert patient.submit(niceness_of_a_child).result() == NICENESS
    assert niceness_here() == before


def test_threads_hand_the_interpreter_over_soon():
    before = sys.getswitchinterval()
    try:
        Threads()
        assert sys.getswitchinterval() == pytest.approx(GIL_SWITCH_S)
    finally:
        sys.setswitchinterval(before)
