"""How a model's folder says that its text vectors are made: which transformer, which pooling, how many tokens.

A sentence-transformers folder says it in ``modules.json``; a plain transformers folder says nothing and gets mean pooling.
A folder that asks for a step which is not supported is refused: other vectors under the same name would be a silent error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from streamer.encoders.errors import EncoderUnavailable

Pooling = Literal["mean", "cls", "max"]

POOLINGS: dict[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "max": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
"""Both spellings that folders use."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The transformer's folder, the pooling over its last hidden states, and the model's own limit of tokens (None: none told)."""

    transformer: Path
    pooling: Pooling
    tokens_max: int | None


def read_recipe(folder: Path) -> Recipe:
    """The recipe of the model in ``folder``; raises EncoderUnavailable where it asks for an unsupported step."""
    modules = json_of(folder / "modules.json")
    if modules is None:
        return Recipe(folder, "mean", None)
    transformer, pooling = folder, None
    for module in modules:
        kind, path = str(module.get("type", "")).rsplit(".", 1)[-1], folder / str(module.get("path", ""))
        if kind == "Transformer":
            transformer = path
        elif kind == "Pooling":
            pooling = _pooling(path / "config.json")
        elif kind != "Normalize":  # every vector is normalised anyway
            message = (
                f"{folder / 'modules.json'} asks for a step {kind!r}: only Transformer, Pooling and Normalize are supported"
            )
            raise EncoderUnavailable(message)
    limits = json_of(transformer / "sentence_bert_config.json") or {}
    tokens_max = limits.get("max_seq_length")
    return Recipe(transformer, pooling or "mean", tokens_max if isinstance(tokens_max, int) else None)


def _pooling(path: Path) -> Pooling:
    """Older folders hold one flag a mode, newer ones a single name."""
    config: dict[str, Any] = json_of(path) or {}
    named = config.get("pooling_mode")
    chosen = [named] if named else [mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on is True]
    pooling = POOLINGS.get(str(chosen[0])) if len(chosen) == 1 else None
    if pooling is None:
        message = f"{path} asks for the pooling {chosen}: expected exactly one of {sorted(set(POOLINGS.values()))}"
        raise EncoderUnavailable(message)
    return pooling


def json_of(path: Path) -> Any:
    """What a JSON file of a model holds, None where there is no such file; raises EncoderUnavailable where it is no JSON."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        message = f"{path} could not be read: {error}; expected JSON: fetch the model again"
        raise EncoderUnavailable(message) from error
