"""An event log on SQLite behind the EventLog port, and a Valkey child process: first runs and single machines, not a broker."""

from streamer.embedded.admin import EmbeddedAdmin
from streamer.embedded.atomic import EmbeddedAtomicWriter
from streamer.embedded.log import EmbeddedLog
from streamer.embedded.reader import EmbeddedReader
from streamer.embedded.valkey import ValkeyError, ValkeyProcess
from streamer.embedded.writer import EmbeddedWriter

__all__ = [
    "EmbeddedAdmin",
    "EmbeddedAtomicWriter",
    "EmbeddedLog",
    "EmbeddedReader",
    "EmbeddedWriter",
    "ValkeyError",
    "ValkeyProcess",
]
