"""The engine on a real GPU: overlapping passes give the vectors of single ones, and those of the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.errors import DeviceLostError, HanclipError
from pipeline.model.engine.choices import choose_kernels
from pipeline.model.engine.contract import Features, InputRows, Kind, Pass
from pipeline.model.engine.cuda import CudaDevice
from pipeline.model.engine.exact import PassShape
from pipeline.model.engine.open import device_for, engine_for, exact_device_for
from pipeline.model.tokenizer import TextRows
from pipeline.model.towers.build import LoadedTowers, Tokens, Towers
from pipeline.model.towers.kernels import ATTENTIONS, GpuKernels, candidates
from tests.fixtures.random_towers import SMALL_SIZES, random_weights, spec_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
ROWS = 32
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def towers(device: torch.device, dtype: torch.dtype = torch.float32) -> LoadedTowers:
    return LoadedTowers(random_weights(), device, dtype)


def images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    side = SMALL_SIZES.image_size
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)


def texts(count: int, seed: int = 0) -> TextRows:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 52, count)
    ids = rng.integers(1, SMALL_SIZES.vocabulary, (count, lengths.max()))
    ids[np.arange(ids.shape[1]) >= lengths[:, None]] = 0
    return TextRows(ids, lengths)


def unit(features: Features) -> Features:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def one_by_one(device: Any, kind: Kind, rows: InputRows) -> Features:
    """Passes of which each is awaited before the next begins."""
    step = device.capacity(kind)
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    return np.concatenate([device.wait(device.submit(Pass(kind, (part,)))) for part in parts])


@pytest.mark.parametrize(
    ("dtype", "cosine", "atol"),
    [(torch.float32, 1 - 1e-6, 1e-5), (torch.float16, 0.9999, 5e-3), (torch.bfloat16, 0.999, 5e-2)],
    ids=["fp32", "fp16", "bf16"],
)
@pytest.mark.parametrize(("kind", "rows"), [("image", images(70)), ("text", texts(300))], ids=["images", "texts"])
def test_vectors_equal_those_of_the_cpu(
    kind: Kind, rows: InputRows, dtype: torch.dtype, cosine: float, atol: float
) -> None:
    expected = unit(one_by_one(device_for(towers(CPU), spec_for(), ROWS), kind, rows))
    engine = engine_for(device_for(towers(CUDA, dtype), spec_for(), ROWS))
    found = unit(engine.submit(kind, rows).result(60))
    engine.close()
    assert (found * expected).sum(axis=1).min() > cosine
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    assert np.abs(expected[0] - expected[1]).max() > 0.05  # otherwise rows in the wrong order could pass


def test_overlapping_passes_give_the_features_of_single_ones() -> None:
    """Many small requests of both kinds from several threads; a buffer that is reused too early would mix rows."""
    device = device_for(towers(CUDA), spec_for(), ROWS)
    requests: list[tuple[Kind, InputRows]] = [("image", images(1 + n % 45, n)) for n in range(40)]
    requests += [("text", texts(1 + 7 * n % 90, n)) for n in range(40)]
    expected = [one_by_one(device, kind, rows) for kind, rows in requests]
    engine = engine_for(device)
    order = np.random.default_rng(0).permutation(len(requests))
    with ThreadPoolExecutor(8) as pool:
        futures = {n: pool.submit(lambda n=n: engine.submit(*requests[n]).result(60)) for n in order}
        for n, future in futures.items():
            np.testing.assert_allclose(unit(future.result(60)), unit(expected[n]), rtol=0, atol=1e-5)
    engine.close()


def test_equal_passes_give_equal_bits_whether_or_not_they_overlap() -> None:
    device = device_for(towers(CUDA, torch.bfloat16), spec_for(), ROWS)
    rows = images(ROWS * 20)
    expected = one_by_one(device, "image", rows)
    engine = engine_for(device)
    assert np.array_equal(engine.submit("image", rows).result(60), expected)
    engine.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("kind", "rows"), [("image", images(150)), ("text", texts(150))], ids=["images", "texts"])
def test_with_passes_of_one_shape_a_row_has_the_same_bits_in_any_company(
    kind: Kind, rows: InputRows, dtype: torch.dtype
) -> None:
    device = exact_device_for(towers(CUDA, dtype), spec_for(), PassShape.on("cuda", spec_for().context_length))
    engine = engine_for(device)
    together = engine.submit(kind, rows).result(60)
    steps = (1, 7, 64)
    parts = [slice(start, start + step) for step in steps for start in range(0, len(rows), step)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: engine.submit(kind, rows[part]).result(60), parts))
    engine.close()
    for part, features in zip(parts, found, strict=True):
        assert np.array_equal(features, together[part])


class Slowed:
    """Towers whose pass begins late on the GPU, so that the host is ahead of it by as many passes as it may be."""

    def __init__(self, towers: Towers) -> None:
        self._towers = towers
        self.device, self.dtype, self.logit_scale = towers.device, towers.dtype, towers.logit_scale
        self.parameters, self.kernels = towers.parameters, towers.kernels

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        torch.cuda._sleep(20_000_000)
        return self._towers.images(pixels)

    def texts(self, tokens: Tokens) -> torch.Tensor:
        torch.cuda._sleep(20_000_000)
        return self._towers.texts(tokens)


def test_a_caller_may_overwrite_its_rows_and_results_once_a_pass_has_begun() -> None:
    device = device_for(Slowed(towers(CUDA)), spec_for(), ROWS)
    rows = [images(ROWS, n) for n in range(12)]
    expected = [one_by_one(device, "image", some) for some in rows]
    handles: list[Any] = []
    found: list[Features] = []
    for some in rows:
        handles.append(device.submit(Pass("image", (some,))))
        some[:] = 255  # poison
        if len(handles) == device.depth:
            found.append(device.wait(handles.pop(0)))
    found += [device.wait(handle) for handle in handles]
    for each in found[:-1]:
        assert not np.array_equal(each, found[-1])
    for each, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each, wanted)


def test_the_host_is_ahead_of_the_gpu() -> None:
    device = device_for(Slowed(towers(CUDA)), spec_for(), ROWS)
    one_by_one(device, "image", images(2 * ROWS))
    handles = [device.submit(Pass("image", (images(ROWS),))) for _ in range(device.depth)]
    assert not handles[0][0].returned.query()  # none is computed yet, and all are submitted
    for handle in handles:
        device.wait(handle)


class Small(Slowed):
    """Asks the GPU for more memory than it has if a pass has more than `fits` rows."""

    fits = 5

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.fits:
            torch.empty(2**50, dtype=torch.uint8, device=self.device)
        return super().images(pixels)


def test_out_of_memory_halves_the_passes_and_loses_nothing() -> None:
    rows = images(70)
    expected = one_by_one(device_for(towers(CUDA), spec_for(), ROWS), "image", rows)
    device = device_for(Small(towers(CUDA)), spec_for(), ROWS)
    engine = engine_for(device)
    np.testing.assert_allclose(unit(engine.submit("image", rows).result(60)), unit(expected), rtol=0, atol=1e-5)
    assert device.capacity("image") == 4
    engine.close()


def test_a_single_row_that_does_not_fit_is_an_error_and_the_device_stays() -> None:
    small = Small(towers(CUDA))
    small.fits = 0
    engine = engine_for(device_for(small, spec_for(), ROWS))
    with pytest.raises(HanclipError, match="A single record does not fit"):
        engine.submit("image", images(3)).result(60)
    assert np.isfinite(engine.submit("text", texts(3)).result(60)).all()
    engine.close()


def test_rows_that_are_not_finite_stay_so_and_affect_no_others() -> None:
    class Overflowing(Slowed):
        def images(self, pixels: torch.Tensor) -> torch.Tensor:
            features = super().images(pixels)
            features[1] = float("nan")
            return features

    engine = engine_for(device_for(Overflowing(towers(CUDA)), spec_for(), ROWS))
    found = engine.submit("image", images(4)).result(60)
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, True, True]
    engine.close()


@pytest.mark.parametrize("kernels", [GpuKernels(one, last) for one in ATTENTIONS for last in (True, False)], ids=str)
def test_kernels_change_vectors_by_rounding_only(kernels: GpuKernels) -> None:
    expected = unit(one_by_one(device_for(towers(CPU), spec_for(), ROWS), "image", images(70)))
    chosen = towers(CUDA, torch.bfloat16)
    chosen.use(kernels)
    found = unit(one_by_one(device_for(chosen, spec_for(), ROWS), "image", images(70)))
    assert (found * expected).sum(axis=1).min() > 0.999


def test_what_is_measured_can_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path))
    for dtype in (torch.float32, torch.bfloat16):
        assert choose_kernels(towers(CUDA, dtype), spec_for(), ROWS, measure=True) in candidates(dtype)


@pytest.mark.slow
def test_compiled_towers_change_vectors_by_rounding_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = towers(CUDA, torch.bfloat16), towers(CUDA, torch.bfloat16)
    compiled.compile()
    for kind, rows in (("image", images(70)), ("text", texts(300))):
        expected = unit(one_by_one(device_for(plain, spec_for(), ROWS), kind, rows))
        engine = engine_for(device_for(compiled, spec_for(), ROWS))  # compiled in the engine's thread, as in a run
        found = unit(engine.submit(kind, rows).result(300))
        engine.close()
        assert (found * expected).sum(axis=1).min() > 0.999


_LOSE = """
import torch
from tests.unit.pipeline.model.engine import test_cuda as this
this.lose()
"""


def lose() -> None:
    """Run in a process of its own, because it breaks its CUDA context: a token id beyond the vocabulary."""
    device = device_for(towers(CUDA), spec_for(), ROWS)
    assert isinstance(device, CudaDevice)
    engine = engine_for(device)
    broken = TextRows(np.full((1, 4), 10**6), np.array([4]))
    for rows in (broken, texts(3)):
        try:
            engine.submit("text", rows).result(60)
        except DeviceLostError as error:
            print("lost:", error)
        else:
            raise AssertionError


def test_an_error_on_the_gpu_is_the_loss_of_the_device() -> None:
    import subprocess
    import sys

    from tests.fixtures.places import ROOT

    done = subprocess.run(
        [sys.executable, "-c", _LOSE], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.count("lost: The GPU failed") == 2, done.stdout + done.stderr
