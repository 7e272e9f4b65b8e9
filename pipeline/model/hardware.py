"""Chooses on which device, in which number format and on how many threads a model computes, and names the hardware.

In: names that users give. Out: torch's devices and dtypes; names for people and for footers; what measurements of a GPU
depend on.
"""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from pathlib import Path

import torch

from pipeline import units
from pipeline.errors import ModelError

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is ARM's
_FIRST_WITH_BF16 = (8, 0)  # the compute capability of a GPU
#: Where Linux names the version of the driver, in containers too.
_DRIVER = Path("/sys/module/nvidia/version")
_DEVICES = "give cpu, cuda or a number such as cuda:1"


def choose_device(name: str | None) -> torch.device:
    """The named device; without a name the first GPU, else the CPU. Raises ModelError if there is no such device."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ModelError(f"{name!r} is no device: {_DEVICES}.") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"hanclip does not compute on {device}: {_DEVICES}.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"This machine has no GPU for device {device}: leave the device out to run on the CPU.")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise ModelError(
            f"This process sees {units.count(count, 'GPU')}, and {device} is not one of them: they are counted from "
            "cuda:0, among those in CUDA_VISIBLE_DEVICES if it is set."
        )
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype by its name; `auto` is bf16 if the hardware supports it, since emulated bf16 is slower than fp32."""
    if name == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def device_name(device: torch.device) -> str:
    """Name for people, such as `NVIDIA H100 80GB HBM3` or `cpu`."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def instructions(device: torch.device) -> str:
    """The set of instructions that torch's kernels use there, such as `AVX2`, or of a GPU `sm_90`."""
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    return str(torch.backends.cpu.get_cpu_capability())


def gpu_facts(device: torch.device) -> tuple[object, ...]:
    """What decides which kernels are fast on a GPU: the GPU itself, its driver, torch, and the libraries under it."""
    gpu = torch.cuda.get_device_properties(device)
    libraries = torch.version.cuda, torch.version.hip, torch.backends.cudnn.version()
    # A part of a GPU has the whole one's name and fewer multiprocessors.
    return gpu.name, instructions(device), gpu.multi_processor_count, _driver(), torch.__version__, *libraries


def _driver() -> str:
    """The version of the driver, as exactly as this machine tells it; empty if it does not."""
    with suppress(OSError):
        return _DRIVER.read_text(encoding="ascii", errors="replace").strip()
    version = ctypes.c_int()  # Windows' Linux has no such file, but the driver knows which CUDA it is made for
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return str(version.value or "")


def set_threads(count: int) -> None:
    """Set the CPU threads of a forward pass, for this whole process."""
    torch.set_num_threads(count)


def compute_in_full_float32() -> None:
    """Let no GPU round the factors of products to 11 bits, which TORCH_ALLOW_TF32_CUBLAS_OVERRIDE asks for.

    cuDNN does so by default. torch's newer setting breaks readers of these two.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        # torch.cuda.is_bf16_supported asks the current GPU, which may be another one.
        return bool(torch.cuda.get_device_capability(device) >= _FIRST_WITH_BF16)
    return device.type == "cpu" and bool(_BF16_FLAGS & _cpu_flags())


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: assume no support
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()
