"""The towers give the vectors of transformers' modules bit for bit, from the weights that hanclip reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.towers.build import load_model
from tests.fixtures.checkpoints import vocabulary, write_checkpoint
from tests.fixtures.originals import SMALL, write_original

VITS = [name for name, sizes in SMALL.items() if not sizes.stages]
WORDS = 300  # a small vocabulary: large tables cost seconds
DTYPES = (torch.float32, torch.bfloat16)
IDS = torch.randint(1, WORDS, (4, 9), generator=torch.Generator().manual_seed(1))
PADDED = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 2 + [0] * 7, [1] * 9])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "hanclip-cache"))


def spec_of(path: Path) -> ModelSpec:
    return resolve(ModelConfig(name=str(path)))


def original(folder: Path, name: str) -> ModelSpec:
    (folder / "vocab.txt").write_text("\n".join(vocabulary()[:WORDS]) + "\n", encoding="utf-8")
    return spec_of(write_original(folder / "clip.pt", replace(SMALL[name], vocabulary=WORDS)))


@torch.inference_mode()
def assert_equal_bits(spec: ModelSpec) -> None:
    ours = load_model(spec)
    theirs = transformers.ChineseCLIPModel(
        transformers.ChineseCLIPConfig(**spec.sizes.config(), attn_implementation="sdpa")
    ).eval()
    assert not any(theirs.load_state_dict(ours.state_dict()))
    size = (3, 3, spec.image_size, spec.image_size)
    pixels = torch.randn(size, generator=torch.Generator().manual_seed(2))
    for dtype in DTYPES:
        ours.to(dtype)
        theirs.to(dtype)
        expected = theirs.get_image_features(pixels.to(dtype)).pooler_output
        assert torch.equal(ours.image_features(pixels.to(dtype)), expected)
        assert_equal_texts(ours.text_features, lambda **given: theirs.get_text_features(**given).pooler_output)


def assert_equal_texts(ours: Any, theirs: Any) -> None:
    for mask in (torch.ones_like(PADDED), PADDED):
        expected = theirs(input_ids=IDS, attention_mask=mask)
        assert torch.equal(ours(IDS, None if mask.all() else mask), expected)
        assert (expected[0] - expected[1]).abs().max() > 0.01


@pytest.mark.parametrize("name", VITS)
def test_the_vectors_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    assert_equal_bits(original(tmp_path, name))


@torch.inference_mode()
def test_the_text_tower_beside_a_resnet_does_too(tmp_path: Path) -> None:
    spec = original(tmp_path, "rn50")
    ours = load_model(spec)
    config = transformers.ChineseCLIPConfig(**{**spec.sizes.config(), "vision_config": {}}, attn_implementation="sdpa")
    theirs = transformers.ChineseCLIPTextModel(config.text_config, add_pooling_layer=False).eval()
    assert not any(theirs.load_state_dict(ours.text_model.state_dict()))
    for dtype in DTYPES:
        ours.to(dtype)
        theirs.to(dtype)
        assert_equal_texts(ours.text_model, lambda **given: theirs(**given).last_hidden_state[:, 0])


def test_other_activations_and_constants_and_an_adapter_are_followed(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    tree = json.loads((base / "config.json").read_text())
    tree["vision_config"] |= {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "num_attention_heads": 4}
    tree["text_config"] |= {"hidden_act": "relu", "layer_norm_eps": 1e-2}
    (base / "config.json").write_text(json.dumps(tree))
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "base_model_name_or_path": str(base)})
    )
    name = "base_model.model.text_model.encoder.layer.1.attention.self.value"
    save_file(
        {f"{name}.lora_A.weight": torch.randn(4, 32), f"{name}.lora_B.weight": torch.randn(32, 4)},
        lora / "adapter_model.safetensors",
    )
    assert_equal_bits(spec_of(lora))


def test_an_activation_that_nobody_has_is_refused(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    tree = json.loads((base / "config.json").read_text())
    tree["text_config"]["hidden_act"] = "gelu_of_mine"
    (base / "config.json").write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be loaded .*gelu_of_mine"):
        load_model(spec_of(base))
