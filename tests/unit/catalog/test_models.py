"""Ids, names, folders and the built-in collection."""

import hashlib
import os
from pathlib import Path

import pytest

from tunedeck_catalog.folders import ModelFolders
from tunedeck_catalog.hub import readable_count
from tunedeck_catalog.model_config import context_length
from tunedeck_catalog.model_names import checked_model_id, name_of, provider_of
from tunedeck_catalog.models import built_in_models
from tunedeck_contracts.errors import Conflict, ValidationFailed


@pytest.mark.parametrize("model_id", ["gpt2", "test-model/gpt-2", "local/mine", "meta-llama/Llama-3.1-8B"])
def test_an_id_by_the_hubs_rule(model_id: str) -> None:
    assert checked_model_id(model_id) == model_id


@pytest.mark.parametrize(
    "model_id",
    [
        "../../etc",
        "local/../x",
        "/etc",
        "~/x",
        "file:///etc",
        "http://a/b",
        "a/b/c",
        "",
        ".",
        "a\\b",
        "a\0b",
        "x" * 97,
    ],
)
def test_a_path_is_no_id(model_id: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        checked_model_id(model_id)
    assert raised.value.errors is not None
    assert raised.value.errors[0].loc == "id"


def test_name_and_provider_come_from_the_id() -> None:
    assert name_of("meta-llama/Llama-3.1-70B-Instruct") == "Llama 3.1 70B Instruct"
    assert provider_of("meta-llama/Llama-3.1-70B-Instruct") == "Meta"
    assert provider_of("someone/model") == "someone"
    assert provider_of("gpt2") == "Unknown"


def test_counts_for_people() -> None:
    assert [readable_count(n) for n in (134_515_008, 999_885_952, 8_030_261_248, 7_615_616_512)] == [
        "135M",
        "1B",
        "8B",
        "7.6B",
    ]


def test_the_built_in_models_are_well_formed_and_one_is_recommended() -> None:
    models = built_in_models()
    assert len({model.id for model in models}) == len(models) >= 20
    assert [model.id for model in models if model.recommended] == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    for model in models:
        checked_model_id(model.id)
        assert model.provider == provider_of(model.id)
        assert all((model.parameters, model.context_length, model.license, model.download_size))
        assert ("gated" in model.tags) == bool(model.gated)


def test_the_built_in_models_have_two_or_four_bytes_a_parameter() -> None:
    """GPT-2 and Pythia keep a few buffers beside their parameters."""
    units = {"M": 1e6, "B": 1e9, "MB": 1e6, "GB": 1e9}
    for model in built_in_models():
        assert model.parameters and model.download_size
        parameters = float(model.parameters[:-1]) * units[model.parameters[-1]]
        size, unit = model.download_size.split()
        a_parameter = float(size) * units[unit] / parameters
        assert any(0.95 * wanted < a_parameter < 1.2 * wanted for wanted in (2, 4)), model.id


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"n_positions": 1024, "n_ctx": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({"max_position_embeddings": 0}, None),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": 2**70}, None),
        ({"max_position_embeddings": "8192"}, None),
        ({}, None),
        ([1], None),
    ],
)
def test_the_context_length_of_a_config(config: object, length: int | None) -> None:
    assert context_length(config) == length


def test_a_folders_revision_is_the_hash_of_its_weights(tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path)
    folder = tmp_path / "local" / "mine"
    folder.mkdir(parents=True)
    assert not folders.has("local/mine")
    (folder / "config.json").write_text('{"max_position_embeddings": 64}')
    assert folders.has("local/mine")
    assert folders.context_length("local/mine") == 64
    with pytest.raises(Conflict, match="safetensors"):
        folders.revision("local/mine")
    (folder / "b.safetensors").write_bytes(b"two")
    (folder / "a.safetensors").write_bytes(b"one")
    assert folders.revision("local/mine") == "sha256:" + hashlib.sha256(b"onetwo").hexdigest()
    (folder / "a.safetensors").write_bytes(b"ten")
    os.utime(folder / "a.safetensors", (1, 1))
    assert folders.revision("local/mine") == "sha256:" + hashlib.sha256(b"tentwo").hexdigest()


def test_a_link_that_leads_nowhere_is_a_refusal(tmp_path: Path) -> None:
    folder = tmp_path / "local" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(Conflict, match="weights of model 'local/mine' cannot be read"):
        ModelFolders(tmp_path).revision("local/mine")


def test_weights_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "local" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")

    def refused(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    # Root, whom no mode of a file keeps out, may run this.
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(Conflict, match=r"model\.safetensors of model 'local/mine' may not be read.*chmod"):
        ModelFolders(tmp_path).revision("local/mine")
