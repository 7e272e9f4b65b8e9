"""LoRA adapters: merged as `W + scale * B @ A`, compared with transformers' forward pass of the changed weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.chinese_clip import ChineseClip
from tests.fixtures.checkpoints import write_checkpoint
from tests.fixtures.originals import SMALL, write_original

QUERY, VALUE = (f"text_model.encoder.layer.1.attention.self.{part}" for part in ("query", "value"))
FC1, PATCHES = "vision_model.encoder.layers.0.mlp.fc1", "vision_model.embeddings.patch_embedding"
WORDS, PROJECTION = "text_model.embeddings.word_embeddings", "text_projection"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "lora_dropout": 0.1, "qalora_group_size": 16}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "hanclip-cache"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base"))


def resolved(name: object) -> ModelSpec:
    return resolve(ModelConfig(name=str(name)))


def pair(name: str, first: tuple[int, ...], second: tuple[int, ...], kind: str = "lora") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    end = "" if kind == "lora_embedding" else ".weight"
    return {
        f"base_model.model.{name}.{kind}_A{end}": torch.randn(first, generator=generator) * 0.3,
        f"base_model.model.{name}.{kind}_B{end}": torch.randn(second, generator=generator) * 0.3,
    }


def write_adapter(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def vectors(spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    clip = ChineseClip.load(spec, "fp32", "cpu")
    size = (3, spec.image_size, spec.image_size, 3)
    return clip.encode_images(np.random.default_rng(0).integers(0, 256, size, np.uint8)), clip.encode_texts(
        ["红色", "a1"]
    )


def test_an_adapter_gives_the_vectors_of_the_changed_weights(base: Path, tmp_path: Path) -> None:
    tensors = {
        **pair(QUERY, (2, 32), (32, 2)),
        **pair(VALUE, (4, 32), (32, 4)),
        **pair(FC1, (4, 32), (64, 4)),
        **pair(PATCHES, (4, 3, 8, 8), (32, 4, 1, 1)),
        **pair(WORDS, (4, 21128), (32, 4), "lora_embedding"),
        f"base_model.model.{PROJECTION}.weight": torch.randn(16, 32),
    }
    patterns = {"rank_pattern": {"query": 2}, "alpha_pattern": {r"layers\.0\.mlp\.fc1": 32}}
    adapter = write_adapter(
        tmp_path / "lora", tensors, base_model_name_or_path=str(base), modules_to_save=[PROJECTION], **patterns
    )
    state = load_file(base / "model.safetensors")
    scales = {QUERY: 8 / 2, VALUE: 8 / 4, FC1: 32 / 4, PATCHES: 8 / 4}
    for name, scale in scales.items():
        first, second = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        delta = torch.einsum("or,r...->o...", second.flatten(1), first)
        state[f"{name}.weight"] = state[f"{name}.weight"] + scale * delta
    first, second = (tensors[f"base_model.model.{WORDS}.lora_embedding_{part}"] for part in "AB")
    state[f"{WORDS}.weight"] = state[f"{WORDS}.weight"] + 2 * (second @ first).T
    state[f"{PROJECTION}.weight"] = tensors[f"base_model.model.{PROJECTION}.weight"]
    merged = shutil.copytree(base, tmp_path / "merged")
    save_file(state, merged / "model.safetensors", {"format": "pt"})
    plain = vectors(resolved(base))
    for found, expected, unchanged in zip(vectors(resolved(adapter)), vectors(resolved(merged)), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        assert np.abs(found - unchanged).max() > 0.1


def test_rank_stabilised_scales_divide_by_the_root(base: Path, tmp_path: Path) -> None:
    tensors = pair(VALUE, (4, 32), (32, 4))
    stable = write_adapter(tmp_path / "rs", tensors, use_rslora=True, lora_alpha=4, base_model_name_or_path=str(base))
    plain = write_adapter(tmp_path / "plain", tensors, lora_alpha=8, base_model_name_or_path=str(base))
    assert resolved(stable).parts == resolved(plain).parts  # 4 / sqrt(4) = 8 / 4


def test_an_adapter_beside_its_base_is_applied_and_identified(base: Path, tmp_path: Path) -> None:
    both = write_adapter(shutil.copytree(base, tmp_path / "both"), pair(VALUE, (4, 32), (32, 4)))
    apart = write_adapter(tmp_path / "apart", pair(VALUE, (4, 32), (32, 4)), base_model_name_or_path="../both/")
    (tmp_path / "both" / "adapter_model.safetensors").rename(tmp_path / "kept.safetensors")
    assert "lacks adapter_model.safetensors" in refusal(both)
    (tmp_path / "kept.safetensors").rename(tmp_path / "both" / "adapter_model.safetensors")
    assert "has an adapter too" in refusal(apart)
    spec, plain = resolved(both), resolved(base)
    assert {name for name, value in spec.parts.items() if value != plain.parts[name]} == {"adapter"}
    assert resolved(both / "model.safetensors").parts == plain.parts  # the base alone


def test_an_adapter_of_the_authors_model_is_merged(tmp_path: Path) -> None:
    write_original(tmp_path / "clip.pt", SMALL["vit-b-16"])
    tensors = pair("visual.transformer.resblocks.0.mlp.c_fc", (4, 128), (512, 4))
    lora = write_adapter(tmp_path / "lora", tensors, base_model_name_or_path="../clip.pt")
    (images, texts), (before, same) = vectors(resolved(lora)), vectors(resolved(tmp_path / "clip.pt"))
    assert np.abs(images - before).max() > 0.01
    np.testing.assert_array_equal(texts, same)


def refusal(name: object) -> str:
    with pytest.raises(ModelError) as caught:
        resolved(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"use_dora": True}, "use_dora True"),
        ({"bias": "lora_only"}, "bias 'lora_only'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"something_new": {"a": 1}}, "something_new"),
    ],
)
def test_what_cannot_be_merged_exactly_is_refused(
    base: Path, tmp_path: Path, config: dict[str, Any], named: str
) -> None:
    both = write_adapter(shutil.copytree(base, tmp_path / "both"), pair(VALUE, (4, 32), (32, 4)), **config)
    message = refusal(both)
    assert named in message
    assert "merge_and_unload()" in message


@pytest.mark.parametrize(
    ("tensors", "config", "expected"),
    [
        (pair("text_model.nothing", (4, 32), (32, 4)), {}, "does not fit its base model at text_model.nothing.weight"),
        (pair(VALUE, (2, 32), (32, 2)), {}, "has rank 2, its configuration states 4"),
        ({f"base_model.model.{VALUE}.lora_magnitude_vector": torch.ones(32)}, {}, "no pair of LoRA"),
        (pair(VALUE, (4, 32), (32, 4)), {"base_model_name_or_path": None}, "does not name its base model: copy"),
        (pair(VALUE, (4, 32), (32, 4)), {"base_model_name_or_path": "/gone"}, "The base model /gone of the adapter in"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(
    base: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(
        write_adapter(tmp_path / "a", tensors, **{"base_model_name_or_path": str(base), **config})
    )
