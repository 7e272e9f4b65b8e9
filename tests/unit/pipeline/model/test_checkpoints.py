"""Resolving model names to validated folders: every released layout, and a clear error for each unsupported one."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import ModelConfig
from pipeline.errors import HanclipError, ModelError
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.files.find import demo_folder
from pipeline.model.local.wordpiece import Rules
from tests.fixtures.checkpoints import CLIP_MEAN, CLIP_STD, write_checkpoint


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("released"), weights="bin")


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("modern"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hanclip-cache"
    monkeypatch.setenv("HANCLIP_CACHE", str(folder))
    return folder


def resolved(name: object, **options: Any) -> ModelSpec:
    return resolve(ModelConfig(name=str(name), **options))


def refusal(name: object, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        resolved(name, **options)
    return str(caught.value)


def copy(folder: Path, to: Path, **changes: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a model folder; each keyword is a function that edits the JSON file of that name."""
    shutil.copytree(folder, to)
    for stem, change in changes.items():
        path = to / f"{stem}.json"
        tree = json.loads(path.read_text())
        change(tree)
        path.write_text(json.dumps(tree))
    return to


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_released_layout_resolves(released: Path) -> None:
    assert sorted(p.name for p in released.iterdir()) == [
        "config.json",
        "preprocessor_config.json",
        "pytorch_model.bin",
        "vocab.txt",
    ]
    spec = resolved(released)
    assert spec == ModelSpec(
        name=str(released),
        folder=str(released.resolve()),
        revision=None,
        weights_sha256=sha256(released / "pytorch_model.bin"),
        weights_file="pytorch_model.bin",
        sizes=spec.sizes,
        image_size=32,
        image_mean=tuple(CLIP_MEAN),
        image_std=tuple(CLIP_STD),
        dim=16,
        preprocessing="squash-bicubic-32/white/v2",
        vocabulary=str(released.resolve() / "vocab.txt"),
        rules=Rules(),
        context_length=52,
        parts={
            "weights": spec.parts["weights"],
            "adapter": None,
            "vocabulary": sha256(released / "vocab.txt"),
            "tokenizer": {},
            "context_length": 52,
            "configuration": {"vision_config.num_attention_heads": 2, "text_config.num_attention_heads": 2},
        },
    )
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_safetensors_are_preferred_to_a_pickle(modern: Path, released: Path, tmp_path: Path) -> None:
    both = copy(modern, tmp_path / "both")
    shutil.copy(released / "pytorch_model.bin", both)
    spec = resolved(both)
    assert (spec.weights_file, spec.weights_sha256) == ("model.safetensors", sha256(modern / "model.safetensors"))


def test_the_digest_of_sharded_weights_is_that_of_their_sha256sum_listing(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "sharded", weights="sharded")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    listing = subprocess.run(["sha256sum", *(p.name for p in shards)], cwd=folder, capture_output=True, check=True)
    spec = resolved(folder)
    assert spec.weights_file == "model.safetensors.index.json"
    assert spec.weights_sha256 == hashlib.sha256(listing.stdout).hexdigest()
    shards[0].unlink()
    assert f"lacks {shards[0].name}, which model.safetensors.index.json lists: copy" in refusal(folder)


def test_digests_are_cached_until_the_file_changes(modern: Path, tmp_path: Path, cache: Path) -> None:
    folder = copy(modern, tmp_path / "model")
    first = resolved(folder).weights_sha256
    (cached,) = (cache / "sha256").iterdir()
    cached.write_text("f" * 64)
    assert resolved(folder).weights_sha256 == "f" * 64
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert resolved(folder).weights_sha256 == first


def test_an_unwritable_cache_is_not_an_error(modern: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", "/dev/null/cache")
    assert resolved(modern).weights_sha256 == sha256(modern / "model.safetensors")


def test_weights_that_differ_from_the_pinned_digest_are_refused(modern: Path) -> None:
    digest = sha256(modern / "model.safetensors")
    assert resolved(modern, weights_sha256=digest).weights_sha256 == digest
    message = refusal(modern, weights_sha256="0" * 64)
    assert digest in message
    assert "0" * 64 in message
    assert message.endswith("use the pinned model, or change weights_sha256.")
    whole = resolved(modern).model_sha256
    assert resolved(modern, model_sha256=whole).model_sha256 == whole
    assert whole in refusal(modern, model_sha256="0" * 64)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "pytorch_model.bin"])
