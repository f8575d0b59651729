"""A frozen image encoder: the output of a vision model, normalised to length one.

Models of transformers (ViT, CLIP, SigLIP, DINOv2 and the like; of those with a space that texts share, the image's place in it)
and of timm (by folder, hub id, or the package that carries EfficientNet-Lite0). The weights are read when the first picture comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from streamer.config.tree import Encoder
from streamer.encoders.computing import computing
from streamer.encoders.errors import EncoderUnavailable
from streamer.encoders.fingerprint import fingerprint
from streamer.encoders.lite0 import ARCHITECTURE, PACKAGE, lite0_weights, load_lite0
from streamer.encoders.locate import CONFIG_FILE, locate, weight_files
from streamer.encoders.picture import Picture
from streamer.encoders.recipe import json_of
from streamer.encoders.shapes import Shapes, shapes_on
from streamer.encoders.text import Vectors

logger = logging.getLogger(__name__)

RECIPE_VERSION = 1
"""Part of the fingerprint; raised when this file, or how pictures are decoded, makes other vectors of the same model."""
PREPROCESSOR_FILE = "preprocessor_config.json"
WITH_CLASS_TOKEN = ("beit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "vit_msn")
"""Model types whose first token speaks for the picture; of others the model's own pooling does, else the mean of its tokens."""


class ImageEncoder(Protocol):
    """Turns pictures into vectors that never change for one fingerprint (but for the last bits)."""

    @property
    def fingerprint(self) -> str:
        """The name of the model with its preprocessing: vectors of different names are not comparable."""
        ...

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """A float16 array [len(pictures), D] of unit vectors, in the order of the pictures."""
        ...


class _Vision(NamedTuple):
    """A loaded model: decoded pictures to a batch of its input, and that to a batch of vectors."""

    pixels: Callable[[Sequence[Picture]], Any]
    vectors: Callable[[Any], Any]


class FoundModel(NamedTuple):
    """A model that was found: the files that its name hashes, how it is made, how it is loaded (onto a device)."""

    where: Path
    files: list[Path]
    kind: str
    load: Callable[[str], _Vision]


def load_image_encoder(config: Encoder) -> ImageEncoder | None:
    """The encoder that the configuration names, None where it names none; reads the model's files once, for its fingerprint.

    Raises:
        EncoderUnavailable: the model was not found.
    """
    if config.image_model is None:
        return None
    return FrozenImageEncoder(find_image_model(config.image_model), config)


class FrozenImageEncoder:
    """An ImageEncoder on torch. Not thread-safe: one thread encodes."""

    def __init__(self, found: FoundModel, config: Encoder, shapes: Shapes | None = None) -> None:
        """``shapes``: those of batches; unless given, what suits the device."""
        self._found = found
        self._shapes = shapes or shapes_on(config.device, config.batch_items_max)
        self._config = config
        self._vision: _Vision | None = None
        self._fingerprint = fingerprint(found.files, {"recipe": RECIPE_VERSION, "kind": found.kind})

    @property
    def fingerprint(self) -> str:
        """A hash of weights, configuration and preprocessing."""
        return self._fingerprint

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """A float16 array [len(pictures), D] of unit vectors, in the order of the pictures.

        Raises:
            EncoderUnavailable: the model could not be loaded.
        """
        import torch  # noqa: PLC0415 - seconds, paid only where pictures are encoded

        vision = self._vision or self._load()
        rows: list[Vectors] = []
        with computing(self._config.threads):
            for start in range(0, len(pictures), self._config.batch_items_max):
                pixels_bchw = vision.pixels(pictures[start : start + self._config.batch_items_max])
                missing = self._shapes.rows(len(pixels_bchw)) - len(pixels_bchw)
                filled_bchw = torch.nn.functional.pad(pixels_bchw, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else pixels_bchw
                vector_bd = vision.vectors(filled_bchw.to(self._config.device))[: len(pixels_bchw)]
                rows.append(torch.nn.functional.normalize(vector_bd.float(), dim=1).half().cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float16)

    def _load(self) -> _Vision:
        where = f"encoder.image_model {self._config.image_model!r} was found in {self._found.where}"
        try:
            with computing(self._config.threads):
                vision = self._found.load(self._config.device)
                probe_bchw = vision.pixels([np.full((64, 48, 3), 128, np.uint8)]).to(self._config.device)
                probe_bd = vision.vectors(probe_bchw)
        except Exception as error:
            message = (
                f"{where} and could not be loaded on encoder.device {self._config.device!r}: {type(error).__name__}: {error}. "
                "Choose a vision model that transformers loads by AutoModel or one of timm, and a device that this machine has"
            )
            raise EncoderUnavailable(message) from error
        if probe_bd.ndim != 2 or not bool(probe_bd.isfinite().all()):
            message = f"{where} and gives no finite vector of one picture: fetch its weights again, or choose a vision model"
            raise EncoderUnavailable(message)
        logger.info(
            "loaded the image encoder %s from %s: %d dimensions", self._fingerprint, self._found.where, probe_bd.shape[1]
        )
        self._vision = vision
        return vision


def find_image_model(model: str) -> FoundModel:
    """Which library loads the model, and from which files; raises EncoderUnavailable."""
    if model.replace("-", "_") == PACKAGE:
        weights = lite0_weights()
        return FoundModel(weights, [weights], f"timm {ARCHITECTURE}", lambda device: _timm(load_lite0(weights), device))
    folder = locate(model, "image_model")
    files = [folder / CONFIG_FILE, *weight_files(folder)]
    config = json_of(folder / CONFIG_FILE) or {}
    if "architecture" in config:
        return FoundModel(folder, files, "timm", lambda device: _timm_folder(folder, device))
    preprocessor = folder / PREPROCESSOR_FILE
    if not preprocessor.is_file():
        message = (
            f"encoder.image_model points to {folder}, which holds no {PREPROCESSOR_FILE}: expected the folder of a vision model"
        )
        raise EncoderUnavailable(message)
    return FoundModel(folder, [*files, preprocessor], "transformers", lambda device: _transformers(folder, device))


def _timm_folder(folder: Path, device: str) -> _Vision:
    import timm  # noqa: PLC0415

    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    model.reset_classifier(0)
    return _timm(model, device)


def _timm(model: Any, device: str) -> _Vision:
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415
    from timm import data as timm_data  # noqa: PLC0415

    prepare: Any = timm_data
    transform = prepare.create_transform(**prepare.resolve_model_data_config(model), is_training=False)
    model = model.eval().to(device)

    def pixels(pictures: Sequence[Picture]) -> Any:
        return torch.stack([transform(Image.fromarray(picture)) for picture in pictures])

    return _Vision(pixels, model)


def _transformers(folder: Path, device: str) -> _Vision:
    """Preprocessing by Pillow: the same pixels whatever else is installed; float32, since half precision on a CPU is slow and loses more."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    transformers_logging.disable_progress_bar()  # stderr carries structured logs
    processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval().to(device)

    def pixels(pictures: Sequence[Picture]) -> Any:
        return processor(images=list(pictures), return_tensors="pt", input_data_format="channels_last")["pixel_values"]

    def vectors(pixels_bchw: Any) -> Any:
        if hasattr(model, "get_image_features"):
            return model.get_image_features(pixel_values=pixels_bchw).pooler_output
        output = model(pixel_values=pixels_bchw)
        if model.config.model_type in WITH_CLASS_TOKEN:
            return output.last_hidden_state[:, 0]
        if output.get("pooler_output") is not None:
            return output.pooler_output.flatten(1)
        return output.last_hidden_state.mean(1)

    return _Vision(pixels, vectors)
