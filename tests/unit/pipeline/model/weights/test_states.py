"""Fine-tuned checkpoints load by their content: any wrapper, prefix, suffix and format; what is unclear is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.weights.tensors import read_tree, read_values
from tests.fixtures.checkpoints import vocabulary, write_checkpoint
from tests.fixtures.originals import SMALL, write_original

FEW = vocabulary()[:200]
WORDS = "text_model.embeddings.word_embeddings.weight"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "hanclip-cache"))


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    path = write_original(tmp_path_factory.mktemp("plain") / "clip.pt", replace(SMALL["vit-b-16"], vocabulary=len(FEW)))
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("folder"))


def resolved(name: object, **options: Any) -> ModelSpec:
    return resolve(ModelConfig(name=str(name), **options))


def refusal(name: object) -> str:
    with pytest.raises(ModelError) as caught:
        resolved(name)
    return str(caught.value)


def saved(tree: Any, path: Path, **how: Any) -> Path:
    """Save a checkpoint beside its vocabulary, which is smaller than the released one to save time."""
    torch.save(tree, path, **how)
    if not (path.parent / "vocab.txt").exists():
        (path.parent / "vocab.txt").write_text("\n".join(FEW) + "\n", encoding="utf-8")
    return path


def prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def fsdp(state: dict[str, Any]) -> dict[str, Any]:
    """Wrappers at the front and in the middle, as FSDP around layers leaves them."""
    parts = {"encoder.layer.": "encoder.layer._fsdp_wrapped_module.", "visual.": "visual._fsdp_wrapped_module."}
    found = {}
    for name, tensor in state.items():
        for plain, wrapped in parts.items():
            name = name.replace(plain, wrapped)
        found[f"_fsdp_wrapped_module.{name}"] = tensor
    return found


@pytest.mark.parametrize(
    "wrap",
    [
        prefixed("module.module."),
        prefixed("model."),
        prefixed("_orig_mod.module."),
        prefixed("clip.model."),
        fsdp,
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {0: {"exp": torch.ones(9)}}}},
        lambda state: {"module": state, "optimizer": None, "lr_scheduler": {}},
        lambda state: {"ema": prefixed("module.")(state), "epoch": torch.tensor(3)},
        lambda state: {"checkpoint": {"net": prefixed("clip.")(state)}},
        lambda state: {"state_dict": prefixed("model.")(state) | {"loss_fn.queue": torch.ones(4)}, "loops": {}},
        lambda state: {**state, "visual.position_ids": torch.arange(3), "bert.pooler.dense.bias": torch.ones(3)},
    ],
)
def test_a_state_is_found_whatever_wraps_it(wrap: Any, authors: dict[str, Any], tmp_path: Path) -> None:
    expected = resolved(saved(authors, tmp_path / "plain.pt"))
    found = resolved(saved(wrap(authors), tmp_path / "wrapped.pth"))
    assert (found.parts, found.model_sha256) == (expected.parts, expected.model_sha256)


@pytest.mark.parametrize("name", ["mine.pth", "mine.ckpt", "pytorch_model.bin", "old.pt", "half.bin", "views.pt"])
def test_the_digest_of_the_weights_does_not_depend_on_the_file(
    name: str, authors: dict[str, Any], tmp_path: Path
) -> None:
    state = {key: tensor.half().float() for key, tensor in authors.items()}
    expected = resolved(saved(state, tmp_path / "plain.pt")).parts
    if name == "half.bin":
        state = {key: tensor.half() for key, tensor in state.items()}
    if name == "views.pt":
        state = {key: tensor.T.contiguous().T if tensor.ndim == 2 else tensor for key, tensor in state.items()}
    saved(state, tmp_path / name, _use_new_zipfile_serialization=name != "old.pt")
    assert resolved(tmp_path / name).parts == expected


def test_a_folder_and_a_path_into_it_are_one_model(folder: Path, tmp_path: Path) -> None:
    expected = resolved(folder)
    assert resolved(folder / "model.safetensors").parts == expected.parts
    other = shutil.copytree(folder, tmp_path / "prefixed")
    state = load_file(folder / "model.safetensors")
    save_file({f"clip._orig_mod.{name}": tensor for name, tensor in state.items()}, other / "model.safetensors")
    assert resolved(other).parts == expected.parts


def test_a_modelscope_folder_with_the_authors_weights_is_a_model(authors: dict[str, Any], tmp_path: Path) -> None:
    expected = resolved(saved(authors, tmp_path / "plain.pt")).parts
    scope = tmp_path / "modelscope"
    scope.mkdir()
    saved({"state_dict": prefixed("module.")(authors)}, scope / "pytorch_model.bin")
    (scope / "configuration.json").write_text('{"framework": "pytorch"}')
    spec = resolved(scope)
    assert spec.parts == expected
    assert spec.vocabulary == str(scope / "vocab.txt")


def test_of_several_states_one_must_be_chosen(authors: dict[str, Any], tmp_path: Path) -> None:
    average = {name: tensor * 0.5 for name, tensor in authors.items()}
    path = saved({"state_dict": authors, "state_dict_ema": average}, tmp_path / "both.pt")
    message = refusal(path)
    assert "the weights of 2 models, at state_dict, state_dict_ema" in message
    assert message.endswith(f"--model {path}#state_dict.")
    assert resolved(f"{path}#state_dict").parts == resolved(saved(authors, tmp_path / "one.pt")).parts
    assert resolved(f"{path}#state_dict_ema").parts == resolved(saved(average, tmp_path / "two.pt")).parts
    assert "and none at ema: choose one" in refusal(f"{path}#ema")


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (lambda s: {**s, "image_adapter.fc.weight": torch.ones(4, 4)}, "image_adapter.fc.weight"),
        (lambda s: {"state_dict": s, "adapter": {"fc.weight": torch.ones(4, 4)}}, "adapter.fc.weight"),
        (lambda s: prefixed("model.")(s) | {"head.weight": torch.ones(4, 4)}, "head.weight"),
        (lambda s: {**s, "bert.encoder.layer.0.attention.self.query.lora_A.weight": torch.ones(2, 4)}, "merge_and_un"),
    ],
    ids=["in the state", "beside it", "outside its prefix", "an adapter"],
)
def test_tensors_that_may_change_vectors_are_refused_by_name(
    tree: Any, names: str, authors: dict[str, Any], tmp_path: Path
) -> None:
    assert names in refusal(saved(tree(authors), tmp_path / "more.pt"))


def test_an_address_leaves_out_what_is_outside_it(authors: dict[str, Any], tmp_path: Path) -> None:
    path = saved({"net": prefixed("model.")(authors) | {"head.weight": torch.ones(4, 4)}}, tmp_path / "more.pt")
    assert f"give --model {path}#net.model;" in refusal(path)
    assert resolved(f"{path}#net.model").parts == resolved(saved(authors, tmp_path / "plain.pt")).parts


def test_a_file_without_a_model_is_described(tmp_path: Path) -> None:
    path = saved({"generator": {"layers.0.weight": torch.ones(2, 2)}, "epoch": 3}, tmp_path / "gan.pt")
    message = refusal(path)
    assert "At its top level are: epoch, generator. It has 1 tensors, such as generator.layers.0.weight." in message


def test_git_lfs_pointers_are_named(folder: Path, tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 7\n"
    for name in ("model.safetensors", "config.json", "vocab.txt"):
        clone = shutil.copytree(folder, tmp_path / name)
        (clone / name).write_bytes(pointer)
        assert f"{name} is a pointer of Git LFS, not the file itself: run `git lfs pull`" in refusal(clone)


def test_a_byte_order_mark_changes_nothing(folder: Path, tmp_path: Path) -> None:
    clone = shutil.copytree(folder, tmp_path / "bom")
    for name in ("config.json", "vocab.txt"):
        (clone / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert resolved(clone).parts == resolved(folder).parts


def test_torchscript_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "traced.pt", "w") as archive:  # as torch.jit.save writes it
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"traced/{name}", b"")
    assert "is a TorchScript program, not weights alone: save its weights" in refusal(tmp_path / "traced.pt")


def test_a_byte_that_changed_on_disk_is_found(authors: dict[str, Any], tmp_path: Path) -> None:
    path = saved(authors, tmp_path / "clip.pt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert "clip.pt cannot be loaded (BadZipFile: Bad CRC-32" in refusal(path)


def test_a_file_that_torch_wrote_without_checksums_is_read(authors: dict[str, Any], tmp_path: Path) -> None:
    expected = resolved(saved(authors, tmp_path / "plain.pt")).parts
    torch.serialization.set_crc32_options(False)
    try:
        saved(authors, tmp_path / "unsummed.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert resolved(tmp_path / "unsummed.pt").parts == expected


def test_nan_weights_are_named(authors: dict[str, Any], tmp_path: Path) -> None:
    broken = {**authors, "visual.proj": torch.full_like(authors["visual.proj"], float("nan"))}
    message = refusal(saved(broken, tmp_path / "diverged.pt"))
    assert "NaN or infinity in 1 of" in message
    assert "visual_projection.weight" in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "finetuned.pt"])
def test_different_weights_in_one_folder_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    both = shutil.copytree(folder, tmp_path / "both")
    state = load_file(folder / "model.safetensors")
    saved(state, both / name)
    saved({"step": 3}, both / "optimizer.pt")
    assert resolved(both).weights_file == "model.safetensors"  # equal weights
    saved({**state, WORDS: state[WORDS] + 1}, both / name)
    message = refusal(both)
    assert f"holds different weights in model.safetensors, {name}: give one of them as --model {both}/FILE." in message
    assert resolved(both / name).parts["weights"] != resolved(folder).parts["weights"]


def test_everything_that_feeds_the_vectors_is_a_part(folder: Path, tmp_path: Path) -> None:
    plain = resolved(folder)

    def changed(name: str, change: Callable[[str], str]) -> ModelSpec:
        clone = shutil.copytree(folder, tmp_path / str(len(list(tmp_path.iterdir()))))
        before = (clone / name).read_text(encoding="utf-8") if (clone / name).exists() else ""
        (clone / name).write_text(change(before), encoding="utf-8")
        return resolved(clone)

    def configured(key: str, value: object) -> Callable[[str], str]:
        def change(text: str) -> str:
            tree = json.loads(text)
            tree["text_config"][key] = value
            return json.dumps(tree, indent=7)

        return change

    different = {
        "configuration": changed("config.json", configured("hidden_act", "relu")),
        "vocabulary": changed("vocab.txt", lambda text: text.replace("红\n", "?\n").replace("蓝\n", "红\n")),
        "tokenizer": changed("tokenizer_config.json", lambda _: '{"do_lower_case": false, "strip_accents": true}'),
        "context_length": resolved(folder, context_length=40),
    }
    for name, spec in different.items():
        assert {part for part, value in spec.parts.items() if value != plain.parts[part]} == {name}
        assert spec.model_sha256 != plain.model_sha256
    assert different["configuration"].parts["configuration"]["text_config.hidden_act"] == "relu"
    same = [
        changed("config.json", configured("initializer_range", 0.5)),
        changed("tokenizer_config.json", lambda _: '{"do_lower_case": true, "model_max_length": 512}'),
    ]
    assert {spec.model_sha256 for spec in same} == {plain.model_sha256}


def test_a_context_length_beyond_the_text_tower_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"--context-length is 65, and the text tower has 64 positions: give"):
        resolved(folder, context_length=65)


def test_a_tensor_that_steps_back_out_of_its_numbers_is_damage(tmp_path: Path) -> None:
    torch.save({"x": torch.arange(4.0)}, tmp_path / "a.pt")
    stored = read_tree(tmp_path / "a.pt")["x"]
    assert read_values(replace(stored, shape=(2, 2), strides=(1, 2))).tolist() == [[0, 2], [1, 3]]
    for shape, strides in (((2, 2), (3, -3)), ((5,), (1,)), ((-1, 2), (1, 1))):
        with pytest.raises(ModelError, match="ValueError: a tensor of shape"):
            read_values(replace(stored, shape=shape, strides=strides))
