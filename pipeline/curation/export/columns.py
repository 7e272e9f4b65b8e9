"""Chooses the columns of an export and the names that they get, before anything is written.

In: the request and the rules of the consumer for names. Out: the columns as the dataset and as the export call them.
Only columns of the source are renamed: those that hanclip writes suit every consumer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.curation.values.names import NameRules
from pipeline.curation.vectors import IMAGE, TEXT, require_vectors
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pipeline.curation.export.contract import ExportRequest


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns of an export.

    Attributes:
        source: their names in the dataset.
        schema: `id`, the chosen scalar columns, the vectors, with the names of the export.
        vectors: names of the vector columns, which are never renamed.
        dim: length of a vector.
    """

    source: tuple[str, ...]
    schema: pa.Schema
    vectors: tuple[str, ...]
    dim: int


def choose_columns(request: ExportRequest, rules: NameRules) -> Chosen:
    """The columns of an export.

    Raises:
        UsageError: the dataset lacks a chosen column or vector, or the consumer refuses a name.
    """
    dataset = Dataset.open(request.out)
    schema, renamed = dataset.identity.schema, request.options.new_names
    vectors = chosen_vectors(dataset, request.options.vectors)
    source = tuple(dict.fromkeys(["id", *chosen_columns(dataset, request.options.columns), *vectors]))
    own = dataset.identity.extra.names
    if unknown := sorted(set(renamed) - set(own)):
        raise UsageError(
            f"{dataset.uri} has no column of the source {', '.join(unknown)}; it has {', '.join(own) or 'none'}. "
            f"{''.join(did_you_mean(name, own) for name in unknown)}Correct --rename."
        )
    if unused := [name for name in renamed if name not in source]:
        raise UsageError(f"The export leaves out {', '.join(unused)}: name what you rename with --column, too.")
    fields = [schema.field(name).with_name(renamed.get(name, name)) for name in source]
    rules.check([field.name for field in fields])
    return Chosen(source, pa.schema(fields), vectors, dataset.identity.dim)


def chosen_columns(dataset: Dataset, columns: Sequence[str] | None) -> list[str]:
    """The columns other than vectors that were named; all if none were. Raises UsageError for unknown ones."""
    available = [name for name in dataset.identity.schema.names if name not in dataset.identity.vector_columns]
    chosen = available if columns is None else list(columns)
    if unknown := sorted(set(chosen) - set(available)):
        raise UsageError(
            f"{dataset.uri} has no column {', '.join(unknown)}; it has {', '.join(available)}. "
            f"{''.join(did_you_mean(name, available) for name in unknown)}Correct --column."
        )
    return chosen


def chosen_vectors(dataset: Dataset, vectors: str | None) -> tuple[str, ...]:
    """The vector columns that `--vectors` means. Raises UsageError if the dataset lacks one."""
    first = dataset.identity.vector_columns[:1]
    chosen = {"image": (IMAGE,), "text": (TEXT,), "both": (IMAGE, TEXT)}.get(vectors or "", first)
    require_vectors(dataset, *chosen)
    return chosen
