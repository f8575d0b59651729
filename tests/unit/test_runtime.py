"""What a worker process checks before it begins."""

import pytest

from consumers.runtime import require_folder


def test_a_snapshot_folder_is_made_where_it_is_missing(tmp_path):
    require_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_snapshot_folder_that_cannot_be_is_refused_with_its_key(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"snapshots\.root, STREAMER_SNAPSHOTS__ROOT"):
        require_folder(tmp_path / "file" / "snapshots")
