"""Recorded streams that come with the installation: MovieLens 100K, carried by the package ``recbole`` and read as plain files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from producers.formats.base import RecordingError

_CARRIER = "recbole"
_FOLDER = Path("dataset_example", "ml-100k")


class Recording(NamedTuple):
    """A recorded stream on this machine: its events, and the documents of its items."""

    name: str
    events: Path
    items: Path


def movielens_100k() -> Recording:
    """100,000 ratings by 943 users of 1,682 films; nothing of the package that carries them is run.

    Raises RecordingError where it is not installed.
    """
    spec = find_spec(_CARRIER)
    folders = spec.submodule_search_locations if spec else None
    for root in folders or ():
        folder = Path(root) / _FOLDER
        found = Recording("ml-100k", folder / "ml-100k.inter", folder / "ml-100k.item")
        if found.events.is_file() and found.items.is_file():
            return found
    raise RecordingError(
        f"the MovieLens 100K recording was looked for in {_FOLDER} of the package {_CARRIER} "
        f"({'which lacks it' if spec else 'which is not installed'}): install the pins of deploy/requirements/nodeps.txt with "
        "pip's --no-deps, or run `make install`",
        unreadable=True,
    )
