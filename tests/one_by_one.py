"""A folder of snapshots that a test can look into, or break, between any two blobs."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.snapshots import FolderStore


class OneByOne(FolderStore):
    """Puts blobs one after the other: whoever overrides ``put`` sees each."""

    def put_all(self, blobs: Mapping[str, bytes | memoryview]) -> None:
        for name, data in blobs.items():
            self.put(name, data)
