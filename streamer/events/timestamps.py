"""The time at which something happened: epoch milliseconds or RFC 3339 text, kept as epoch milliseconds UTC."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from streamer.events.model import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_RFC_3339 = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"(?P<minute>[0-9]{2}:[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_SHOWN_CHARS_MAX = 60
_SEND = "send epoch milliseconds"


class TimestampError(ValueError):
    """The text after the field's name: what was found, what was expected, what to do."""


def timestamp_ms(found: float | str) -> int:
    """The time in epoch milliseconds UTC; a fraction of a millisecond is floored.

    Raises TimestampError for seconds, microseconds, times outside 1973 to 5138, and text that is not RFC 3339 with an offset.

    >>> timestamp_ms("2026-11-24T03:17:38.3449+02:00"), timestamp_ms(1795483058344.9)
    (1795483058344, 1795483058344)
    """
    if isinstance(found, str):
        return _in_years(found, _parsed(found))
    if isinstance(found, float) and not math.isfinite(found):
        raise TimestampError(f"is {found}, expected a finite number: {_SEND}")
    floored = math.floor(found)
    if floored < TIMESTAMP_MS_MIN:
        raise TimestampError(f"is {found}: below 10^11 it looks like seconds, expected milliseconds: multiply by 1000")
    if floored > TIMESTAMP_MS_MAX:
        shown = str(found) if found < 10**30 else "a number of more than 30 digits"
        raise TimestampError(f"is {shown}: above 10^14 it looks like microseconds, expected milliseconds: divide by 1000")
    return floored


def _in_years(text: str, milliseconds: int) -> int:
    if TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX:
        return milliseconds
    raise TimestampError(f'is "{text}", outside 1973-03-03 to 5138-11-16: send the time at which the event happened')


def _parsed(text: str) -> int:
    match = _RFC_3339.fullmatch(text)
    shown = text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}… ({len(text)} characters)"
    if match is None:
        raise TimestampError(f'is "{shown}", expected RFC 3339 like 2026-11-24T03:17:38.344Z: send that, or {_SEND[5:]}')
    offset = match["offset"]
    if offset is None:
        raise TimestampError(f'is "{shown}", without an offset from UTC: add Z or one like +02:00, or {_SEND}')
    # A leap second is the first second of the next minute, as in epoch time.
    leap = match["second"] == "60"
    second = "59" if leap else match["second"]
    zone = "+00:00" if offset in "Zz" else offset
    try:
        whole = datetime.fromisoformat(f"{match['date']}T{match['minute']}:{second}{zone}")
    except ValueError as error:
        raise TimestampError(f'is "{shown}", no real time ({error}): send RFC 3339, or {_SEND[5:]}') from error
    return (whole - _EPOCH) // _MS + 1000 * leap + int((match["fraction"] or "")[:3].ljust(3, "0"))
