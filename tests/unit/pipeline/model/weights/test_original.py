"""Checkpoints in the authors' format: same vectors as their package, every file variant, and refused files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.images.decode import decode
from pipeline.model.architecture import from_config
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.chinese_clip import ChineseClip
from pipeline.model.local.wordpiece import STANDARD_VOCABULARY_SHA256
from pipeline.model.released import VARIANTS
from pipeline.model.towers.build import load_model
from pipeline.model.towers.model import TwoTowers
from tests.fixtures.checkpoints import vocabulary
from tests.fixtures.originals import FULL, SMALL, TEXTS, tensors, write_original, write_pictures
from tests.fixtures.places import DATA

GOLDEN = DATA / "golden.npz"
CPU = {"device": "cpu"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "hanclip-cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("plain"), "vit-b-16")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("resnet"), "rn50")


def write(folder: Path, name: str, **how: Any) -> Path:
    write_words(folder)
    return write_original(folder / "clip.pt", SMALL[name], **how)


def write_words(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")


def spec_of(name: object) -> ModelSpec:
    return resolve(ModelConfig(name=str(name)))


def features(name: object, pictures: list[Path], dtype: str = "fp32", **options: Any) -> dict[str, np.ndarray]:
    clip = ChineseClip.load(spec_of(name), dtype, **CPU, **options)
    pixels = np.stack([decode(path.read_bytes(), clip.image_size, 10**8).pixels for path in pictures])
    return {"images": clip.encode_images(pixels), "texts": clip.encode_texts(TEXTS)}


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as stored:
        return {part: stored[f"{name}.{part}"] for part in ("images", "texts")}


def assert_equal_directions(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], cosine: float) -> None:
    for part, vectors in expected.items():
        assert found[part].shape == vectors.shape
        assert (found[part] * vectors).sum(axis=1).min() >= cosine


@pytest.mark.parametrize("name", SMALL)
def test_vectors_equal_those_of_the_authors_package(name: str, tmp_path: Path, pictures: list[Path]) -> None:
    found, expected = features(write(tmp_path, name), pictures), golden(name)
    for part, vectors in expected.items():
        np.testing.assert_allclose(found[part], vectors, rtol=0, atol=1e-5)
        others = vectors @ vectors.T - 2 * np.eye(len(vectors))
        assert others.max() < 0.9999  # otherwise rows in the wrong order could pass
    assert_equal_directions(found, expected, 0.999999)


@pytest.mark.parametrize("name", ["rn50", "vit-b-16"])
@pytest.mark.parametrize(("dtype", "cosine"), [("bf16", 0.999), ("fp16", 0.9999)])
def test_half_precision_keeps_the_vector_directions(
    name: str, dtype: str, cosine: float, plain: Path, resnet: Path, pictures: list[Path]
) -> None:
    found = features(resnet if name == "rn50" else plain, pictures, dtype)
    assert_equal_directions(found, golden(name), cosine)


def test_torch_compile_traces_a_resnet_as_one_graph(resnet: Path) -> None:
    model = load_model(spec_of(resnet))
    pixels = torch.zeros(2, 3, 64, 64)
    with torch.inference_mode():
        traced = torch.compile(model.image_features, backend="eager", fullgraph=True)
        torch.testing.assert_close(traced(pixels), model.image_features(pixels))


@pytest.mark.parametrize("name", ["rn50", "vit-b-16"])
def test_training_state_in_the_file_does_not_change_the_vectors(
    name: str, tmp_path: Path, pictures: list[Path]
) -> None:
    trained = write(tmp_path, name, training=True)
    assert_equal_directions(features(trained, pictures), golden(name), 0.999999)


def test_a_scalar_pickled_by_an_older_numpy_is_read(tmp_path: Path, pictures: list[Path]) -> None:
    path = write(tmp_path, "vit-b-16", training=True)
    old = tmp_path / "old.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"cnumpy._core.multiarray\n" in data
                data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            target.writestr(name, data)
    assert_equal_directions(features(old, pictures), golden("vit-b-16"), 0.999999)


def test_float16_checkpoints_are_computed_in_float32(tmp_path: Path, pictures: list[Path]) -> None:
    half = write(tmp_path, "vit-b-16", dtype="float16")
    assert half.stat().st_size < 8e6
    assert_equal_directions(features(half, pictures), golden("vit-b-16"), 0.99999)


def test_flash_attention_weight_names_give_the_same_model(tmp_path: Path, plain: Path, pictures: list[Path]) -> None:
    state = torch.load(plain, weights_only=True)["state_dict"]
    renamed = {name: tensor for name, tensor in state.items() if ".attention." not in name and "in_proj" not in name}
    for name, tensor in state.items():
        if "in_proj_" in name:
            renamed[name.replace("in_proj_", "Wqkv.")] = tensor
        elif ".attention.output.dense." in name:
            renamed[name.replace("output.dense", "self.out_proj")] = tensor
        elif ".attention.output." in name:
            renamed[name] = tensor
        elif ".self.query." in name:
            parts = [state[name.replace("query", part)] for part in ("query", "key", "value")]
            renamed[name.replace("query", "Wqkv")] = torch.cat(parts)
    assert set(renamed) == {f"module.{name}" for name, _ in tensors(SMALL["vit-b-16"], flash=True)}
    write_words(tmp_path)
    torch.save({"state_dict": renamed}, tmp_path / "flash.pt")
    assert_equal_directions(features(tmp_path / "flash.pt", pictures), golden("vit-b-16"), 0.999999)


@pytest.mark.parametrize("how", ["bare state dict", "no prefix", "old file format", "under model"])
def test_other_save_formats_are_read(how: str, plain: Path, tmp_path: Path, pictures: list[Path]) -> None:
    state = torch.load(plain, weights_only=True)["state_dict"]
    if how == "no prefix":
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    write_words(tmp_path)
    path = tmp_path / "other.pt"
    tree = {"under model": {"model": state}, "old file format": {"state_dict": state}}.get(how, state)
    torch.save(tree, path, _use_new_zipfile_serialization=how != "old file format")
    assert_equal_directions(features(path, pictures), golden("vit-b-16"), 0.999999)


def test_a_checkpoint_is_resolved_without_importing_torch(resnet: Path) -> None:
    script = (
        "import sys; from pipeline.config import ModelConfig; from pipeline.model.checkpoints import resolve\n"
        f"spec = resolve(ModelConfig(name={str(resnet)!r}))\n"
        "print(spec.dim, spec.image_size, spec.weights_file, spec.preprocessing, spec.weights_sha256)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    digest = hashlib.sha256(resnet.read_bytes()).hexdigest()
    assert run.stdout.split() == ["32", "64", "clip.pt", "squash-bicubic-64/white/v2", digest]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_variant_table_matches_the_towers(variant: Any) -> None:
    sizes = variant.architecture
    assert from_config(sizes.config()) == sizes
    with torch.device("meta"):
        model = TwoTowers(sizes)
    count = {name: parameter.numel() for name, parameter in model.named_parameters()}
    images = sum(number for name, number in count.items() if name.startswith(("vision", "visual")))
    assert (sum(count.values()), images) == (variant.parameters, variant.image_parameters)
    full = FULL[variant.name]
    assert (sizes.dim, sizes.image_size, sizes.image.width) == (full.dim, full.image, full.width)
    if not full.stages:
        assert (sizes.image.layers, sizes.patch) == (full.layers, full.patch)
        assert sizes.image.width // sizes.image.heads == full.head_width


HUB_ID = "OFA-Sys/chinese-clip-rn50"


@pytest.fixture(scope="module")
def resolved(resnet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each name resolves to where the hub's cache holds the ResNet alone.

    In one subprocess, because huggingface_hub reads its environment only on import.
    """
    home = tmp_path_factory.mktemp("home")
    write_hub_cache(home, HUB_ID, "1" * 40, clip_cn_rn50=resnet)
    names = ("ViT-L-14", "rn50", "RN50", HUB_ID, f"{HUB_ID}/clip_cn_rn50.pt")
    script = (
        "from pipeline.config import ModelConfig; from pipeline.model.checkpoints import resolve\n"
        "from pipeline.errors import ModelError\n"
        f"for name in {names!r}:\n"
        "    try: s = resolve(ModelConfig(name=name))\n"
        "    except ModelError as error: print(error)\n"
        "    else: print(s.name, s.revision, s.weights_file, s.vocabulary)\n"
    )
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    return dict(zip(names, run.stdout.splitlines(), strict=True))


