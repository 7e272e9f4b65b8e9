"""The newest result of each benchmark."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reporting import RESULTS, Row, place

_DATE = re.compile(r"-\d{4}-\d\d-\d\d$")


@dataclass(frozen=True, slots=True)
class Result:
    """A file of results.

    Attributes:
        file: its name.
        content: what `benchmarks.reporting.save` wrote.
    """

    file: str
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The file's name without machine and date: `embed-tiny-640`; a benchmark may have several kinds."""
        return _DATE.sub("", self.file.removesuffix(".json")).removesuffix(f"-{place(self.content['machine'])}")

    @property
    def rows(self) -> list[Row]:
        """The rows of its table."""
        return list(self.content["rows"])

    @property
    def machine(self) -> str:
        """Processor or GPU, and cores."""
        about = self.content["machine"]
        name = re.sub(r"\(R\)| Processor", "", about["gpu"] or about["cpu"])
        return f"{name}, {about['cores']} cores"

    @property
    def date(self) -> str:
        """The day on which it ended."""
        return str(self.content["finished"])[:10]

    def row(self, **values: object) -> Row | None:
        """The first row with these values."""
        return next((row for row in self.rows if all(row.get(key) == value for key, value in values.items())), None)


def newest(folder: Path = RESULTS) -> dict[str, Result]:
    """The result of each kind that ended last."""
    every = [Result(path.name, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]
    return {result.kind: result for result in sorted(every, key=lambda result: str(result.content["finished"]))}
