"""Selection of the largest values without sorting them."""

from __future__ import annotations

from streamer.tables.arrays import Array
from streamer.tables.compile import kernel


@kernel
def kth_largest(value_N: Array, count: int, k: int, work_N: Array) -> float:
    """The k-th largest of the first ``count`` values (the smallest, where there are fewer); ``work_N`` is working memory.

    Quickselect (Hoare 1961) with the middle value as pivot.
    """
    for n in range(count):
        work_N[n] = value_N[n]
    first, last = 0, count - 1
    wanted = min(k, count) - 1
    while first < last:
        pivot = work_N[(first + last) // 2]
        low, high = first, last
        while low <= high:
            while work_N[low] > pivot:
                low += 1
            while work_N[high] < pivot:
                high -= 1
            if low <= high:
                work_N[low], work_N[high] = work_N[high], work_N[low]
                low += 1
                high -= 1
        if wanted <= high:
            last = high
        elif wanted >= low:
            first = low
        else:
            break
    return work_N[wanted]