def test_a_short_name_resolves_to_its_hub_id(resolved: dict[str, str]) -> None:
    message = resolved["ViT-L-14"]
    assert message.startswith("The model OFA-Sys/chinese-clip-vit-large-patch14 is not in this machine's hub cache")


@pytest.mark.parametrize("name", ["rn50", "RN50", HUB_ID, f"{HUB_ID}/clip_cn_rn50.pt"])
def test_the_resnet_from_the_hub_uses_the_bundled_vocabulary(name: str, resolved: dict[str, str]) -> None:
    model, commit, file, words = resolved[name].split()
    assert (commit, file) == ("1" * 40, "clip_cn_rn50.pt")
    assert hashlib.sha256(Path(words).read_bytes()).hexdigest() == STANDARD_VOCABULARY_SHA256
    assert model.endswith("chinese-clip-rn50") == (not name.endswith(".pt"))


def write_hub_cache(home: Path, hub_id: str, commit: str, **originals: Path) -> Path:
    """Write the cache entry that huggingface_hub leaves after a download; returns the snapshot folder."""
    repository = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for stem, path in originals.items():
        shutil.copy(path, snapshot / f"{stem}.pt")
    return snapshot


def test_a_folder_with_one_original_file_is_a_model(plain: Path, resnet: Path, tmp_path: Path) -> None:
    spec = spec_of(plain.parent)
    folder = plain.parent.resolve()
    assert (spec.folder, spec.weights_file, spec.vocabulary) == (str(folder), "clip.pt", str(folder / "vocab.txt"))
    write_words(tmp_path)
    for path, name in ((plain, "a.pt"), (resnet, "b.pt")):
        shutil.copy(path, tmp_path / name)
    with pytest.raises(
        ModelError, match=r"holds different weights in a\.pt, b\.pt: give one of them as --model .*/FILE\."
    ):
        spec_of(tmp_path)
    assert spec_of(tmp_path / "b.pt").image_size == 64


