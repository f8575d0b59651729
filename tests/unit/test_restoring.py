"""What a refused start offers instead."""

from __future__ import annotations

import numpy as np
import pytest
from drafts import draft
from faulty_ports import Clock
from memory_log import MemoryBroker, MemoryReader

from consumers.restoring import Restorer
from streamer.config.tree import Config
from streamer.ports import Committed, TopicInfo, TopicPartition
from streamer.snapshots import FolderStore, Override, RecoveryRefused, format_metadata, write_snapshot
from streamer.snapshots.manifest import chunk_file, manifest_file

EVENTS_0 = TopicPartition("events", 0)


class Admin:
    """A log of one partition."""

    def topics(self, topics):
        return {name: TopicInfo("id", 1) for name in topics if name == "events"}

    def bounds(self, topics):
        return {place: (0, 100) for place in (EVENTS_0,) if place.topic in topics}


def test_a_refusal_offers_no_snapshot_whose_chunks_are_damaged(tmp_path):
    store = FolderStore(tmp_path)
    written = [write_snapshot(store, draft(n), {"t": np.arange(64) + 1_000 * n}, {}) for n in range(3)]
    store.delete(manifest_file(written[2].name))
    spoiled = chunk_file(written[1].tables[0].chunks[3])
    store.put(spoiled, b"spoiled")
    restorer = Restorer(Admin(), lambda: MemoryReader(MemoryBroker()), store, Clock(0), Config(), Override())
    with pytest.raises(RecoveryRefused) as refused:
        restorer.restore(1, {EVENTS_0: Committed(2, format_metadata(written[2].name))})
    assert written[0].name in str(refused.value)
    assert written[1].name not in str(refused.value)
