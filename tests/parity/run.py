"""Compare hanclip with the authors' own package, from files and strings to vectors; called by `scripts/parity`.

In: a Python with `cn_clip` (`--reference`). For each architecture a checkpoint with random weights is written in the
authors' format, and both implementations embed the same images and texts. Out: a table on stdout, exit code 1 above
the limits; with `--golden FILE` also the reference vectors of the small architectures, which the tests compare with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.fixtures.checkpoints import vocabulary  # noqa: E402
from tests.fixtures.originals import FULL, SMALL, TEXTS, Sizes, write_original, write_pictures  # noqa: E402

MAX_DIFFERENCE = 1e-5
MIN_COSINE = 0.999999
Features = dict[str, np.ndarray]


def main() -> int:
    """Compare the given architectures; returns 1 if any exceeds the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FULL)}; all of them if none is given")
    parser.add_argument("--reference", required=True, help="Python of the environment that has cn_clip")
    parser.add_argument("--small", action="store_true", help="the same architectures, small")
    parser.add_argument("--flash", action="store_true", help="write the weights under FlashAttention's names")
    parser.add_argument("--scratch", type=Path, help="where the checkpoints go (up to 4 GB at a time)")
    parser.add_argument("--golden", type=Path, help="keep the reference's vectors in this .npz")
    given = parser.parse_args()
    architectures = SMALL if given.small else FULL
    golden: Features = {}
    too_far = []
    print("| model | images: max difference | min cosine | texts: max difference | min cosine |\n|---|---|---|---|---|")
    for name in given.names or architectures:
        with scratch(given.scratch) as folder:
            case = write_case(folder, architectures[name], given.small, given.flash)
            expected = reference(given.reference, case)
            found = ours(case)
        figures = [figure for part in ("images", "texts") for figure in compare(found[part], expected[part])]
        print(f"| {name} | " + " | ".join(figures) + " |", flush=True)
        golden |= {f"{name}.{part}": values for part, values in expected.items()}
        if not agrees(found, expected):
            too_far.append(name)
    if given.golden:
        np.savez_compressed(given.golden, **golden)
    if too_far:
        print(f"above {MAX_DIFFERENCE} or below {MIN_COSINE}: {', '.join(too_far)}", file=sys.stderr)
    return bool(too_far)


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """A temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="hanclip-parity-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_case(folder: Path, sizes: Sizes, small: bool, flash: bool) -> Path:
    """Write a checkpoint, pictures and texts. Small models use the tests' vocabulary, full ones the reference's."""
    checkpoint = write_original(folder / "clip.pt", sizes, flash=flash)
    if small:
        (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    images = write_pictures(folder / "pictures")
    if not small:  # golden vectors have no JPEG, because decoders may differ by one level
        images.append(write_jpeg(folder / "pictures"))
    case = folder / "case.json"
    tree = {
        "checkpoint": str(checkpoint),
        "sizes": asdict(sizes),
        "vocabulary": str(folder / "vocab.txt") if small else None,
        "images": [str(path) for path in images],
        "texts": TEXTS,
    }
    case.write_text(json.dumps(tree), encoding="utf-8")
    return case


def write_jpeg(folder: Path) -> Path:
    """Write one of the pictures as a JPEG."""
    from PIL import Image

    Image.open(folder / "wide.png").save(folder / "photo.jpg", quality=85)
    return folder / "photo.jpg"


def reference(python: str, case: Path) -> Features:
    """The features from the authors' package."""
    out = case.with_name("reference.npz")
    subprocess.run([python, str(HERE / "reference.py"), str(case), str(out)], check=True)
    if not (case.with_name("vocab.txt")).exists():
        find = "import importlib.util as u; print(u.find_spec('cn_clip').submodule_search_locations[0])"
        package = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
        shutil.copy(Path(package) / "clip" / "vocab.txt", case.with_name("vocab.txt"))
    with np.load(out) as stored:
        return dict(stored)


def ours(case: Path) -> Features:
    """The features from hanclip."""
    from pipeline.config import ModelConfig
    from pipeline.images.decode import decode
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip

    tree = json.loads(case.read_text(encoding="utf-8"))
    clip = ChineseClip.load(resolve(ModelConfig(name=tree["checkpoint"])), "fp32", "cpu", batch_size=4)
    pixels = np.stack([decode(Path(path).read_bytes(), clip.image_size, 10**8).pixels for path in tree["images"]])
    return {
        "images": clip.encode_images(pixels),
        "texts": clip.encode_texts(tree["texts"]),
        "logit_scale": np.float32(clip.logit_scale),
    }


def compare(found: np.ndarray, expected: np.ndarray) -> tuple[str, str]:
    """The largest difference of any two numbers and the smallest cosine of any two vectors, as text."""
    cosines = (found.astype(np.float64) * expected).sum(axis=1)
    return f"{np.abs(found - expected).max():.1e}", f"{cosines.min():.8f}"


def agrees(found: Features, expected: Features) -> bool:
    """Whether differences and cosines are within the limits and the logit scales equal."""
    return np.isclose(found["logit_scale"], expected["logit_scale"], rtol=1e-6) and all(
        np.abs(found[part] - expected[part]).max() <= MAX_DIFFERENCE
        and (found[part].astype(np.float64) * expected[part]).sum(axis=1).min() >= MIN_COSINE
        for part in ("images", "texts")
    )


if __name__ == "__main__":
    sys.exit(main())
