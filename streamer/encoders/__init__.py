"""Frozen encoders of item texts, and the cache of their vectors by content hash.

Importing this room costs little: torch and transformers are imported when an encoder is loaded.
"""

from streamer.encoders.cache import CacheError, VectorCache
from streamer.encoders.errors import EncoderUnavailable
from streamer.encoders.text import TextEncoder, load_text_encoder

__all__ = ["CacheError", "EncoderUnavailable", "TextEncoder", "VectorCache", "load_text_encoder"]
