"""Where and in which number format a model computes."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from pipeline.errors import ModelError

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is ARM's


def choose_device(name: str | None) -> torch.device:
    """The named device; without a name the first GPU, else the CPU. Raises ModelError for a GPU that is not there."""
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"There is no GPU here for device {device}: leave the device out to run on the CPU.")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the hardware multiplies it, else fp32; emulated bf16 would be slower than fp32."""
    if name == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def device_name(device: torch.device) -> str:
    """What a person calls it: `NVIDIA H100 80GB HBM3`, `cpu`."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def set_threads(count: int) -> None:
    """CPU threads of a forward pass, for this whole process."""
    torch.set_num_threads(count)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(_BF16_FLAGS & _cpu_flags())


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: nothing is known, so nothing is assumed
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()
