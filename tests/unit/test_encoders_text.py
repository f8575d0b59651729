"""The text encoder on the real model that an installed package carries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamer.config.tree import Encoder
from streamer.encoders import EncoderUnavailable, TextEncoder, load_text_encoder
from streamer.encoders.locate import locate
from streamer.encoders.recipe import read_recipe
from streamer.encoders.shapes import Shapes, shapes_on
from streamer.encoders.text import TransformerEncoder

CONFIG = Encoder(batch_items_max=4)
TEXTS = [
    "Toy Story\nAnimation, Children's, Comedy",
    "A Bug's Life\nAnimation, Children's, Comedy",
    "The Silence of the Lambs\nDrama, Thriller",
    "GoldenEye\nAction, Adventure, Thriller",
    "Ünïcode 映画 🎬",
    "word " * 500,
    "x",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder(CONFIG)


def variant(tmp_path: Path, changes: dict[str, object]) -> str:
    """A folder like the packaged model's, but for the JSON files named in ``changes``."""
    source = locate(CONFIG.text_model)
    for path in source.rglob("*.*"):
        name = path.relative_to(source)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if str(name) not in changes:
            (tmp_path / name).symlink_to(path)
    for name, content in changes.items():
        (tmp_path / name).write_text(json.dumps(content))
    return str(tmp_path)


def hidden_states(text: str) -> np.ndarray:
    """The oracle: the bare transformer on one text, without padding."""
    import torch
    import transformers

    folder = locate(CONFIG.text_model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        return model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].numpy()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_vectors_are_float16_of_length_one_and_blank_texts_are_zeros(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["boots", "", " \n\t", "a hat"])
    assert vectors.shape == (4, encoder.dimensions) == (4, 384)
    assert vectors.dtype == np.float16
    assert np.allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), [1, 0, 0, 1], atol=1e-3)


def test_no_texts_give_an_empty_array(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_similar_sentences_are_closer_than_different_ones(encoder: TextEncoder) -> None:
    cat, kitten, tax = encoder.encode(["A cat sits on the mat", "A kitten rests on the rug", "Quarterly tax report"]).astype(
        np.float32
    )
    assert cat @ kitten > 0.5
    assert cat @ tax < 0.3


def test_a_text_has_the_same_vector_alone_and_in_a_batch_of_other_lengths(encoder: TextEncoder) -> None:
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-3)


def test_a_vector_is_the_normalised_mean_of_the_bare_models_hidden_states(encoder: TextEncoder) -> None:
    expected = unit(hidden_states(TEXTS[0]).mean(0))
    assert np.allclose(encoder.encode(TEXTS)[0], expected, atol=1e-3)


def test_words_beyond_the_limit_of_tokens_change_nothing(encoder: TextEncoder) -> None:
    kept = "word " * 200
    assert np.array_equal(encoder.encode([kept]), encoder.encode([kept + "and a very different ending " * 10_000]))


def test_encoding_leaves_the_number_of_threads_of_the_process_as_it_was(encoder: TextEncoder) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    encoder.encode(["boots"])
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == 2


def test_a_fingerprint_is_stable_and_changes_with_the_limit_of_tokens(encoder: TextEncoder, tmp_path: Path) -> None:
    same = load_text_encoder(Encoder(text_model=variant(tmp_path, {}), batch_items_max=9))
    other = load_text_encoder(Encoder(text_tokens_max=16))
    assert len(encoder.fingerprint) == 32
    assert same.fingerprint == encoder.fingerprint
    assert other.fingerprint != encoder.fingerprint


def test_a_folder_that_asks_for_the_first_token_gets_it_under_another_fingerprint(encoder: TextEncoder, tmp_path: Path) -> None:
    folder = variant(tmp_path, {"1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}})
    cls = load_text_encoder(Encoder(text_model=folder))
    assert np.allclose(cls.encode(TEXTS[:1])[0], unit(hidden_states(TEXTS[0])[0]), atol=1e-3)
    assert cls.fingerprint != encoder.fingerprint


def test_a_folder_that_asks_for_the_maximum_gets_it_without_the_padding(tmp_path: Path) -> None:
    folder = variant(tmp_path, {"1_Pooling/config.json": {"pooling_mode": "max"}})
    vectors = load_text_encoder(Encoder(text_model=folder)).encode(TEXTS)
    assert np.allclose(vectors[0], unit(hidden_states(TEXTS[0]).max(0)), atol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_few_fixed_shapes_give_the_same_vectors(tmp_path: Path, pooling: str) -> None:
    modes = {f"pooling_mode_{mode}_tokens": mode == pooling for mode in ("mean", "max")}
    folder = variant(tmp_path, {"1_Pooling/config.json": modes | {"pooling_mode_cls_token": pooling == "cls"}})
    config = Encoder(text_model=folder, batch_items_max=4)
    texts = [*TEXTS, "", *(f"a hat {'and boots ' * n}" for n in range(1, 40, 3))]
    as_they_come, fixed = (
        TransformerEncoder(read_recipe(locate(folder)), config, Shapes(fixed, config.batch_items_max))
        for fixed in (False, True)
    )
    shapes: set[tuple[int, ...]] = set()
    fixed._model.register_forward_pre_hook(lambda _, __, given: shapes.add(tuple(given["input_ids"].shape)), with_kwargs=True)
    vectors = fixed.encode(texts)
    assert np.isfinite(vectors).all()
    assert np.allclose(vectors, as_they_come.encode(texts), atol=1e-3)
    assert len(shapes) > 1
    assert shapes <= {(4, 16), (4, 32), (4, 64), (4, 128)}


def test_on_a_cpu_shapes_are_as_they_come_and_elsewhere_fixed() -> None:
    assert [shapes_on(device, 8).fixed for device in ("cpu", "cpu:0", "cuda", "cuda:1", "xpu")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert (Shapes(False, 8).rows(3), Shapes(True, 8).rows(3)) == (3, 8)
    assert (Shapes(False, 8).tokens(5, 128), Shapes(True, 8).tokens(5, 12)) == (5, 12)


def test_a_device_that_this_machine_lacks_is_named_with_its_key() -> None:
    with pytest.raises(EncoderUnavailable, match=r"encoder\.device 'xpu:7'"):
        load_text_encoder(Encoder(device="xpu:7"))


def test_damaged_weights_are_an_error_that_names_the_folder(tmp_path: Path) -> None:
    folder = variant(tmp_path, {"model.safetensors": {}})
    with pytest.raises(EncoderUnavailable, match=str(tmp_path)):
        load_text_encoder(Encoder(text_model=folder))