def test_advice_on_a_missing_file_keeps_the_users_weights(released: Path, tmp_path: Path, name: str) -> None:
    words = [f"{number}" for number in range(5000)]
    folder = copy(released, tmp_path / "model")
    (folder / name).unlink()
    if name == "vocab.txt":  # of another size than the one that ships
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        table = "text_model.embeddings.word_embeddings.weight"
        torch.save({**state, table: state[table][: len(words)].clone()}, folder / "pytorch_model.bin")
        copy_config = json.loads((folder / "config.json").read_text())
        copy_config["text_config"]["vocab_size"] = len(words)
        (folder / "config.json").write_text(json.dumps(copy_config))
    message = refusal(folder)
    assert str(folder) in message
    assert "huggingface.co" not in message
    if name != "pytorch_model.bin":
        assert f"{name} of the model that yours was tuned from beside" in message


def test_a_missing_preprocessor_follows_from_the_weights(released: Path, tmp_path: Path) -> None:
    folder = copy(released, tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    assert resolved(folder).parts == resolved(released).parts
    assert resolved(folder).preprocessing == resolved(released).preprocessing


def test_files_written_by_transformers_5_are_read(modern: Path, tmp_path: Path) -> None:
    from transformers import BertTokenizer, ChineseCLIPProcessor
    from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil

    folder = copy(modern, tmp_path / "saved")
    tokenizer = BertTokenizer.from_pretrained(modern)
    images = ChineseCLIPImageProcessorPil.from_pretrained(modern)
    (folder / "vocab.txt").unlink()
    (folder / "preprocessor_config.json").unlink()
    ChineseCLIPProcessor(images, tokenizer).save_pretrained(folder)
    assert not (folder / "vocab.txt").exists()
    spec = resolved(folder)
    assert (spec.image_size, spec.image_mean, spec.image_std) == (32, tuple(CLIP_MEAN), tuple(CLIP_STD))


@pytest.mark.parametrize(
    "size", [32, {"height": 32, "width": 32}, {"shortest_edge": 32}], ids=["number", "square", "shortest edge"]
)
def test_every_format_of_the_image_size_is_accepted(modern: Path, tmp_path: Path, size: object) -> None:
    folder = copy(modern, tmp_path / "model", preprocessor_config=lambda tree: tree.update(size=size))
    assert resolved(folder).image_size == 32


def test_other_means_are_used_and_change_the_preprocessing_id(modern: Path, tmp_path: Path) -> None:
    folder = copy(modern, tmp_path / "model", preprocessor_config=lambda tree: tree.update(image_mean=[0.5, 0.5, 0.5]))
    spec = resolved(folder)
    assert spec.image_mean == (0.5, 0.5, 0.5)
    assert spec.preprocessing.startswith("squash-bicubic-32/white/v2/")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"do_center_crop": True, "size": {"shortest_edge": 32}}, "a center crop that cuts"),
        ({"do_center_crop": True, "crop_size": {"height": 24, "width": 24}}, "a center crop that cuts"),
        ({"resample": 2}, "resample=2"),
        ({"do_normalize": False}, "do_normalize=False"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor other than 1/255"),
    ],
)
def test_unsupported_preprocessing_is_refused(
    modern: Path, tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    folder = copy(modern, tmp_path / "model", preprocessor_config=lambda tree: tree.update(change))
    message = refusal(folder)
    assert expected in message
    assert "preprocessor_config.json" in message


def test_a_crop_that_removes_nothing_is_accepted(modern: Path, tmp_path: Path) -> None:
    change = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    folder = copy(modern, tmp_path / "model", preprocessor_config=lambda tree: tree.update(change))
    assert resolved(folder).image_size == 32


@pytest.mark.parametrize("size", [{"height": 32, "width": 48}, {}, None, "large"])
def test_an_invalid_size_is_refused(modern: Path, tmp_path: Path, size: object) -> None:
    folder = copy(modern, tmp_path / "model", preprocessor_config=lambda tree: tree.update(size=size))
    assert "preprocessor_config.json cannot be parsed" in refusal(folder)


def test_files_of_different_models_are_refused(modern: Path, tmp_path: Path) -> None:
    folder = copy(modern, tmp_path / "model", preprocessor_config=lambda tree: tree.update(size=224))
    assert "the preprocessor resizes to 224 pixels, the image tower takes 32" in refusal(folder)


def test_another_model_type_is_refused(modern: Path, tmp_path: Path) -> None:
    folder = copy(modern, tmp_path / "model", config=lambda tree: tree.update(model_type="clip"))
    assert "describes a model of type 'clip', not chinese_clip" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be parsed" in refusal(folder)


@pytest.mark.parametrize("name", ["./no/such/folder", "nothing", "/no/folder", "a/b/c", "clip_cn_rn50.pt", "a/b.pt"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_refused(name: str) -> None:
    assert refusal(name) == (
        f"There is no model {name}: give rn50, vit-b-16, vit-l-14, vit-l-14-336, vit-h-14 or demo, a folder, a file "
        "with weights, a URL of either, a hub id like OFA-Sys/chinese-clip-vit-base-patch16, or modelscope:ORG/NAME as "
        "--model."
    )


def test_a_url_is_downloaded_once_and_again_after_it_changes(modern: Path, tmp_path: Path, cache: Path) -> None:
    remote = copy(modern, tmp_path / "remote")
    (remote / "README.md").write_text("not needed")
    (remote / "modeling.py").write_text("never fetched")
    (remote / "nested").mkdir()
    (remote / "nested" / "model.safetensors").write_bytes(b"of something else")
    url = f"file://{remote}"
    first = resolved(url)
    assert first.name == url
    assert Path(first.folder).parent == cache / "models"
    assert sorted(p.name for p in Path(first.folder).iterdir()) == sorted(p.name for p in modern.iterdir())
    assert first.weights_sha256 == sha256(modern / "model.safetensors")
    config_file = Path(first.folder) / "config.json"
    before = config_file.stat().st_ino
    assert resolved(url) == first
    assert config_file.stat().st_ino == before
    os.utime(remote / "model.safetensors", ns=(1, 1))
    again = resolved(url)
    assert again.folder != first.folder
    assert again.weights_sha256 == first.weights_sha256
    assert {p.parent for p in cache.glob("models/*/*")} == {Path(first.folder), Path(again.folder)}


def test_an_incomplete_url_is_refused_before_anything_is_downloaded(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(HanclipError, match="nowhere"):
        resolved(f"file://{tmp_path}/nowhere")
    (tmp_path / "config.json").write_text("{}")
    assert f"has no weights in file://{tmp_path}: copy yours there" in refusal(f"file://{tmp_path}")
    assert not cache.exists()


def write_hub_cache(home: Path, files: Path, hub_id: str, commit: str) -> None:
    """Write the cache entry that huggingface_hub leaves after a download."""
    repository = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(files, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def resolve_in_new_process(name: str, home: Path, revision: str | None = None, **environment: str) -> str:
    """Resolve in a subprocess, because huggingface_hub reads its environment only on import."""
    script = (
        "import sys; from pipeline.config import ModelConfig; from pipeline.model.checkpoints import resolve\n"
        f"from pipeline.errors import ModelError\n"
        f"try: spec = resolve(ModelConfig(name={name!r}, revision={revision!r})); print(spec.folder, spec.revision)\n"
        f"except ModelError as error: print(error)\n"
        f"assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), **environment}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    return run.stdout.strip()


def test_a_hub_id_is_read_from_the_cache_when_offline(released: Path, tmp_path: Path) -> None:
    commit = "36e679e65c2a2fead755ae21162091293ad37834"
    write_hub_cache(tmp_path, released, "OFA-Sys/chinese-clip-vit-base-patch16", commit)
    found = resolve_in_new_process("OFA-Sys/chinese-clip-vit-base-patch16", tmp_path, HF_HUB_OFFLINE="1")
    folder, revision = found.split()
    assert Path(folder).name == revision == commit
    pinned = resolve_in_new_process("OFA-Sys/chinese-clip-vit-base-patch16", tmp_path, commit, HF_HUB_OFFLINE="1")
    assert pinned == found


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_an_unreachable_hub_id_is_reported_with_the_files_to_download(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    message = resolve_in_new_process("OFA-Sys/chinese-clip-vit-large-patch14", tmp_path, "v9", **environment)
    assert "OFA-Sys/chinese-clip-vit-large-patch14 at revision v9 is not in this machine's hub cache" in message
    assert "vocab.txt" in message
    assert "https://huggingface.co/OFA-Sys/chinese-clip-vit-large-patch14 into one folder" in message
    assert message.endswith("--model FOLDER.")


def test_the_demo_model_is_found_by_name() -> None:
    try:
        folder = demo_folder()
    except ModelError:
        pytest.skip("no demo model in this checkout")
    spec = resolved("demo")
    assert (spec.name, spec.folder) == ("demo", str(folder))
    assert spec.weights_sha256 == sha256(folder / spec.weights_file)
