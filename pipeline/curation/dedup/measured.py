"""Which default thresholds of duplicates were measured, by model.

What cosine two versions of one picture have is a property of the model, so a default that was measured with one says
nothing certain about another. `python -m benchmarks.planted` measures on a catalog with known copies, and
`hanclip dedup OUT --suggest` shows the pairs of any dataset.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.curation.dedup.links.rungs import parts_in, searches
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset.identity import Identity
from pipeline.vocabulary import Rung

#: By rung the models, as digests of their weights, and the threshold that was measured with them. Of the demo model:
#: 78 of the demo catalog's 80 planted copies are found, and 73 % of the pairs in groups are planted ones. The default
#: of near texts was measured with no model.
MEASURED: dict[Rung, dict[str, float]] = {
    Rung.IMAGE: {"10b88e3bcf2e59d457d75dcaad0036ba46acc633cd9c9d884535aab51b0ce14e": 0.985},
    Rung.NEAR_TEXT: {},
}
#: The options of the thresholds.
OPTIONS = {Rung.IMAGE: "--image-cosine", Rung.NEAR_TEXT: "--text-cosine"}


def is_measured(identity: Identity, rung: Rung, threshold: float) -> bool:
    """Whether this threshold of a rung was measured with the dataset's model."""
    return MEASURED[rung].get(identity.weights_sha256) == threshold


def unmeasured(settings: DedupSettings, rungs: tuple[str, ...], identity: Identity) -> Iterator[tuple[Rung, float]]:
    """The rungs at their default threshold for which nobody has measured it with this model. A chosen one is chosen."""
    default = searches(DedupSettings(), [str(rung) for rung in parts_in(rungs)])
    for rung, search in searches(settings, rungs).items():
        if search.threshold == default[rung].threshold and not is_measured(identity, rung, search.threshold):
            yield rung, search.threshold
