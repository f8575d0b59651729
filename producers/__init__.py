"""What brings records onto the log: writers, typed senders, recordings, the HTTP gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.records import AsyncSender, Sender

__all__ = ["AsyncSender", "Sender"]


def __getattr__(name: str) -> Any:
    """Imports a sender when it is asked for: most of what is here needs none."""
    if name in __all__:
        from producers import records  # noqa: PLC0415

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
