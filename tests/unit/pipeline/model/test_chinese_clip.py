"""Chinese CLIP vectors, compared with a plain loop over transformers' processor, tokenizer and model."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from pipeline.config import ModelConfig
from pipeline.errors import HanclipError, ModelError
from pipeline.images.decode import decode
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.model.chinese_clip import ChineseClip, Tuning, default_batch_size
from pipeline.model.engine.open import device_for
from pipeline.model.files.find import demo_folder
from pipeline.model.local.wordpiece import Rules
from pipeline.model.tokenizer import TextRows, Tokenizer
from pipeline.model.towers.build import Tokens
from tests.fixtures.checkpoints import random_model, vocabulary, write_checkpoint

TEXTS = [
    "红色连衣裙",
    "",
    "A red DRESS, size 42!",
    "“新款”夏季",
    "[MASK] 手机 [SEP] [PAD]",
    "很长的标题" * 40,
    "a" * 150 + " b",
    "Ünïcödé ＡＢＣ １２３",
    "😀🎉",
    "  \t空格 \n 换行  ",
    "红色连衣裙",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "hanclip-cache"))


def spec_of(folder: Path) -> ModelSpec:
    return resolve(ModelConfig(name=str(folder)))


def load(folder: Path, dtype: str = "fp32", **options: Any) -> ChineseClip:
    return ChineseClip.load(spec_of(folder), dtype, device="cpu", **options)


def encoded_pictures(count: int) -> list[bytes]:
    rng = np.random.default_rng(7)
    found = []
    for i in range(count):
        colours = rng.integers(0, 256, (2 + i % 5, 3, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        image = Image.fromarray(colours).resize((120 + 17 * i, 90 + 31 * (i % 4)), Image.Resampling.BICUBIC)
        (image.convert("L") if i % 5 == 4 else image).save(buffer, "JPEG" if i % 2 else "PNG")
        found.append(buffer.getvalue())
    return found


def pixels_of(pictures: list[bytes], size: int) -> np.ndarray:
    return np.stack([decode(data, size, 10**8).pixels for data in pictures])


@torch.no_grad()
def reference_images(folder: Path, pictures: list[bytes]) -> np.ndarray:
    """One picture at a time through transformers' processor and model, in float32."""
    model = transformers.ChineseCLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.ChineseCLIPImageProcessorPil.from_pretrained(folder)
    rows = [processor(Image.open(io.BytesIO(data)), return_tensors="pt") for data in pictures]
    return unit([model.get_image_features(**row).pooler_output[0].numpy() for row in rows])


@torch.no_grad()
def reference_texts(folder: Path, texts: list[str]) -> np.ndarray:
    """One text at a time, padded to 52 tokens as the reference does."""
    model = transformers.ChineseCLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = [reference_tokens(folder, text) for text in texts]
    return unit([model.get_text_features(**row).pooler_output[0].numpy() for row in rows])


@cache
def plain_tokenizer(folder: Path) -> Any:
    return transformers.BertTokenizer.from_pretrained(folder)


def reference_tokens(folder: Path, text: str) -> Any:
    tokenizer = plain_tokenizer(folder)
    folded = text.lower().replace("“", '"').replace("”", '"')
    return tokenizer(
        folded,
        padding="max_length",
        truncation=True,
        max_length=52,
        split_special_tokens=True,
        return_tensors="pt",
    )


def unit(rows: list[np.ndarray]) -> np.ndarray:
    return np.stack([row / np.linalg.norm(row) for row in rows])


def assert_same_directions(found: np.ndarray, expected: np.ndarray, cosine: float) -> None:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert (found * expected).sum(axis=1).min() >= cosine


@pytest.mark.parametrize(("dtype", "cosine"), [("fp32", 0.99999), ("bf16", 0.999), ("fp16", 0.9999)])
def test_image_vectors_equal_the_reference(tiny: Path, dtype: str, cosine: float) -> None:
    pictures = encoded_pictures(11)
    expected = reference_images(tiny, pictures)
    others = expected @ expected.T - 2 * np.eye(11)
    assert others.max() < 0.9999  # otherwise rows in the wrong order could pass
    found = load(tiny, dtype, batch_size=4).encode_images(pixels_of(pictures, 32))
    assert_same_directions(found, expected, cosine)


@pytest.mark.parametrize(("dtype", "cosine"), [("fp32", 0.99999), ("bf16", 0.999), ("fp16", 0.9999)])
def test_text_vectors_equal_the_reference(tiny: Path, dtype: str, cosine: float) -> None:
    expected = reference_texts(tiny, TEXTS)
    found = load(tiny, dtype, batch_size=1).encode_texts(TEXTS)
    assert_same_directions(found, expected, cosine)
    assert (expected[0] * expected[3]).sum() < 0.99


