"""Frozen encoders of item texts and pictures, and the cache of their vectors by content hash.

Importing this room costs little: torch, transformers and timm are imported when an encoder is loaded.
"""

from streamer.encoders.cache import CacheError, VectorCache
from streamer.encoders.decoding import PictureDecoder
from streamer.encoders.errors import EncoderUnavailable
from streamer.encoders.image import ImageEncoder, load_image_encoder
from streamer.encoders.picture import Picture, PictureFault
from streamer.encoders.text import TextEncoder, load_text_encoder

__all__ = [
    "CacheError",
    "EncoderUnavailable",
    "ImageEncoder",
    "Picture",
    "PictureDecoder",
    "PictureFault",
    "TextEncoder",
    "VectorCache",
    "load_image_encoder",
    "load_text_encoder",
]
