"""The model outside this process, and compiled: what takes a process or a compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ModelConfig
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip
from tests.fixtures.checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_loading_and_encoding_read_only_pixels_is_silent(tiny: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from pipeline.config import ModelConfig\n"
        "from pipeline.model.checkpoints import resolve\n"
        "from pipeline.model.chinese_clip import ChineseClip\n"
        "clip = ChineseClip.load(resolve(ModelConfig(name=sys.argv[1])), device='cpu')\n"
        "pixels = np.full((2, 32, 32, 3), 9, np.uint8)\n"
        "pixels.flags.writeable = False\n"
        "clip.encode_images(pixels)\n"
        "assert (pixels == 9).all()\n"
        "clip.encode_texts(['红色'])\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tiny)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.slow
def test_compiled_towers_give_the_same_vectors(tiny: Path) -> None:
    if shutil.which("g++") is None and shutil.which("gcc") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    pixels = np.random.default_rng(7).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    spec = resolve(ModelConfig(name=str(tiny)))
    plain = ChineseClip.load(spec, "fp32", device="cpu")
    compiled = ChineseClip.load(spec, "fp32", device="cpu", compile=True, batch_size=3)
    np.testing.assert_allclose(compiled.encode_images(pixels), plain.encode_images(pixels), atol=1e-5)
