"""images/s and CPU per image over the same files: a bare loop of one process per core, hanclip, and its peers.

    python -m benchmarks.embed tiny-640      224 x 224 pixels into a nearly empty model, 640 x 480 JPEGs: decode-bound
    python -m benchmarks.embed tiny-800      the same with 800 x 800 JPEGs, and tiny-1600 with 1600 x 1200 ones
    python -m benchmarks.embed vit-b-16      the base model's shape with random weights, bf16: model-bound
    python -m benchmarks.embed demo-640      demo model (64 x 64 pixels), 640 x 480 JPEGs: mostly decoding

The peers are Ray Data in two ways, a PyTorch DataLoader, and Daft if `--daft-python` names an environment that has it
(see `benchmarks.peers`). The variants are interleaved (bare, hanclip, peers, bare, ...), because two runs of the same
variant differ by up to 1.6 times on shared machines. Ratios are taken within a round, and the median over the rounds
counts; all values are kept. Ratios use the steady phase (see `watching`); the whole run, including start-up, is
reported as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from typing import Literal

from benchmarks import images
from benchmarks.case import Case
from benchmarks.reporting import Goal, Row, save
from benchmarks.watching import Observation, watch

_MODULES = {
    "bare": "benchmarks.bare",
    "hanclip": "benchmarks.whole_run",
    "ray_images": "benchmarks.peers.ray_images",
    "ray_data": "benchmarks.peers.ray_data",
    "loader": "benchmarks.peers.loader",
    "daft": "benchmarks.peers.daft_images",
}
_OURS = ("bare", "hanclip")

Shape = Literal["tiny-224", "vit-b-16"]


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of case: `model` is a name, or a shape of `tests.fixtures.checkpoints`, with random weights."""

    model: str
    dtype: str
    width: int
    height: int
    count: int
    shape: Shape | None = None
    decode_bound: bool = False


WORKS = {
    "demo-640": Work("demo", "auto", 640, 480, 16000),
    "tiny-640": Work("", "fp32", 640, 480, 10000, shape="tiny-224", decode_bound=True),
    "tiny-800": Work("", "fp32", 800, 800, 6000, shape="tiny-224", decode_bound=True),
    "tiny-1600": Work("", "fp32", 1600, 1200, 2400, shape="tiny-224", decode_bound=True),
    "vit-b-16": Work("", "bf16", 640, 480, 1600, shape="vit-b-16"),
}


def prepare(name: str, given: argparse.Namespace) -> tuple[Path, str]:
    """The folder of images and the model's name, created if missing."""
    work = WORKS[name]
    count = given.count or work.count
    originals = given.work / f"{work.width}x{work.height}"
    folder = images.repeated(originals, min(count, given.distinct), count, work.width, work.height)
    return folder, checkpoint(work.shape, given.work) if work.shape else work.model


def checkpoint(shape: Shape, work: Path) -> str:
    """A folder with a model of that shape and random weights, created if missing."""
    from tests.fixtures.checkpoints import write_checkpoint

    folder = work / f"model-{shape}"
    if not (folder / "model.safetensors").exists():
        write_checkpoint(folder, shape=shape)
    return str(folder)


def run_once(variant: str, case: Case, given: argparse.Namespace) -> Observation:
    """One run of one variant in fresh processes; its output is deleted afterwards."""
    shutil.rmtree(case.out, ignore_errors=True)
    case.marks.unlink(missing_ok=True)
    python = given.daft_python if variant == "daft" else sys.executable
    command = [str(python), "-m", _MODULES[variant], *case.arguments()]
    seen = watch(command, case.marks, case.marks.with_suffix(f".{variant}.log"), given.timeout_s)
    shutil.rmtree(case.out)
    return seen


def take_turns(case: Case, given: argparse.Namespace) -> list[dict[str, Observation]]:
    """`rounds` rounds of all variants."""
    rounds = []
    for number in range(given.rounds):
        seen: dict[str, Observation] = {}
        for variant in given.variants:
            load = os.getloadavg()[0]
            seen[variant] = run_once(variant, case, given)
            print(f"round {number + 1} {variant:10} load {load:.1f} {seen[variant].to_json()}", flush=True)
        rounds.append(seen)
    return rounds