@pytest.mark.parametrize("weights", ["bin", "sharded"])
def test_every_released_format_gives_the_same_vectors(tiny: Path, tmp_path: Path, weights: Any) -> None:
    other = write_checkpoint(tmp_path / "other", weights=weights)
    pixels = pixels_of(encoded_pictures(3), 32)
    np.testing.assert_array_equal(load(other).encode_images(pixels), load(tiny).encode_images(pixels))
    np.testing.assert_array_equal(load(other).encode_texts(TEXTS), load(tiny).encode_texts(TEXTS))


def test_the_vocabulary_inside_a_tokenizer_json_is_used(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    shutil.copytree(tiny, folder)
    transformers.BertTokenizer.from_pretrained(tiny).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    np.testing.assert_array_equal(load(folder).encode_texts(TEXTS), load(tiny).encode_texts(TEXTS))


def test_attributes_describe_the_loaded_model(tiny: Path) -> None:
    clip = load(tiny, "bf16", batch_size=7)
    assert (clip.dim, clip.image_size, clip.batch_size) == (16, 32, 7)
    assert (clip.dtype, clip.device, clip.device_name) == (torch.bfloat16, torch.device("cpu"), "cpu")
    assert clip.logit_scale == pytest.approx(np.exp(4.6052), rel=1e-6)  # read before bf16 could round it
    # A subclass of str, as torch has for its version, would make a driver import torch.
    assert {type(value) for value in clip.makers.values()} == {str}
    assert clip.makers["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert (clip.shape, clip.makers["passes"], clip.makers["bits"]) == (None, "varying", "none")


def test_exact_models_name_their_passes_and_their_bits(tiny: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        clip, again = (load(tiny, tuning=Tuning(exact=True)) for _ in range(2))
        other = load(write_checkpoint(tmp_path / "other", seed=1), tuning=Tuning(exact=True))
        assert clip.makers == again.makers
        assert clip.makers["passes"] == other.makers["passes"] == "exact: rows 1; texts unpadded; threads 1"
        assert clip.makers["bits"] != other.makers["bits"]
        alone = np.concatenate([clip.encode_texts([text]) for text in TEXTS])
        assert np.array_equal(clip.encode_texts(TEXTS), alone)
    finally:
        torch.set_num_threads(threads)


def test_auto_selects_bf16_only_on_cpus_that_support_it(tiny: Path) -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    expected = torch.bfloat16 if flags & {"avx512_bf16", "amx_bf16"} else torch.float32
    assert load(tiny, "auto").dtype == expected


def test_a_missing_gpu_is_reported(tiny: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="no GPU for device cuda"):
        ChineseClip.load(spec_of(tiny), device="cuda")


def test_empty_input_gives_empty_output(tiny: Path) -> None:
    clip = load(tiny)
    assert clip.encode_images(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, 16)
    assert clip.encode_texts([]).shape == (0, 16)


def test_texts_of_nothing_that_the_vocabulary_has_are_flagged(tiny: Path) -> None:
    found = load(tiny).begin_texts(["红", "……", "红…", "…" * 60])
    assert found.unknown.tolist() == [False, True, False, True]
    assert found.too_long.tolist() == [False, False, False, True]


def encode(tokenizer: Tokenizer, texts: list[str]) -> TextRows:
    return tokenizer.rows(tokenizer.words(texts, tokenizer.room + 1))


def test_tokens_equal_the_plain_tokenizer(tiny: Path) -> None:
    tokenizer = Tokenizer.load(tiny / "vocab.txt", Rules(), 52)
    for text in TEXTS:
        expected = reference_tokens(tiny, text)
        found = encode(tokenizer, [text])
        length = int(expected["attention_mask"].sum())
        assert found.ids.shape == found.mask.shape == (1, length)
        assert found.ids.tolist() == expected["input_ids"][:, :length].tolist()
        assert found.mask.all()
        assert not found.padded


def test_tokens_of_several_texts_are_padded_and_masked(tiny: Path) -> None:
    tokenizer = Tokenizer.load(tiny / "vocab.txt", Rules(), 52)
    rows = encode(tokenizer, ["红", "红色连衣裙", "很长" * 60])
    ids = rows.ids
    assert ids.shape == (3, 52)
    assert rows.mask.sum(axis=1).tolist() == rows.lengths.tolist() == [3, 7, 52]
    assert rows.padded
    assert rows[:2].ids.tolist() == ids[:2, :7].tolist()
    assert not rows[2:].padded
    assert ids[0].tolist()[:4] == [101, vocabulary().index("红"), 102, 0]
    assert ids[2, -1] == 102


def test_curly_quotes_and_literal_special_tokens_are_plain_characters(tiny: Path) -> None:
    tokenizer = Tokenizer.load(tiny / "vocab.txt", Rules(), 52)
    assert encode(tokenizer, ["“红”"]).ids.tolist() == encode(tokenizer, ['"红"']).ids.tolist()
    found = encode(tokenizer, ["[MASK] [PAD] [UNK]"]).ids[0].tolist()
    assert not set(found[1:-1]) & {0, 100, 101, 102, 103}
    assert encode(tokenizer, ["[MASK]"]).ids.tolist() == encode(tokenizer, ["[mask]"]).ids.tolist()


class FakeTowers:
    """Runs out of memory above `fits` rows. An image's vector is its mean colour, a text's is its first token."""

    device, dtype, logit_scale, parameters = torch.device("cpu"), torch.float32, 100.0, (0, 0)
    kernels = ""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.rows: list[int] = []

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        self._spend(len(pixels))
        return pixels.mean(dim=(2, 3))

    def texts(self, tokens: Tokens) -> torch.Tensor:
        self._spend(len(tokens.ids))
        return tokens.ids[:, 1:2] * torch.tensor([[1.0, 0.0, 0.0]]) + torch.tensor([[0.0, 1.0, 0.0]])

    def _spend(self, rows: int) -> None:
        self.rows.append(rows)
        if rows > self.fits:
            raise torch.OutOfMemoryError("the fake device is full")


def fake_clip(towers: FakeTowers, folder: Path, batch_size: int) -> ChineseClip:
    spec = replace(spec_of(folder), image_size=4, image_mean=(0.0, 0.0, 0.0), image_std=(1.0, 1.0, 1.0), dim=3)
    tokenizer = Tokenizer.load(folder / "vocab.txt", Rules(), 52)
    return ChineseClip(towers, device_for(towers, spec, batch_size), tokenizer, spec)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_normalised_in_float32_and_stay_channels_last(tiny: Path, dtype: torch.dtype) -> None:
    class Keeping(FakeTowers):
        def images(self, pixels: torch.Tensor) -> torch.Tensor:
            self.seen = pixels
            return super().images(pixels)

    towers = Keeping(fits=9)
    towers.dtype = dtype
    spec = replace(spec_of(tiny), image_size=16, dim=3)
    pixels = np.arange(3 * 16 * 16 * 3, dtype=np.uint32).astype(np.uint8).reshape(3, 16, 16, 3)
    tokenizer = Tokenizer.load(tiny / "vocab.txt", Rules(), 52)
    ChineseClip(towers, device_for(towers, spec, 9), tokenizer, spec).encode_images(pixels)
    mean, std = (np.array(values, np.float32) for values in (spec.image_mean, spec.image_std))
    expected = torch.from_numpy(pixels.astype(np.float32) * (1 / (255 * std)) - mean / std).to(dtype)
    assert torch.equal(towers.seen, expected.permute(0, 3, 1, 2))
    assert towers.seen.is_contiguous(memory_format=torch.channels_last)


def test_out_of_memory_halves_the_batch_size_permanently(tiny: Path) -> None:
    towers = FakeTowers(fits=3)
    clip = fake_clip(towers, tiny, batch_size=16)
    pixels = np.random.default_rng(0).integers(1, 256, (20, 4, 4, 3), dtype=np.uint8)
    means = pixels.reshape(20, 16, 3).mean(axis=1)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(clip.encode_images(pixels), expected, rtol=1e-5)
    assert towers.rows == [16, 8, 4] + [2] * 10
    assert clip.batch_size == 2
    towers.rows.clear()
    np.testing.assert_allclose(clip.encode_images(pixels[:5]), expected[:5], rtol=1e-5)
    assert towers.rows == [2, 2, 1]


def test_out_of_memory_keeps_the_order_of_texts(tiny: Path) -> None:
    towers = FakeTowers(fits=2)
    clip = fake_clip(towers, tiny, batch_size=4)
    letters = ["c", "a" * 1 + " long text", "红", "b b b b", "z"]
    found = clip.encode_texts(letters)
    ids = [vocabulary().index(text[0]) for text in letters]
    np.testing.assert_allclose(found[:, 0] / found[:, 1], ids, rtol=1e-4)
    assert towers.rows == [5, 2, 2, 1]


def test_a_single_row_that_does_not_fit_in_memory_is_an_error(tiny: Path) -> None:
    clip = fake_clip(FakeTowers(fits=0), tiny, batch_size=4)
    with pytest.raises(HanclipError, match=r"A single record does not fit .* use --dtype bf16"):
        clip.encode_images(np.ones((3, 4, 4, 3), np.uint8))


def test_non_finite_rows_do_not_affect_the_others(tiny: Path) -> None:
    class Overflowing(FakeTowers):
        def images(self, pixels: torch.Tensor) -> torch.Tensor:
            vectors = super().images(pixels)
            vectors[1] = torch.tensor([1.0, float("nan"), 2.0])
            vectors[2] = float("inf")
            return vectors

    found = fake_clip(Overflowing(fits=9), tiny, 4).encode_images(np.full((4, 4, 4, 3), 9, np.uint8))
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, False, True]
    np.testing.assert_allclose(found[[0, 3]], 3**-0.5, rtol=1e-6)


@pytest.mark.parametrize(("size", "device", "expected"), [(224, "cpu", 16), (224, "cuda", 256), (336, "cuda:1", 113)])
def test_default_batch_sizes(tiny: Path, size: int, device: str, expected: int) -> None:
    assert default_batch_size(replace(spec_of(tiny), image_size=size), device) == expected


def changed_checkpoint(tmp_path: Path, change: Any) -> Path:
    """A checkpoint in the released layout, with `change` applied to its weights."""
    folder = write_checkpoint(tmp_path / "changed", weights="bin")
    path = folder / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return folder


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda state: state.pop("text_projection.weight"),
            r"not a Chinese CLIP \('text_projection.weight' is missing\)",
        ),
        (
            lambda state: state.pop("text_model.embeddings.LayerNorm.bias"),
            "do not fit each other in 1 places, text_model.embeddings.LayerNorm.bias first",
        ),
        (lambda state: state.update(unheard_of=torch.zeros(3)), "not part of a Chinese CLIP: unheard_of"),
        (
            lambda state: state.update({"visual_projection.weight": torch.zeros(3, 3)}),
            "do not fit each other in 1 places, visual_projection.weight first",
        ),
        (
            lambda state: state.update({"vision_model.embeddings.position_embedding.weight": torch.zeros(10, 32)}),
            r"config\.json: the weights in pytorch_model\.bin have other sizes: image_size is 24, not 32",
        ),
    ],
    ids=["no projection", "missing", "unexpected", "another shape", "another size"],
)
def test_weights_that_do_not_match_are_refused(tmp_path: Path, change: Any, expected: str) -> None:
    folder = changed_checkpoint(tmp_path, change)
    with pytest.raises(ModelError, match=expected):
        load(folder)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("how", ["torch.save", "plain pickle"])
