"""The bytes of a document's image: a path under a root, a data URI, or a URL of an allowed host. Bounded, and never elsewhere."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes

from consumers.picture_urls import PictureUrls
from streamer.encoders.picture import PICTURE_BYTES_MAX, refused, too_large, unusable

SHOWN = 120
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""A pipe that nobody writes to must not hold the worker."""


class PictureFiles:
    """Reads what a document's ``image`` names. Safe in any number of threads."""

    def __init__(self, roots: tuple[Path, ...], urls: PictureUrls) -> None:
        """``roots``: folders under which paths may lead; a relative path starts at the first. None: no path is read."""
        self._roots = roots
        self._urls = urls

    def read(self, reference: str) -> bytes:
        """At most 10 MB.

        Raises:
            PictureFault: forbidden, missing, too large, or not to be had.
        """
        scheme = reference.partition(":")[0].lower() if ":" in reference else ""
        if scheme == "data":
            return _of_data_uri(reference)
        if scheme in {"http", "https"}:
            return self._urls.read(reference, PICTURE_BYTES_MAX)
        if "://" in reference:
            raise refused(
                f"image has the scheme {scheme[:SHOWN]!r}",
                "a path under encoder.image_root, a data URI, or a URL of http or https",
            )
        return self._of_path(reference)

    def _of_path(self, reference: str) -> bytes:
        if not self._roots:
            raise refused(f"image is the path {_shown(reference)}, and no root is configured", "encoder.image_root to be set")
        try:
            path = (self._roots[0] / reference).resolve(strict=True)
            self._check_inside(path, reference)
            return self._contents(path, reference)
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the path; RuntimeError: links in a circle
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise unusable(f"image {_shown(reference)} cannot be read: {why}", passing=isinstance(error, OSError)) from None

    def _contents(self, path: Path, reference: str) -> bytes:
        with open(os.open(path, FLAGS), "rb") as file:  # noqa: PTH123 - by descriptor: what was opened is what is judged
            self._check_inside(_opened_as(file.fileno(), path), reference)  # a link may have been put in the way since
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise unusable(f"image {_shown(reference)} is no file", passing=True)
            data = file.read(PICTURE_BYTES_MAX + 1)
        if len(data) > PICTURE_BYTES_MAX:
            raise too_large(f"image {_shown(reference)} has {status.st_size:,} bytes")
        return data

    def _check_inside(self, path: Path, reference: str) -> None:
        if not any(path.is_relative_to(root.resolve()) for root in self._roots):
            raise refused(
                f"image {_shown(reference)} leads out of the image root", "a path that stays under encoder.image_root"
            )


def _opened_as(descriptor: int, path: Path) -> Path:
    """Where the kernel says that an open file lies; ``path`` where it does not tell."""
    with contextlib.suppress(OSError):
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - a link of the kernel's, not to be resolved
    return path


def _of_data_uri(reference: str) -> bytes:
    head, comma, body = reference.partition(",")
    if not comma:
        raise refused("image is a data URI without a comma", "data:image/png;base64,...")
    try:
        data = (
            base64.b64decode(unquote_to_bytes(body), validate=True)
            if head.lower().endswith(";base64")
            else unquote_to_bytes(body)
        )
    except binascii.Error as error:
        raise refused(f"image is a data URI whose base64 is broken ({error})", "data:image/png;base64,...") from None
    return data


def _shown(reference: str) -> str:
    return repr(reference if len(reference) <= SHOWN else reference[:SHOWN] + "...")
