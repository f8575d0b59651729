"""Pictures from bytes: what is decoded, and that nothing in the bytes breaks, bloats or stalls us."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from streamer.encoders import PictureDecoder, PictureFault


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    with PictureDecoder(cpu_s=0.5) as decoder:
        yield decoder


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG that says to be so large, with these chunks."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def many_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a pass over the whole picture."""
    whole = saved(Image.new("L", (2_400, 2_400), 90), "JPEG", progressive=True, quality=5)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * scans + whole[-2:]


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, loop=0)


HOSTILE: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "bad_image", "could not be decoded"),
    "text": (lambda: b"no picture at all", "bad_image", "could not be decoded"),
    "html": (lambda: b"<html><body>404</body></html>", "bad_image", "could not be decoded"),
    "noise": (lambda: np.random.default_rng(3).bytes(100_000), "bad_image", "could not be decoded"),
    "zip": (lambda: b"PK\x03\x04" + bytes(200), "bad_image", "could not be decoded"),
    "pdf": (lambda: b"%PDF-1.7\n%%EOF", "bad_image", "could not be decoded"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "bad_image", "could not be decoded"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "bad_image", "SVG"),
    "svg that calls itself": (
        lambda: b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "&a;&a;">]><svg>&a;</svg>',
        "bad_image",
        "SVG",
    ),
    "animated gif": (lambda: animated("GIF"), "bad_image", "animated"),
    "animated png": (lambda: animated("PNG"), "bad_image", "animated"),
    "animated webp": (lambda: animated("WEBP"), "bad_image", "animated"),
    "cut jpeg": (lambda: saved(gradient(200, 200), "JPEG")[:-400], "bad_image", "truncated"),
    "cut png": (lambda: saved(Image.effect_noise((90, 90), 50), "PNG")[:3_000], "bad_image", "could not be decoded"),
    "head alone": (lambda: saved(gradient(), "JPEG")[:20], "bad_image", "could not be decoded"),
    "png without pixels": (lambda: png(20, 20), "bad_image", "could not be decoded"),
    "png whose pixels are too few": (lambda: png(20, 20, chunk(b"IDAT", zlib.compress(b"\0"))), "bad_image", "could not be"),
    "bomb": (
        lambda: png(60_000, 60_000, chunk(b"IDAT", zlib.compress(bytes(10_000)))),
        "too_large",
        "far more than 25,000,000 pixels",
    ),
    "a little too large": (lambda: png(5_001, 5_000), "too_large", "25,000,000"),
    "text bomb": (
        lambda: png(
            9, 9, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(30_000_000), 9)), chunk(b"IDAT", zlib.compress(bytes(99)))
        ),
        "bad_image",
        "could not be decoded",
    ),
    "profile bomb": (
        lambda: png(
            9, 9, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(30_000_000), 9)), chunk(b"IDAT", zlib.compress(bytes(9)))
        ),
        "bad_image",
        "could not be decoded",
    ),
    "a thread of pixels": (lambda: saved(Image.new("RGB", (4_000, 1)), "PNG"), "bad_image", "one side"),
    "no pixels": (lambda: png(0, 10), "bad_image", "could not be decoded"),
    "negative size": (
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, -9, 9, 1, 24, 0, 9, 0, 0, 0, 0),
        "too_large",
        "far more than",
    ),
    "endless scans": (lambda: many_scans(300), "bad_image", "more than 0.5 s"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_is_a_fault_that_says_why_and_the_next_one_is_decoded(decoder: PictureDecoder, name: str) -> None:
    make, reason, text = HOSTILE[name]
    data = make()
    assert len(data) < 10_000_000
    with pytest.raises(PictureFault, match=text) as raised:
        decoder.decode(data)
    assert raised.value.reject.reason == reason
    assert "expected a still JPEG" in raised.value.reject.error
    assert decoder.decode(saved(gradient(), "PNG")).shape == (30, 40, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_still_pictures_of_each_form_are_decoded_upright(decoder: PictureDecoder, kind: str) -> None:
    picture = decoder.decode(saved(gradient(), kind))
    assert picture.shape == (30, 40, 3)
    assert picture[0].mean() + 100 < picture[-1].mean()


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("RGBA", (20, 20), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (20, 20), (255, 255)), (255, 255, 255)),
        (Image.new("1", (20, 20), 1), (255, 255, 255)),
        (Image.fromarray(np.full((20, 20), 0x8000, np.uint16)), (128, 128, 128)),
    ],
)
def test_what_is_transparent_is_white_and_other_depths_are_scaled(
    decoder: PictureDecoder, image: Image.Image, colour: tuple[int, int, int]
) -> None:
    assert decoder.decode(saved(image, "PNG"))[10, 10].tolist() == list(colour)


def test_a_camera_that_lay_on_its_side_is_believed(decoder: PictureDecoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoder.decode(saved(gradient(40, 30), "JPEG", exif=exif)).shape == (40, 30, 3)


def test_views_beside_the_picture_do_not_make_it_animated(decoder: PictureDecoder) -> None:
    views = [gradient(40, 30), gradient(20, 15)]
    assert decoder.decode(saved(views[0], "MPO", save_all=True, append_images=views[1:])).shape == (30, 40, 3)


def test_a_large_picture_is_made_smaller(decoder: PictureDecoder) -> None:
    assert decoder.decode(saved(gradient(3_000, 2_048), "JPEG")).shape == (1_024, 1_500, 3)


def test_a_decoder_that_died_is_made_anew_and_one_that_is_closed_leaves_no_process() -> None:
    decoder = PictureDecoder()
    decoder.decode(saved(gradient(), "PNG"))
    child = decoder._child
    assert child is not None
    child.kill()
    child.wait()
    assert decoder.decode(saved(gradient(), "PNG")).shape == (30, 40, 3)
    again = decoder._child
    decoder.close()
    assert again is not None
    assert again.returncode == 0
