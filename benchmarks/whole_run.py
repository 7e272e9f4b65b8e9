"""The real thing: one run of hanclip's driver on a local Ray of its own, over the case's files."""

from __future__ import annotations

import json

from actors.driver import run
from actors.progress import Progress
from benchmarks.case import Case, parse
from benchmarks.watching import Marks
from pipeline.config import RunConfig
from pipeline.config import parse as parse_config


def configuration(case: Case) -> RunConfig:
    """Defaults, apart from what the case fixes."""
    return parse_config(
        {
            "source": {"uris": [str(case.images)]},
            "model": {"name": case.model, "dtype": case.dtype},
            "output": {"uri": str(case.out)},
        }
    )


class Marker:
    """Turns progress reports into marks. Reports count bytes as they are decoded, so images are their share of them."""

    def __init__(self, case: Case) -> None:
        self._marks = Marks(case.marks)
        self._bytes_per_image = sum(path.stat().st_size for path in case.paths()) / case.count
        self._marked = 0.0

    def __call__(self, progress: Progress) -> None:
        """Mark what was decoded since the last report."""
        decoded = progress.stats.bytes_read / self._bytes_per_image
        if decoded > self._marked:
            self._marks.add(decoded - self._marked)
            self._marked = decoded


def main() -> None:
    """Run, and refuse to be measured if anything was left out."""
    case = parse(__doc__)
    summary = run(configuration(case), Marker(case))
    print(json.dumps(summary.to_json(), ensure_ascii=False))
    if summary.stats.embedded != case.count:
        raise SystemExit(f"{summary.stats.embedded} of {case.count} images were embedded: {summary.message}")


if __name__ == "__main__":
    main()
