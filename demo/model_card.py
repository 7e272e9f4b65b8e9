"""Write the demo model's card: architecture, training data and measured quality.

In: the model folder and its metrics. Out: `README.md` in that folder, from the template next to this file.
"""

import string
from collections.abc import Mapping
from pathlib import Path

Metrics = Mapping[str, int | str | tuple[float, ...]]
TEMPLATE = Path(__file__).with_name("model_card.template.md")


def write_card(folder: Path, metrics: Metrics) -> None:
    """Fill in the template; raises KeyError if `metrics` lacks a placeholder of the template."""
    figures = {name: _formatted(value) for name, value in metrics.items()}
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    (folder / "README.md").write_text(template.substitute(figures), encoding="utf-8")


def _formatted(value: int | str | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return " / ".join(f"{part:.1f}" for part in value)
    return f"{value:,}" if isinstance(value, int) else value
