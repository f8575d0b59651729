"""Copies in room that is used again."""

from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, Timer, current_thread, main_thread
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from consumers.copies import Copies, touched

TABLE = arrays.arrays(st.sampled_from(["?", "<i4", "<f8"]), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))


class Late(Executor):
    """Has no time until it is asked for what it found."""

    def submit(self, call, *arguments):
        return Mock(cancel=lambda: False, result=lambda: call(*arguments))


class AtOnce(Executor):
    """Is done with all that there is before the other one begins."""

    def submit(self, call, *arguments):
        call(*arguments)
        return Mock(cancel=lambda: False)


@given(
    rounds=st.lists(st.dictionaries(st.sampled_from("abcd"), TABLE), max_size=6),
    beside=st.sampled_from([None, Late(), AtOnce(), ThreadPoolExecutor(1)]),
)
def test_copies_are_equal_and_share_nothing_with_the_tables(rounds, beside):
    copies = Copies()
    for tables in rounds:
        copies.take(touched(copies.lacking(tables)))
        assert not copies.lacking(tables)
        copied = copies.of(tables, beside=beside)
        assert list(copied) == list(tables)
        for name, table in tables.items():
            np.testing.assert_array_equal(copied[name], table)
            assert copied[name].dtype == table.dtype
            assert copied[name].flags.c_contiguous
            assert not np.shares_memory(copied[name], table)


def test_what_goes_wrong_beside_is_said():
    beside = Mock(submit=lambda *_: Mock(cancel=lambda: False, result=Mock(side_effect=MemoryError("beside"))))
    with pytest.raises(MemoryError, match="beside"):
        Copies().of({"a": np.arange(3)}, beside=beside)


def test_where_one_fails_the_other_has_ended_before_the_caller_knows():
    begun, goes_on, copied = Event(), Event(), []

    class Failing(Copies):
        def _copy_of(self, name, table):
            if current_thread() is main_thread():
                begun.wait(10)
                Timer(0.1, goes_on.set).start()
                raise MemoryError(name)
            begun.set()
            goes_on.wait(10)
            copied.append(name)
            return super()._copy_of(name, table)

    with ThreadPoolExecutor(1) as beside:
        with pytest.raises(MemoryError):
            Failing().of({name: np.arange(3) for name in "abcd"}, beside=beside)
        assert len(copied) == 1  # what it had begun, and no more


def test_a_table_that_shrinks_or_grows_a_little_takes_the_same_room():
    copies = Copies()
    first = copies.of({"a": np.arange(100)})["a"]
    for size in (90, 120):
        again = copies.of({"a": np.arange(size)})["a"]
        assert np.shares_memory(first, again)
    assert not np.shares_memory(first, copies.of({"a": np.arange(126)})["a"])
