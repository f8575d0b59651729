"""The methods that a backtest can run, by name, and running them: one after the other, or in processes beside each other."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.config.tree import Config
from streamer.evaluate.baselines import new_method
from streamer.evaluate.engines import leaves_out_seen_auto, run_engine
from streamer.evaluate.names import METHODS, OURS, RERANKED, TOWERS, in_order, is_engine, is_method
from streamer.evaluate.prequential import Progress, Run, run_method
from streamer.evaluate.stream import Stream

POLL_S = 0.2
PROGRESS_STEPS = 200
"""Notes of progress that a run gives."""

Told = Callable[[str, int], None]
"""Told the name of a method and how many events it has done."""
Clock = Callable[[], float]


class MethodKilled(Exception):  # noqa: N818 - says what is the case, as the message does
    """A process that ran a method is gone."""


class Task(NamedTuple):
    """What the runs of one backtest have in common; travels to every process."""

    stream: Stream
    config: Config
    clock: Clock
    """Seconds that never go back."""
    keeps_lists: bool = False
    """Whether the run of OURS keeps its lists."""
    served_ms: tuple[int | None, ...] = ()
    """Periods of the sweep under which OURS is judged as served."""


def run_all(names: Sequence[str], task: Task, *, processes: int, told: Told) -> dict[str, Run]:
    """Runs methods by name; the result has their order, and does not depend on the number of processes.

    Raises ValueError for a name that is no method's, before anything runs.
    """
    for name in names:
        if not is_method(name):
            raise ValueError(f"no method is called {name!r}, expected some of {', '.join((*METHODS, TOWERS, *RERANKED))}")
    ordered = sorted(names, key=in_order)
    found = _in_turn(ordered, task, told) if processes == 1 or len(names) == 1 else _beside(ordered, task, processes, told)
    return {name: found[name] for name in names}


def run_one(name: str, task: Task, leaves_out_G: NDArray[np.bool_] | None, progress: Progress) -> Run:
    """Runs one method; a baseline needs to know where items that were seen are left out."""
    started_s = task.clock()
    if is_engine(name):
        ours = name == OURS
        run = run_engine(
            name,
            task.stream,
            task.config,
            progress,
            keeps_lists=ours and task.keeps_lists,
            served_ms=task.served_ms if ours else (),
        )
    else:
        assert leaves_out_G is not None
        run = run_method(name, new_method(name, task.config.seed), task.stream, leaves_out_G, progress)
    run.seconds = task.clock() - started_s
    return run


def left_out(task: Task) -> NDArray[np.bool_] | None:
    """At which groups items that were seen are left out, as configured; None where the stream decides."""
    if task.config.ranking.exclude_seen == "auto":
        return None
    return np.full(task.stream.groups, task.config.ranking.exclude_seen == "true")


def _in_turn(names: Sequence[str], task: Task, told: Told) -> dict[str, Run]:
    found: dict[str, Run] = {}
    leaves_out_G = left_out(task)
    for name in names:
        if leaves_out_G is None and not is_engine(name):
            leaves_out_G = found[OURS].leaves_out_G if OURS in found else leaves_out_seen_auto(task.stream, task.config)
        found[name] = run_one(name, task, leaves_out_G, _every_step(name, task.stream.events, told))
    return found


def _every_step(name: str, events: int, told: Told) -> Progress:
    """Tells of PROGRESS_STEPS steps at most, and of the end."""
    step, due = max(1, events // PROGRESS_STEPS), 0

    def progress(done: int) -> None:
        nonlocal due
        if done >= due or done == events:
            told(name, done)
            due = done + step

    return progress


def _beside(names: Sequence[str], task: Task, processes: int, told: Told) -> dict[str, Run]:
    """The same in processes of their own. Where the stream decides what is left out, baselines wait for OURS to know it."""
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[tuple[str, int]] = context.SimpleQueue()
    leaves_out_G = left_out(task)
    if leaves_out_G is None and OURS not in names and not all(map(is_engine, names)):
        leaves_out_G = leaves_out_seen_auto(task.stream, task.config)
    waiting = [name for name in names if leaves_out_G is None and not is_engine(name)]
    with ProcessPoolExecutor(processes, context, initializer=_take, initargs=(task, queue)) as pool:
        running = {pool.submit(_run_here, name, leaves_out_G): name for name in names if name not in waiting}
        found: dict[str, Run] = {}
        try:
            while running:
                done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
                while not queue.empty():
                    told(*queue.get())
                for future in done:
                    name = running.pop(future)
                    found[name] = _result(name, future)
                if waiting and OURS in found:
                    running |= _submitted(pool, waiting, found[OURS].leaves_out_G)
                    waiting = []
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for name in names:
        told(name, task.stream.events)
    return found


def _result(name: str, future: Future[Run]) -> Run:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise MethodKilled(
            f"a process that ran a method ended at once, {name} or one beside it: it was killed, or memory ran out; "
            "--processes 1 runs one after the other in less memory"
        ) from error


def _submitted(pool: ProcessPoolExecutor, names: Sequence[str], leaves_out_G: NDArray[np.bool_]) -> dict[Future[Run], str]:
    return {pool.submit(_run_here, name, leaves_out_G): name for name in names}


_TASK: Task | None = None
_QUEUE: SimpleQueue[tuple[str, int]] | None = None


def _take(task: Task, queue: SimpleQueue[tuple[str, int]]) -> None:
    """Runs once in each process: what its runs have in common."""
    global _TASK, _QUEUE
    _TASK, _QUEUE = task, queue
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the one that it works for is gone, which the pool's own pipes do not tell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_here(name: str, leaves_out_G: NDArray[np.bool_] | None) -> Run:
    task, queue = _TASK, _QUEUE
    assert task is not None
    assert queue is not None
    return run_one(name, task, leaves_out_G, _every_step(name, task.stream.events, lambda *told: queue.put(told)))