def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path: Path, how: str) -> None:
    folder = write_checkpoint(tmp_path / "evil", weights="bin")
    marker = tmp_path / "it-ran"
    state = {**torch.load(folder / "pytorch_model.bin", weights_only=True), "extra": Malicious(marker)}
    if how == "torch.save":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(ModelError, match=r"pytorch_model.bin cannot be loaded: it holds a posix.mkdir"):
        load(folder)
    assert not marker.exists()


def test_code_next_to_the_weights_is_never_executed(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "evil")
    marker = tmp_path / "it-ran"
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(marker)!r})\nclass Evil: pass\n")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "evil.Evil"}}))
    assert load(folder).dim == 16
    assert not marker.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights_are_reported(tmp_path: Path, name: str) -> None:
    folder = write_checkpoint(tmp_path / "cut", weights="bin" if name.endswith("bin") else "safetensors")
    path = folder / name
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ModelError, match=f"{name} cannot be loaded"):
        load(folder)


def test_a_vocabulary_of_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(tiny, folder)
    words = vocabulary()
    (folder / "vocab.txt").write_text("\n".join([*words, "more"]) + "\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab\.txt has 21,129 tokens, the text tower knows 21,128"):
        load(folder)
    (folder / "vocab.txt").write_text("\n".join(word for word in words if word != "[UNK]"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"vocab.txt lacks the tokens \[UNK\]"):
        load(folder)


def test_the_demo_model_equals_the_reference() -> None:
    try:
        folder = demo_folder()
    except ModelError:
        pytest.skip("no demo model in this checkout")
    clip = ChineseClip.load(resolve(ModelConfig(name="demo")), "fp32", device="cpu")
    pictures = encoded_pictures(3)
    found = clip.encode_images(pixels_of(pictures, clip.image_size))
    assert_same_directions(found, reference_images(folder, pictures), 0.99999)
    assert_same_directions(clip.encode_texts(TEXTS[:4]), reference_texts(folder, TEXTS[:4]), 0.99999)


def test_random_models_of_two_seeds_differ() -> None:
    first, second = (random_model("tiny", seed).text_projection.weight for seed in (0, 1))
    assert not torch.equal(first, second)
