"""Pictures from bytes, decoded in a process apart that is made anew when a picture ends it."""

from __future__ import annotations

import contextlib
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
import numpy as np

from streamer.encoders.picture import Picture, PictureFault
from streamer.events.model import Reject, RejectReason

CHILD = Path(__file__).with_name("decode_child.py")
LENGTH = struct.Struct(">Q")
SIZE = struct.Struct(">II")
DECODE_CPU_S = 5.0
END_S = 5.0
"""How long a child whose input is closed may take to end."""


class PictureDecoder:
    """Decodes one picture at a time. Not thread-safe. Closing it ends its process."""

    def __init__(self, *, cpu_s: float = DECODE_CPU_S) -> None:
        """``cpu_s``: seconds of CPU that a picture may take."""
        self._cpu_s = cpu_s
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes) -> Picture:
        """RGB pixels [height, width, 3], the shorter side at most 1,024.

        Raises:
            PictureFault: SVG, animated, broken, too large, or more than the decoder's time or memory.
        """
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(LENGTH.pack(len(data)))
            child.stdin.write(data)
            child.stdin.flush()
            kind = _read(child.stdout, 1)
            content = _read(child.stdout, LENGTH.unpack(_read(child.stdout, LENGTH.size))[0])
        except (OSError, EOFError):
            raise _fault(*self._died(child)) from None
        if kind == b"F":
            raise _fault(*msgspec.json.decode(content, type=tuple[str, str]))
        width, height = SIZE.unpack_from(content)
        return np.frombuffer(content, np.uint8, offset=SIZE.size).reshape(height, width, 3)

    def close(self) -> None:
        """Ends the process."""
        child, self._child = self._child, None
        if child is not None:
            _end(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            command = [
                sys.executable,
                "-I",
                str(CHILD),
                str(self._cpu_s),
            ]  # isolated: neither the folder at hand nor the environment adds code
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - a file of ours
        return self._child

    def _died(self, child: subprocess.Popen[bytes]) -> tuple[str, str]:
        self.close()
        if child.returncode == -signal.SIGPROF:
            return "bad_image", f"decoding it takes more than {self._cpu_s:g} s of CPU"
        return "bad_image", f"decoding it ended the decoder (exit status {child.returncode})"


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _end(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        assert stream is not None
        with contextlib.suppress(OSError):  # what it had not read is lost with it
            stream.close()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _fault(reason: str, found: str) -> PictureFault:
    expected = "expected a still JPEG, PNG, WebP, GIF or BMP of at most 25 Mpixel and 10 MB"
    return PictureFault(Reject(RejectReason(reason), f"the picture cannot be used: {found}; {expected}"), passing=True)
