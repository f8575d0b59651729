"""Decodes pictures in a process of its own: what breaks, bloats or stalls a decoder ends this process and nothing else.

Run by path, with nothing of this package imported. Reads requests of stdin (the length in 8 bytes, the picture's bytes), answers each on
stdout with a kind (1 byte) and a length (8 bytes): ``P`` with width and height (4 bytes each) and RGB bytes, or ``F`` with
JSON [kind of fault, what was found]. A picture that takes more seconds of CPU than the first argument says ends the process by SIGPROF.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
import warnings
from io import BytesIO
from typing import IO

from PIL import Image, ImageOps

MEMORY_BYTES_MAX = 1 << 30
PIXELS_MAX = 25_000_000
RATIO_MAX = 32
"""Of the longer side to the shorter: a model's preprocessing blows a thread of pixels up to a wall."""
SHORT_SIDE_MAX = 1_024
"""Larger pictures are made smaller; no model looks at more."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
STILL = ("MPO",)
"""A JPEG with further views in it; the first one is the picture."""
LENGTH = struct.Struct(">Q")
SIZE = struct.Struct(">II")
HEAD_BYTES = 1_024


class Unusable(Exception):  # noqa: N818 - states a condition
    """The kind of fault and what was found."""


def decoded(data: bytes) -> Image.Image:
    """The picture as RGB, upright; raises Unusable, or whatever Pillow raises."""
    if b"<svg" in data[:HEAD_BYTES].lower() or data[:HEAD_BYTES].lstrip().startswith((b"<?xml", b"<!DOCTYPE svg")):
        raise Unusable("bad_image", "it is SVG or XML")
    image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > PIXELS_MAX:
        raise Unusable("too_large", f"it has {width} x {height} pixels, at most {PIXELS_MAX:,} are accepted")
    if max(width, height) > RATIO_MAX * min(width, height):
        raise Unusable("bad_image", f"it has {width} x {height} pixels: one side is more than {RATIO_MAX} times the other")
    if image.format not in STILL and getattr(image, "is_animated", False):
        raise Unusable("bad_image", f"it is animated ({image.format})")
    image.load()
    image = _rgb(ImageOps.exif_transpose(image))
    shrink = min(image.size) / SHORT_SIDE_MAX
    if shrink > 1.0:
        image = image.resize(
            (round(image.width / shrink), round(image.height / shrink)), Image.Resampling.BICUBIC, reducing_gap=2.0
        )
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """RGB, what is transparent on white, 16 bits scaled to 8."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value * (1.0 / 256.0)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def answer(data: bytes, cpu_s: float) -> tuple[bytes, bytes]:
    """Kind and content of the answer to one request."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        image = decoded(data)
        return b"P", SIZE.pack(*image.size) + image.tobytes()
    except Unusable as unusable:
        fault = unusable.args
    except Image.DecompressionBombError as error:
        fault = ("too_large", f"it has far more than {PIXELS_MAX:,} pixels: {error}")
    except MemoryError:
        fault = ("too_large", f"decoding it takes more than {MEMORY_BYTES_MAX >> 20} MiB")
    except Exception as error:  # noqa: BLE001 - a decoder raises what it likes
        fault = (
            "bad_image",
            f"it could not be decoded: {type(error).__name__}: {str(error).replace('<_io.BytesIO object', '<bytes')[:200]}",
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    return b"F", json.dumps(fault).encode()


def serve(requests: IO[bytes], answers: IO[bytes], cpu_s: float) -> None:
    """Answers until there are no more requests."""
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        data = requests.read(LENGTH.unpack(head)[0])
        kind, content = answer(data, cpu_s)
        answers.write(kind + LENGTH.pack(len(content)) + content)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, whose end closes our stdin
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # Pillow's hints at large pictures; the bounds are ours
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))
