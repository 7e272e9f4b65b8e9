"""Puts the demo data into wheels as `pipeline/_demo/`. An editable install finds it in the checkout instead."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = ("catalog", "model", "queries.txt", "imperfections.json", "LICENSES.md")


class DemoData(BuildHookInterface[Any]):
    """Adds the parts of `demo/` that a user needs; the scripts that made them stay in the repository."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds a wheel."""
        if version == "editable":
            return
        for name in SHIPPED:
            build_data["force_include"][str(Path(self.root) / "demo" / name)] = f"pipeline/_demo/{name}"
