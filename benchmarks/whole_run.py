"""One run of hanclip's driver on a local Ray, over the case's files."""

from __future__ import annotations

import json

import actors.run
from actors import driver
from actors.scheduler.meter import Meter
from actors.scheduler.stages import CallKind
from benchmarks.case import Case, parse
from benchmarks.watching import Marks
from pipeline.config import RunConfig
from pipeline.config import parse as parse_config
from pipeline.stats import Stats


def configuration(case: Case) -> RunConfig:
    """Defaults, apart from what the case fixes."""
    return parse_config(
        {
            "source": {"uris": [str(case.images)]},
            "model": {"name": case.model, "dtype": case.dtype},
            "output": {"uri": str(case.out)},
        }
    )


class MarkingMeter(Meter):
    """The driver's meter, extended to write a mark for every chunk that leaves a stage."""

    marks: Marks

    def chunk_done(self, call: CallKind, rows: int, stats: Stats) -> None:
        """See `Meter.chunk_done`."""
        super().chunk_done(call, rows, stats)
        if call == "decode":
            self.marks.add(rows, 0, stats.decode_s)
        if call == "embed":
            self.marks.add(0, rows, stats.embed_s)


def main() -> None:
    """Run, and fail if any record is missing."""
    case = parse(__doc__)
    MarkingMeter.marks = Marks(case.marks)
    actors.run.Meter = MarkingMeter  # type: ignore[misc]
    summary = driver.run(configuration(case))
    print(json.dumps(summary.to_json(), ensure_ascii=False))
    if summary.stats.embedded != case.count:
        raise SystemExit(f"{summary.stats.embedded} of {case.count} images were embedded: {summary.message}")


if __name__ == "__main__":
    main()
