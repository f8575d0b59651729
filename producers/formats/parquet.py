"""Parquet files by batches of rows, where pyarrow is installed: as JSON, or as the cells of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from producers.formats.base import RecordingError, Row

BATCH_ROWS = 4_096
_ENCODER = msgspec.json.Encoder(enc_hook=str)


def columns(path: Path) -> tuple[str, ...]:
    """Names of the columns. Raises RecordingError where pyarrow is missing or the file is damaged."""
    return tuple(_open(path).schema_arrow.names)


def json_rows(path: Path, rows_max: int | None = None) -> Iterator[Row]:
    """Every row as a JSON object, numbered from 1. Raises as ``columns``."""
    for number, row in enumerate(_rows(path, None, rows_max), 1):
        yield Row(number, _ENCODER.encode(row))


def table(path: Path, names: Sequence[str]) -> Iterator[Row]:
    """These columns of every row as text, times in RFC 3339, "" for nothing; numbered from 1. Raises as ``columns``."""
    for number, row in enumerate(_rows(path, names, None), 1):
        yield Row(number, _ENCODER.encode(row), tuple(_text(row[name]) for name in names))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # an integer column with gaps, as pandas keeps it
    return str(value)


def _rows(path: Path, names: Sequence[str] | None, rows_max: int | None) -> Iterator[dict[str, Any]]:
    done = 0
    try:
        for batch in _open(path).iter_batches(
            min(BATCH_ROWS, rows_max or BATCH_ROWS), columns=None if names is None else list(names)
        ):
            yield from batch.to_pylist()
            done += batch.num_rows
            if rows_max is not None and done >= rows_max:
                return
    except _errors() as error:
        raise _damaged(path, done, error) from error


def _open(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - only who reads Parquet needs the package
    except ImportError as error:
        raise RecordingError(
            f"{path}: is a Parquet file, which pyarrow reads: install it with pip install 'streamer[parquet]'"
        ) from error
    try:
        return ParquetFile(path, pre_buffer=False)
    except _errors() as error:
        raise _damaged(path, 0, error) from error


def _damaged(path: Path, done: int, error: Exception) -> RecordingError:
    said = str(error).partition("\n")[0]
    return RecordingError(f"{path}: cut or damaged Parquet after row {done} ({said}): get the whole file again")


def _errors() -> tuple[type[Exception], ...]:
    from pyarrow import ArrowException  # noqa: PLC0415 - as above

    return (ArrowException, OSError)
