"""A decoded picture, and why one cannot be had."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamer.events.model import Reject, RejectReason

PICTURE_BYTES_MAX = 10_000_000

Picture = npt.NDArray[np.uint8]
"""[height, width, 3], RGB."""


class PictureFault(Exception):  # noqa: N818 - states a condition, as a sentence would
    """A picture that cannot be used; ``passing``: another try may find it whole (a file still being written, a server that was away)."""

    def __init__(self, reject: Reject, *, passing: bool) -> None:
        super().__init__(reject.error)
        self.reject = reject
        self.passing = passing


def refused(found: str, expected: str) -> PictureFault:
    """A reference that no further try makes usable."""
    return PictureFault(Reject(RejectReason.BAD_IMAGE, f"{found}; expected {expected}"), passing=False)


def unusable(found: str, *, passing: bool = True) -> PictureFault:
    """A picture that could not be had."""
    return PictureFault(Reject(RejectReason.BAD_IMAGE, f"{found}; expected a still picture"), passing=passing)


def too_large(found: str) -> PictureFault:
    """More bytes than are read."""
    return PictureFault(Reject(RejectReason.TOO_LARGE, f"{found}; at most {PICTURE_BYTES_MAX:,} are accepted"), passing=True)
