"""What made the dataset: model, weights, versions, runs, configuration.

In: the identity of a dataset, footers of its files, and the configuration of its newest run. Out: names and values.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.dataset.history import latest_config
from pipeline.dataset.outcomes import footer_of
from pipeline.errors import UsageError
from pipeline.report.material import Material, spread

_FOOTERS = 16


@dataclass(frozen=True, slots=True)
class Provenance:
    """The section. `configuration` is YAML of the newest run, empty where no run left one."""

    facts: list[tuple[str, str]]
    configuration: str


def provenance(material: Material) -> Provenance:
    """What made it; versions and arithmetic are those of some of the files, spread over all."""
    identity = material.dataset.identity
    files = material.dataset.files()
    footers = [footer_of(file.uri) for file in spread(files, _FOOTERS)]
    facts = [
        ("dataset", material.dataset.uri),
        ("model", identity.model),
        ("revision", identity.revision or "none: not from a hub"),
        ("weights, sha256", identity.weights_sha256),
        ("preprocessing", identity.preprocessing),
        ("vectors", f"{identity.dim} × {identity.embedding_dtype}, norm 1"),
        ("long texts", identity.text_overflow),
        ("hanclip", _distinct(footers, "version")),
        ("arithmetic", _distinct(footers, "compute_dtype")),
        ("logit scale", _scale(_distinct(footers, "logit_scale"))),
        ("other columns", ", ".join(identity.extra.names) or "none"),
        ("files", f"{len(files):,}"),
    ]
    try:
        configuration = latest_config(material.dataset.uri).to_yaml()
    except UsageError:
        configuration = ""
    return Provenance(facts, configuration)


def _distinct(footers: list[dict[str, str]], name: str) -> str:
    return ", ".join(sorted({footer[name] for footer in footers if name in footer})) or "not told"


def _scale(told: str) -> str:
    """`24.513371642677637` -> `24.5134`; what is no single number stays as it is."""
    try:
        return f"{float(told):.6g}"
    except ValueError:
        return told