def ratio(rounds: list[dict[str, Observation]], over: str, under: str, what: str) -> float:
    """Median over the rounds of `over` / `under` in the attribute `what`."""
    return median(float(getattr(seen[over], what) / getattr(seen[under], what)) for seen in rounds)


def goals(name: str, rounds: list[dict[str, Observation]]) -> list[Goal]:
    """The goals that the variants that ran allow to check."""
    if not set(_OURS) <= rounds[0].keys():
        return []
    bound = WORKS[name].decode_bound
    cpu_at_most, at_least, over_peers = (1 / 1.6, 1.6, 2.0) if bound else (1.10, 0.97, 1.0)
    found = [
        Goal("CPU per image, hanclip / bare", ratio(rounds, "hanclip", "bare", "steady_cpu_ms"), at_most=cpu_at_most),
        Goal("images/s, hanclip / bare", ratio(rounds, "hanclip", "bare", "steady_images_per_s"), at_least=at_least),
    ]
    for peer in [variant for variant in rounds[0] if variant not in _OURS]:
        faster = ratio(rounds, "hanclip", peer, "steady_images_per_s")
        found.append(Goal(f"images/s, hanclip / {peer}", faster, at_least=over_peers))
    return found


def table(rounds: list[dict[str, Observation]]) -> list[Row]:
    """One row per variant: the median of each value over the rounds."""
    rows = []
    for variant in rounds[0]:
        values = [seen[variant].to_json() for seen in rounds]
        rows.append({"variant": variant, **{key: _median([value[key] for value in values]) for key in values[0]}})
    return rows


def _median(values: list[float]) -> float:
    """The median; an integer for integers."""
    return round(median(values), None if isinstance(values[0], int) else 2)


def daft_version(python: Path) -> str:
    """The release of Daft in an environment."""
    asked = [str(python), "-c", "import daft; print(daft.__version__)"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=WORKS)
    parser.add_argument("--count", type=int, help="images; enough for half a minute if not given")
    parser.add_argument("--distinct", type=int, default=4000, help="different images among them; the rest are links")
    parser.add_argument("--dtype", choices=("auto", "bf16", "fp16", "fp32"))
    parser.add_argument("--batch", type=int, default=64, help="images per batch of the bare loop and of the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=_MODULES, help="all if not given")
    parser.add_argument("--daft-python", type=Path, help="interpreter of an environment with Daft; without it, no Daft")
    parser.add_argument("--timeout-s", type=float, default=900, help="of one run")
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "hanclip-benchmarks")
    given = parser.parse_args()
    if given.variants is None:
        given.variants = [variant for variant in _MODULES if variant != "daft" or given.daft_python]
    elif "daft" in given.variants and not given.daft_python:
        parser.error("name an environment with Daft: --daft-python FOLDER/bin/python")
    return given


def main() -> None:
    """Run a case and save the results."""
    given = arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    work, load = WORKS[given.case], os.getloadavg()[0]
    folder, model = prepare(given.case, given)
    dtype = given.dtype or work.dtype
    case = Case(
        folder, given.count or work.count, model, dtype, given.batch, given.work / "out", given.work / "run.marks"
    )
    rounds = take_turns(case, given)
    every = [{variant: seen.to_json() for variant, seen in one.items()} for one in rounds]
    details: dict[str, object] = {"rounds": every, "dtype": dtype}
    if set(_OURS) <= rounds[0].keys():
        details["whole_cpu_ratio"] = ratio(rounds, "hanclip", "bare", "cpu_s")
        details["whole_wall_ratio"] = ratio(rounds, "hanclip", "bare", "wall_s")
    if "daft" in given.variants:
        details["daft"] = daft_version(given.daft_python)
    save(f"embed-{given.case}", load, goals(given.case, rounds), table(rounds), **details)


if __name__ == "__main__":
    main()
