"""What goes wrong while an encoder is found and loaded."""

from __future__ import annotations


class EncoderUnavailable(Exception):  # noqa: N818 - states a condition, as a sentence would
    """The configured model could not be found, read or used; the message says where it was looked for and what to do."""
