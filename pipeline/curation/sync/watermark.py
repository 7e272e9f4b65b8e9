"""The watermark: what a collection holds, as JSON that is stored in the database itself.

In: a dataset, settings, and the watermark that is there. Out: the one to store. It names the committed shards and the
tombstones whose outcomes the collection reflects, and what else its rows follow from: model, columns, condition. Before
the first change it gets the entry `pending`; the last request removes that and adds the new shards. So a watermark
without `pending` is true, and one with it says what the interrupted sync may have changed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline import storage
from pipeline.curation.sync.contract import SyncColumns
from pipeline.curation.sync.settings import SyncSettings
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Watermark:
    """What a collection holds.

    Attributes:
        dataset: URI of the dataset.
        model, weights_sha256, model_sha256, preprocessing: of the vectors; `model` is for people.
        vectors, dim, columns: what a row has.
        where: the condition that its rows meet.
        tables: with a condition, the tables that it may use, in the versions that were used.
        shards: names of the committed shards that it reflects, each with its attempt.
        tombstones: names of the runs whose tombstones it reflects.
        pending: token of a sync that began to change rows and did not end; empty if there is none.
        pending_full: that sync compared all rows.
    """

    dataset: str
    model: str
    weights_sha256: str
    model_sha256: str | None
    preprocessing: str
    vectors: tuple[str, ...]
    dim: int
    columns: tuple[str, ...]
    where: str | None
    tables: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    tombstones: tuple[str, ...] = ()
    pending: str = ""
    pending_full: bool = False

    @classmethod
    def of(cls, dataset: Dataset, settings: SyncSettings, columns: SyncColumns) -> Watermark:
        """That of a collection which reflects no shard yet."""
        identity = dataset.identity
        return cls(
            dataset=dataset.uri,
            model=identity.model,
            weights_sha256=identity.weights_sha256,
            model_sha256=identity.model_sha256,
            preprocessing=identity.preprocessing,
            vectors=columns.vectors,
            dim=columns.dim,
            columns=tuple(columns.scalars.names),
            where=settings.where,
            tables=_tables(dataset.uri) if settings.where else (),
        )

    @classmethod
    def parse(cls, text: str) -> Watermark | None:
        """The watermark in `text`; None if it is of another version or damaged, so that all rows are compared."""
        try:
            tree: dict[str, Any] = json.loads(text)
            if tree.pop("format") != _FORMAT:
                return None
            lists = {name: tuple(tree[name]) for name in ("vectors", "columns", "tables", "shards", "tombstones")}
            return cls(**{**tree, **lists})
        except (ValueError, TypeError, LookupError, AttributeError):
            return None

    def text(self) -> str:
        """What is stored."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, ensure_ascii=False)

    def covering(self, shards: tuple[str, ...], tombstones: tuple[str, ...]) -> Watermark:
        """The same, complete, and of this state of the dataset."""
        return replace(self, shards=shards, tombstones=tombstones, pending="", pending_full=False)


def refuse_other(known: Watermark, wanted: Watermark, settings: SyncSettings) -> None:
    """Raise UsageError if the collection holds what this sync must not replace."""
    where = f"The collection {settings.collection} in {settings.dest}"
    other = "name another one with --collection, or delete it"
    same = known.weights_sha256 == wanted.weights_sha256 and known.preprocessing == wanted.preprocessing
    both = known.model_sha256 is not None and wanted.model_sha256 is not None
    if not same or (both and known.model_sha256 != wanted.model_sha256):
        raise UsageError(
            f"{where} holds vectors of another model ({known.model}; the dataset's is {wanted.model}), and the two "
            f"cannot be compared: {other}."
        )
    if known.dim != wanted.dim or known.vectors != wanted.vectors:
        raise UsageError(
            f"{where} has {_vectors(known)}, and this sync would send {_vectors(wanted)}: correct --vectors, {other}."
        )
    if set(known.columns) != set(wanted.columns):
        raise UsageError(
            f"{where} has the columns {', '.join(known.columns)}, and this sync would send "
            f"{', '.join(wanted.columns)}: correct --column, {other}."
        )
    if known.dataset != wanted.dataset and not settings.full:
        raise UsageError(
            f"{where} holds the rows of {known.dataset}: {other}; or, if it is to hold those of {wanted.dataset} "
            "instead, add --full."
        )


def _tables(out: str) -> tuple[str, ...]:
    """The tables derived from the dataset, each with its version in the listing."""
    infos = [
        info for folder in (layout.DEDUP, layout.SIMILARITY, layout.CLASSES) for info in layout.objects(out, folder)
    ]
    return tuple(f"{storage.relative(info.uri, out)} {info.size_bytes} {info.fingerprint}" for info in infos)


def _vectors(mark: Watermark) -> str:
    return f"{' and '.join(mark.vectors)} of {mark.dim} numbers"
