"""Test the model in another process, compiled, and in bf16."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ModelConfig
from pipeline.images.decode import decode
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip, Tuning
from tests.fixtures.checkpoints import write_checkpoint
from tests.fixtures.pictures import jpegs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_loading_and_encoding_print_nothing_and_import_nothing_slow_and_accept_read_only_pixels(tiny: Path) -> None:
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
        "slow = {'transformers', 'torch._dynamo', 'torch._inductor', 'torch.distributed.tensor', 'sympy', 'pandas'}\n"
        "print(*slow & set(sys.modules), end='')\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tiny)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.slow
def test_compiled_towers_give_the_same_vectors(tiny: Path) -> None:
    if shutil.which("g++") is None and shutil.which("gcc") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    # Two passes of one shape: torch compiles another for each new one.
    pixels = np.random.default_rng(7).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    spec = resolve(ModelConfig(name=str(tiny)))
    plain = ChineseClip.load(spec, "fp32", device="cpu")
    compiled = ChineseClip.load(spec, "fp32", device="cpu", tuning=Tuning(compile=True), batch_size=3)
    np.testing.assert_allclose(compiled.encode_images(pixels), plain.encode_images(pixels), atol=1e-5)


def test_bf16_stays_close_to_fp32_at_the_base_models_depth(tmp_path: Path) -> None:
    spec = resolve(ModelConfig(name=str(write_checkpoint(tmp_path / "slim", shape="vit-b-16-slim", weights="bin"))))
    exact, rough = (ChineseClip.load(spec, dtype, device="cpu") for dtype in ("fp32", "bf16"))
    pixels = np.stack([decode(picture, 224, 10**8).pixels for picture in jpegs(8)])
    texts = ["红色连衣裙", "蓝色牛仔裤", "很长的标题" * 40]
    for encode in (lambda clip: clip.encode_images(pixels), lambda clip: clip.encode_texts(texts)):
        fine, coarse = encode(exact), encode(rough)
        assert (fine * coarse).sum(axis=1).min() >= 0.999
        assert (fine @ fine.T - 2 * np.eye(len(fine))).max() < 0.999, "vectors too similar to detect swapped rows"
