"""A run as event files, which TensorBoard shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from streamer.tracking import TrackingUnavailable, unavailable

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ImportError as error:
    raise unavailable("tensorboard", error) from error


class EventFiles:
    """RunTracker on a folder; a figure named ``group/name`` stands in that group."""

    def __init__(self, folder: Path) -> None:
        """Raises TrackingUnavailable where nothing can be written there."""
        try:
            self._writer = EventFileWriter(str(folder))
        except OSError as error:
            message = f"event files cannot be written to {folder}: {error.strerror or error}; give a folder that this user may write to"
            raise TrackingUnavailable(message) from error

    def settings(self, values: Mapping[str, object]) -> None:
        """As a table, under the plugin for texts."""
        lines = ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in sorted(values.items()))]
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DT_STRING, string_val=["\n".join(lines).encode()], tensor_shape=shape)
        value = Summary.Value(tag="settings", metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)
        self._writer.add_event(Event(step=0, summary=Summary(value=[value])))

    def figures(self, values: Mapping[str, float], *, step: int, at_ms: int) -> None:
        """As scalars."""
        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(wall_time=at_ms / 1_000, step=step, summary=Summary(value=found)))

    def file(self, path: Path) -> None:
        """Nothing: TensorBoard shows none."""

    def close(self) -> None:
        """Writes what is buffered."""
        self._writer.close()
