"""Opens the datasets against which rows are compared: test sets, or what was published.

In: their addresses, and the dataset that is deduplicated. Out: the datasets, which are only read. Vectors and pixels of
another model are not comparable, so such a dataset is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import storage
from pipeline.curation.dedup.links.rungs import needs, parts_in
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.images.preprocessing import may_continue
from pipeline.vocabulary import Rung

#: Rungs that compare what was in the files, whatever the model.
_ANY_MODEL = {Rung.BYTES, Rung.TEXT}


def open_references(dataset: Dataset, settings: DedupSettings, rungs: Sequence[str]) -> tuple[Dataset, ...]:
    """The datasets of `settings.against`.

    Raises:
        UsageError: one is the dataset itself, was made by another model, or lacks a column that is compared, or has it
            with another type.
        IdentityError: there is no dataset.
    """
    found = tuple(Dataset.open(uri) for uri in settings.against)
    for other in found:
        if storage.real(other.uri) == storage.real(dataset.uri):  # all its rows would be duplicates of themselves
            raise UsageError(f"--against {other.uri} is the dataset itself: give another one.")
        _refuse_incomparable(dataset, other, settings, rungs)
    return found


def _refuse_incomparable(dataset: Dataset, other: Dataset, settings: DedupSettings, rungs: Sequence[str]) -> None:
    compared = {name for rung in parts_in(rungs) for name in needs(rung)} | set(settings.same)
    if missing := sorted(compared - set(other.identity.schema.names)):
        raise UsageError(
            f"--against {other.uri}: that dataset has no {' and no '.join(missing)}. Choose rungs that it has, such as "
            "--rung bytes."
        )
    mine, theirs = dataset.identity, other.identity
    for name in sorted(compared - {*mine.vector_columns}):
        here, there = mine.schema.field(name).type, theirs.schema.field(name).type
        if here != there:
            raise UsageError(
                f"--against {other.uri}: its column {name} is of type {there}, and that of the dataset of type {here}, "
                "so that no values would be equal. Leave out --same for this column, or embed one of them anew with "
                "the other's type."
            )
    if set(parts_in(rungs)) <= _ANY_MODEL:
        return
    for name in ("weights_sha256", "preprocessing", "dim"):
        here, there = getattr(mine, name), getattr(theirs, name)
        alike = name == "preprocessing" and (may_continue(here, there) or may_continue(there, here))
        if here != there and not alike:
            raise UsageError(
                f"--against {other.uri} was made with another model or preprocessing ({name} {there} "
                f"and not {here}): embed it with {mine.model}, or compare files with --rung bytes."
            )
