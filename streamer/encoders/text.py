"""A frozen text encoder: a transformer, pooled over its tokens, normalised to length one.

Shapes, as suffixes of names: b texts of a batch, l tokens, d dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from streamer.config.tree import Encoder
from streamer.encoders.computing import computing
from streamer.encoders.errors import EncoderUnavailable
from streamer.encoders.fingerprint import TOKENIZER_FILES, fingerprint
from streamer.encoders.locate import CONFIG_FILE, locate, weight_files
from streamer.encoders.recipe import Recipe, read_recipe
from streamer.encoders.shapes import Shapes, shapes_on

logger = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float16]

RECIPE_VERSION = 1
"""Part of the fingerprint; raised when this file makes other vectors of the same model."""
CHARACTERS_PER_TOKEN_MAX = 64
"""Text beyond this many characters for each token allowed is cut before it is tokenized, so that a long text costs no more."""
WINDOW_BATCHES = 32
"""Batches tokenized at once and sorted by length: bounds memory, and keeps padding small."""


class TextEncoder(Protocol):
    """Turns texts into vectors that never change for one fingerprint (but for the last bits)."""

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """The name of the model with its settings: vectors of different names are not comparable."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """A float16 array [len(texts), D] of unit vectors, in the order of the texts; zeros for a blank text."""
        ...


def load_text_encoder(config: Encoder) -> TextEncoder:
    """The encoder that the configuration names, ready to encode; takes seconds, and reads the model's files once.

    Raises:
        EncoderUnavailable: the model was not found, asks for what is not supported, or cannot encode a text.
    """
    folder = locate(config.text_model)
    recipe = read_recipe(folder)
    try:
        encoder = TransformerEncoder(recipe, config)
        probe = encoder.encode(["probe"])
    except Exception as error:
        message = (
            f"encoder.text_model {config.text_model!r} was found in {folder} and could not be loaded on encoder.device "
            f"{config.device!r}: {type(error).__name__}: {error}. Choose a text encoder that transformers loads by AutoModel, "
            "and a device that this machine has"
        )
        raise EncoderUnavailable(message) from error
    if not np.isfinite(probe).all():
        message = (
            f"encoder.text_model {config.text_model!r} in {folder} gives vectors that are not finite: fetch its weights again"
        )
        raise EncoderUnavailable(message)
    logger.info("loaded the text encoder %s from %s: %d dimensions", encoder.fingerprint, folder, encoder.dimensions)
    return encoder


class TransformerEncoder:
    """A TextEncoder on transformers and torch. Not thread-safe: one thread encodes."""

    def __init__(self, recipe: Recipe, config: Encoder, shapes: Shapes | None = None) -> None:
        """``shapes``: those of batches; unless given, what suits the device."""
        import torch  # noqa: PLC0415 - seconds, paid only where texts are encoded

        self._torch = torch
        self._shapes = shapes or shapes_on(config.device, config.batch_items_max)
        self._config = config
        self._pooling = recipe.pooling
        self._tokenizer, self._model = _load(recipe.transformer, config.device)
        self._tokens_max = _tokens_max(config, recipe, self._tokenizer, self._model)
        self._pad = self._tokenizer.pad_token_id or 0
        self._joint = hasattr(self._model, "get_text_features")
        """Whether the model has a space that texts share with images: its text tower's own output is the vector."""
        self._padded = str(self._model.config.model_type).startswith("siglip")
        """SigLIP was trained on texts filled up to one length, and without a mask."""
        self._dimensions = self._width()
        self._fingerprint = _fingerprint(recipe, self._tokens_max, joint=self._joint)

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""
        return self._dimensions

    @property
    def fingerprint(self) -> str:
        """A hash of weights, tokenizer, pooling and the limit of tokens."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        """A float16 array [len(texts), D] of unit vectors, in the order of the texts; zeros for a blank text."""
        vectors = np.zeros((len(texts), self._dimensions), np.float16)
        places = [place for place, text in enumerate(texts) if text.strip()]
        window = WINDOW_BATCHES * self._config.batch_items_max
        with computing(self._config.threads):
            for start in range(0, len(places), window):
                self._encode_window(texts, places[start : start + window], vectors)
        return vectors

    def _encode_window(self, texts: Sequence[str], places: list[int], vectors: Vectors) -> None:
        """Longest first, so that texts of one length share a batch and a batch that is too large fails at once."""
        characters_max = self._tokens_max * CHARACTERS_PER_TOKEN_MAX
        tokens = self._tokenizer(
            [texts[place][:characters_max] for place in places],
            truncation=True,
            max_length=self._tokens_max,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        some = [n for n in range(len(places)) if tokens[n]]  # a text of unknown characters alone may hold no token
        order = sorted(some, key=lambda n: len(tokens[n]), reverse=True)
        size = self._config.batch_items_max
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            vectors[[places[n] for n in batch]] = self._encode_batch([tokens[n] for n in batch])

    def _encode_batch(self, tokens: list[list[int]]) -> Vectors:
        torch = self._torch
        longest = self._tokens_max if self._padded else self._shapes.tokens(max(map(len, tokens)), self._tokens_max)
        rows = self._shapes.rows(len(tokens))
        ids = np.full((rows, longest), self._pad, np.int64)
        mask = np.zeros((rows, longest), np.int64)
        mask[len(tokens) :, 0] = 1  # a row without any token has no mean
        for row, ids_of_text in enumerate(tokens):
            ids[row, : len(ids_of_text)] = ids_of_text
            mask[row, : len(ids_of_text)] = 1
        mask_bl = torch.from_numpy(mask).to(self._config.device)
        ids_bl = torch.from_numpy(ids).to(self._config.device)
        vector_bd = torch.nn.functional.normalize(self._pooled(ids_bl, mask_bl), dim=1)
        vectors: Vectors = vector_bd.half().cpu().numpy()[: len(tokens)]
        return vectors

    def _pooled(self, ids_bl: Any, mask_bl: Any) -> Any:
        if self._joint:
            mask = None if self._padded else mask_bl
            return self._model.get_text_features(input_ids=ids_bl, attention_mask=mask).pooler_output
        return self._pool(self._model(input_ids=ids_bl, attention_mask=mask_bl).last_hidden_state, mask_bl)

    def _width(self) -> int:
        with computing(self._config.threads):
            one_bl = self._torch.full((1, self._tokens_max if self._padded else 1), self._pad, device=self._config.device)
            return int(self._pooled(one_bl, self._torch.ones_like(one_bl)).shape[1])

    def _pool(self, hidden_bld: Any, mask_bl: Any) -> Any:
        if self._pooling == "cls":
            return hidden_bld[:, 0]
        mask_bl1 = mask_bl.unsqueeze(2)
        if self._pooling == "max":
            return hidden_bld.masked_fill(mask_bl1 == 0, -np.inf).amax(1)
        return (hidden_bld * mask_bl1).sum(1) / mask_bl1.sum(1)


def _load(folder: Path, device: str) -> tuple[Any, Any]:
    """Tokenizer and model of a local folder; float32, since half precision on a CPU is slow and loses more."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    transformers_logging.disable_progress_bar()  # stderr carries structured logs
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return tokenizer, model.eval().to(device)


def _tokens_max(config: Encoder, recipe: Recipe, tokenizer: Any, model: Any) -> int:
    """The smallest of what the operator allows, the model's authors told, and the model can hold."""
    config_of_text = getattr(model.config, "text_config", model.config)
    limits = (recipe.tokens_max, tokenizer.model_max_length, getattr(config_of_text, "max_position_embeddings", None))
    return min(config.text_tokens_max, *(int(limit) for limit in limits if limit))


def _fingerprint(recipe: Recipe, tokens_max: int, *, joint: bool) -> str:
    folder = recipe.transformer
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    pooling = "text tower" if joint else recipe.pooling
    settings = {"recipe": RECIPE_VERSION, "pooling": pooling, "tokens_max": tokens_max}
    return fingerprint([folder / CONFIG_FILE, *tokenizer, *weight_files(folder)], settings)
