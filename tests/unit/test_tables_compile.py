"""Where compiled kernels are kept: a folder that came with the code and may not be written to serves all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.tables.compile import writable

NOBODY = 65_534


def test_a_folder_that_can_be_written_to_is_taken_as_it_is(tmp_path: Path) -> None:
    ours = tmp_path / "numba-1"
    assert writable(ours, tmp_path / "spare") == ours
    assert ours.is_dir()
    assert not (tmp_path / "spare").exists()


def test_where_no_folder_can_be_made_an_empty_one_is(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.touch()
    found = writable(file / "numba-1", tmp_path / "spare")
    assert found == tmp_path / "spare" / "numba-1"
    assert list(found.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as somebody else")
def test_kernels_of_a_folder_that_another_user_owns_are_copied_once() -> None:
    # in folders of its own: a user without rights cannot reach pytest's
    code = (
        "import os, pathlib, tempfile\n"
        "from streamer.tables.compile import writable\n"
        "root = pathlib.Path(tempfile.mkdtemp()); ours = root / 'numba-1' / 'streamer'; ours.mkdir(parents=True)\n"
        "(ours / 'kernel.nbc').write_bytes(b'code'); (ours / 'kernel.nbc').chmod(0o444); root.chmod(0o755)\n"
        "spare = pathlib.Path(tempfile.mkdtemp()) / 'spare'; spare.parent.chmod(0o777)\n"
        f"os.setuid({NOBODY})\n"
        "found = [writable(ours.parent, spare) for _ in range(2)]\n"
        "assert found == [spare / 'numba-1'] * 2, found\n"
        "copy = found[0] / 'streamer' / 'kernel.nbc'\n"
        "assert copy.read_bytes() == b'code'; copy.write_bytes(b'newer')\n"
        "assert [path.name for path in spare.iterdir()] == ['numba-1']\n"
        "assert spare.stat().st_mode & 0o077 == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_another_user_prepared_is_not_trusted(tmp_path: Path) -> None:
    spare, file = tmp_path / "spare", tmp_path / "a file"
    file.touch()
    spare.mkdir()
    os.chown(spare, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="another user's: remove it, or set TMPDIR"):
        writable(file / "numba-1", spare)
