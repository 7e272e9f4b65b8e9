"""Provenance of a dataset: model, weights, versions, runs, configuration.

In: the identity of a dataset, footers of its files, and the configuration of its newest run. Out: names and values.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.dataset.footer import MAKERS
from pipeline.dataset.history import latest_config
from pipeline.dataset.outcomes import footer_of
from pipeline.errors import UsageError
from pipeline.report.material import Material, spread

_FOOTERS = 16


@dataclass(frozen=True, slots=True)
class ProvenanceSection:
    """The section. `configuration` is YAML of the newest run, empty if no run left one."""

    facts: list[tuple[str, str]]
    configuration: str


def provenance(material: Material) -> ProvenanceSection:
    """The section; versions and arithmetic are from the footers of a few files, spread over all."""
    identity = material.dataset.identity
    files = material.dataset.files()
    footers = [footer_of(file.uri) for file in spread(files, _FOOTERS)]
    facts = [
        ("dataset", material.dataset.uri),
        ("model", identity.model),
        ("revision", identity.revision or "none: not from a hub"),
        ("weights, sha256", identity.weights_sha256),
        ("model, sha256", identity.model_sha256 or "not recorded"),
        ("preprocessing", identity.preprocessing),
        ("context length", f"{identity.context_length} tokens"),
        ("vectors", f"{identity.dim} × {identity.embedding_dtype}, norm 1"),
        ("long texts", identity.text_overflow),
        ("hanclip", _distinct(footers, "version")),
        ("arithmetic", _distinct(footers, "compute_dtype")),
        *((name, _distinct(footers, name)) for name in MAKERS),
        ("logit scale", _scale(_distinct(footers, "logit_scale"))),
        ("other columns", ", ".join(identity.extra.names) or "none"),
        ("files", f"{len(files):,}"),
    ]
    try:
        configuration = latest_config(material.dataset.uri).to_yaml()
    except UsageError:
        configuration = ""
    return ProvenanceSection(facts, configuration)


def _distinct(footers: list[dict[str, str]], name: str) -> str:
    return ", ".join(sorted({footer[name] for footer in footers if name in footer})) or "unknown"


def _scale(text: str) -> str:
    """`24.513371642677637` -> `24.5134`; a text that is not a number is returned unchanged."""
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text
