"""Reading a stretch of one partition outside every group."""

from __future__ import annotations

from collections.abc import Iterator

from streamer.ports import LogReader, OffsetGapError, RecordBatch, TopicPartition


def batches_between(reader: LogReader, place: TopicPartition, offset: int, end: int, records_max: int) -> Iterator[RecordBatch]:
    """What the partition holds from ``offset`` to ``end``, at most ``records_max`` records at a time.

    What retention removes meanwhile is passed over; it ends sooner where committed reads reach nothing more. Raises LogError.
    """
    while offset < end:
        try:
            batch = reader.read(place, offset, min(records_max, end - offset))
        except OffsetGapError as gap:
            if gap.beginning <= offset:
                raise
            offset = gap.beginning
            continue
        yield batch
        if batch.next_offset <= offset:
            return
        offset = batch.next_offset
