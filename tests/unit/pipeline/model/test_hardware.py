"""Names of devices: each GPU is asked for itself, and a name of none is refused with what to give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.errors import ModelError
from pipeline.model import hardware
from pipeline.model.engine import choices
from pipeline.model.hardware import choose_device, choose_dtype, compute_in_full_float32
from pipeline.model.towers.build import LoadedTowers
from tests.fixtures.random_towers import random_weights, spec_for


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch reports them: the second is too old for bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5) if device.index else (9, 0))


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_asked_for_its_own_number_format() -> None:
    found = [choose_dtype("auto", choose_device(name)) for name in (None, "cuda", "cuda:0", "cuda:1")]
    assert found == [torch.bfloat16] * 3 + [torch.float32]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:2", r"sees 2 GPUs, and cuda:2 is not one of them: they are counted from cuda:0"),
        ("gpu", r"'gpu' is no device: give cpu, cuda or a number such as cuda:1\."),
        ("cuda:x", r"'cuda:x' is no device"),
        ("meta", r"does not compute on meta: give cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        choose_device(name)


@pytest.fixture
def rounded_float32() -> Iterator[None]:
    """The settings of a process with TORCH_ALLOW_TF32_CUBLAS_OVERRIDE."""
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in settings]
    for one in settings:
        one.allow_tf32 = True
    yield
    for one, value in zip(settings, before, strict=True):
        one.allow_tf32 = value


@pytest.mark.usefixtures("rounded_float32")
def test_float32_is_not_rounded() -> None:
    compute_in_full_float32()
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)


H200 = {"name": "NVIDIA H200", "multi_processor_count": 132}


def test_what_is_measured_on_a_gpu_is_kept_for_that_gpu_driver_and_torch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, facts = tmp_path / "version", dict(H200)
    towers, spec = LoadedTowers(random_weights(), torch.device("cpu"), torch.float32), spec_for()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(**facts))
    monkeypatch.setattr(hardware, "_DRIVER", driver)

    def situation() -> str:
        return choices._situation(towers, spec, 64)

    driver.write_text("570.86.15\n")
    seen = [situation()]
    assert situation() == seen[0]
    changes: list[tuple[Any, str, Any]] = [
        (torch, "__version__", "9.0.0"),
        (torch.version, "cuda", "99.0"),
        (torch.backends.cudnn, "version", lambda: 99999),
        (facts, "multi_processor_count", 66),
        (facts, "name", "NVIDIA A10"),
    ]
    for target, name, value in changes:
        with monkeypatch.context() as changed:
            if target is facts:
                changed.setitem(facts, name, value)
            else:
                changed.setattr(target, name, value)
            seen.append(situation())
    driver.write_text("580.10.01\n")
    seen.append(situation())
    driver.unlink()  # as on Windows' Linux
    seen.append(situation())
    assert len(set(seen)) == len(seen)
