"""Provenance of a dataset: model, weights, versions, runs, configuration.

In: the identity of a dataset, footers of its files, and the configuration of its newest run. Out: names and values.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.dataset.footer import MAKERS
from pipeline.dataset.history import latest_config
from pipeline.dataset.outcomes import footers_of
from pipeline.errors import UsageError
from pipeline.report.material import Material
from pipeline.report.wording import Phrase, say

_FOOTERS = 16


@dataclass(frozen=True, slots=True)
class ProvenanceSection:
    """The section. `configuration` is YAML of the newest run, empty if no run left one."""

    facts: list[tuple[Phrase | str, Phrase | str]]
    configuration: str


def provenance(material: Material) -> ProvenanceSection:
    """The section; versions and arithmetic are from the footers of a few files, spread over all."""
    identity = material.dataset.identity
    files = material.dataset.files()
    footers = footers_of(files, _FOOTERS)
    facts: list[tuple[Phrase | str, Phrase | str]] = [
        (say("provenance.dataset"), material.dataset.uri),
        (say("provenance.model"), identity.model),
        (say("provenance.revision"), identity.revision or say("provenance.no_revision")),
        (say("provenance.weights"), identity.weights_sha256),
        (say("provenance.model_sha256"), identity.model_sha256 or say("provenance.not_recorded")),
        (say("provenance.preprocessing"), identity.preprocessing),
        (say("provenance.context"), say("provenance.tokens", n=identity.context_length)),
        (say("provenance.vectors"), say("provenance.shape", dim=identity.dim, dtype=identity.embedding_dtype)),
        (say("provenance.long_texts"), identity.text_overflow),
        (say("provenance.hanclip"), _distinct(footers, "version")),
        (say("provenance.arithmetic"), _distinct(footers, "compute_dtype")),
        *((name, _distinct(footers, name)) for name in MAKERS),
        (say("provenance.scale"), _scale(_distinct(footers, "logit_scale"))),
        (say("provenance.columns"), ", ".join(identity.extra.names) or say("provenance.no_columns")),
        (say("provenance.files"), f"{len(files):,}"),
    ]
    try:
        configuration = latest_config(material.dataset.uri).to_yaml()
    except UsageError:
        configuration = ""
    return ProvenanceSection(facts, configuration)


def _distinct(footers: list[dict[str, str]], name: str) -> Phrase | str:
    """The values in the footers; a compacted file may have several, joined by commas."""
    values = {one for footer in footers if name in footer for one in footer[name].split(",")}
    return ", ".join(sorted(values)) or say("provenance.unknown")


def _scale(text: Phrase | str) -> Phrase | str:
    """`24.513371642677637` -> `24.5134`; a text that is not a number is returned unchanged."""
    try:
        return text if isinstance(text, Phrase) else f"{float(text):.6g}"
    except ValueError:
        return text
