"""Which snapshots stay: the newest ones, and beside them fewer and fewer the older they are.

Time is cut into stretches of five minutes, of ten, of twenty, and so on; of each length the first snapshot of the present stretch
and of the one before it stays. So for any age up to ``history_days`` there is a snapshot that is at least so old, and less than
four times as old, or younger than ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

SHORTEST_MS = 300_000
DAY_MS = 86_400_000


def kept_of(names: Sequence[str], keep: int, history_days: int) -> set[str]:
    """The snapshots that stay of ``names``, oldest first, whose newest is the committed one and tells the time.

    What is dropped is never wanted later: thinning again and again ends as thinning once does. At most ``keep`` and two a length stay.

    >>> names = [f"{minute * 60_000:013d}-aaaa" for minute in range(0, 61)]
    >>> [int(name[:13]) // 60_000 for name in sorted(kept_of(names, 2, 1))]
    [0, 40, 50, 55, 59, 60]
    """
    if not names:
        return set()
    kept, now_ms = set(names[-keep:]), written_ms(names[-1])
    for length_ms in _lengths_ms(history_days):
        firsts: dict[int, str] = {}
        for name in names:
            firsts.setdefault(written_ms(name) // length_ms, name)
        present = now_ms // length_ms
        kept |= {firsts[stretch] for stretch in (present - 1, present) if stretch in firsts}
    return kept


def written_ms(name: str) -> int:
    """When a snapshot was written, as its name tells."""
    return int(name.partition("-")[0])


def _lengths_ms(history_days: int) -> Iterator[int]:
    """The lengths of stretches; the longest is at least the history, so what is kept of it goes back so far."""
    length_ms = SHORTEST_MS
    while history_days and length_ms < 2 * history_days * DAY_MS:
        yield length_ms
        length_ms *= 2