@pytest.mark.parametrize("address", ["clip.pt", ""], ids=["file", "folder"])
def test_a_url_is_downloaded_with_the_vocabulary_next_to_it(plain: Path, tmp_path: Path, address: str) -> None:
    remote = shutil.copytree(plain.parent, tmp_path / "remote")
    (remote / "notes.txt").write_text("not needed")
    spec = spec_of(f"file://{remote}/{address}")
    assert sorted(path.name for path in Path(spec.folder).iterdir()) == ["clip.pt", "vocab.txt"]
    assert spec.weights_sha256 == hashlib.sha256(plain.read_bytes()).hexdigest()
    assert spec.folder != str(remote)


def changed_checkpoint(plain: Path, tmp_path: Path, change: Any) -> Path:
    """The checkpoint with `change` applied, next to its vocabulary."""
    state = torch.load(plain, weights_only=True)["state_dict"]
    change(state)
    write_words(tmp_path)
    torch.save({"state_dict": state}, tmp_path / "changed.pt")
    return tmp_path / "changed.pt"


BLOCK = "module.visual.transformer.resblocks.1"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda s: s.pop(f"{BLOCK}.ln_1.bias"),
            r"do not fit each other in 1 places, .*layers.1.layer_norm1.bias",
        ),
        (
            lambda s: s.update({"module.extra.weight": torch.zeros(3)}),
            r"not part of a Chinese CLIP: extra\.weight",
        ),
        (
            lambda s: s.update({"module.visual.proj": torch.zeros(128, 31)}),
            r"in 1 places, visual_projection.weight first",
        ),
        (
            lambda s: s.update({f"{BLOCK}.attn.in_proj_bias": torch.zeros(3 * 128 + 1)}),
            r"in 3 places, .*layers.1.self_attn.k_proj.bias",
        ),
    ],
    ids=["missing", "unexpected", "another shape", "no three parts"],
)
def test_weights_that_do_not_fit_each_other_are_refused(
    plain: Path, tmp_path: Path, change: Any, expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        ChineseClip.load(spec_of(changed_checkpoint(plain, tmp_path, change)), "fp32", **CPU)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: [s.pop(key) for key in list(s) if "bert." in key], "it is not a Chinese CLIP"),
        (lambda s: s.pop("module.visual.conv1.weight"), "it is not a Chinese CLIP"),
        (
            lambda s: s.update({"module.visual.positional_embedding": torch.zeros(16, 128)}),
            "15 positions, which are not a square",
        ),
        (
            lambda s: s.update({"module.visual.conv1.weight": torch.zeros(96, 3, 16, 16)}),
            "96 wide, which is not a multiple of its heads' width in the released models",
        ),
    ],
    ids=["no text tower", "no image tower", "no square", "no heads"],
)
def test_other_architectures_are_refused_when_resolved(plain: Path, tmp_path: Path, change: Any, expected: str) -> None:
    path = changed_checkpoint(plain, tmp_path, change)
    with pytest.raises(ModelError, match=expected) as caught:
        spec_of(path)
    assert str(caught.value).startswith(str(path))


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_with_code_is_refused_and_not_executed(plain: Path, tmp_path: Path) -> None:
    write_words(tmp_path)
    tree = {**torch.load(plain, weights_only=True), "extra": Malicious(tmp_path / "it-ran")}
    torch.save(tree, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match=r"holds a posix\.mkdir, which is not a weight and might run code"):
        spec_of(tmp_path / "evil.pt")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("size", [0, 1000, 1_000_000])
def test_damaged_files_are_reported(plain: Path, tmp_path: Path, size: int) -> None:
    write_words(tmp_path)
    (tmp_path / "cut.pt").write_bytes(plain.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"cut\.pt cannot be loaded .*: download or copy this file again"):
        spec_of(tmp_path / "cut.pt")


@pytest.mark.parametrize("content", [b"", "红色连衣裙\n".encode(), torch.zeros(3)], ids=["empty", "text", "tensor"])
def test_files_that_are_not_checkpoints_are_reported(tmp_path: Path, content: bytes | torch.Tensor) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ModelError, match=r"mine\.pt cannot be loaded .* or not a checkpoint of Chinese CLIP: download"):
        spec_of(path)


def test_a_vocabulary_that_is_too_large_is_refused(tmp_path: Path) -> None:
    write_words(tmp_path)
    write_original(tmp_path / "clip.pt", replace(SMALL["vit-b-16"], vocabulary=21127))
    with pytest.raises(ModelError, match="has 21,128 tokens, the text tower knows 21,127"):
        ChineseClip.load(spec_of(tmp_path), "fp32", **CPU)
