"""The identity of a dataset: model, preprocessing, columns and vector type. Written once, never changed.

In: a model and a source. Out: an `Identity`, stored in `_dataset.json`. Two runs may write to one folder only if their
identities agree, because vectors of different models are not comparable. The model's *name* may differ (a local copy of
the same weights), its parts may not: everything that its vectors follow from.

Datasets of earlier versions have only the digest of the weights' files, so the other parts are unknown; the next run
records them (`Dataset.recording`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.dataset.parts import UNRECORDED, ModelFacts, ModelParts, part_differences
from pipeline.dataset.schema import OwnColumns
from pipeline.errors import IdentityError
from pipeline.images.preprocessing import may_continue
from pipeline.vocabulary import FORMAT_VERSION, Signal, TextOverflow

#: The fields that must agree, in the order in which differences are reported, each with its cure.
_OTHER_OUT = "write to another OUT"
_MODEL_CURE = "write to another OUT, or use the model that the dataset was made with"
_TRUNCATE: TextOverflow = "truncate"
_COMPARED = {
    "format_version": _OTHER_OUT,
    "weights_sha256": _MODEL_CURE,
    "preprocessing": _MODEL_CURE,
    "dim": _MODEL_CURE,
    "has_images": _OTHER_OUT,
    "has_texts": _OTHER_OUT,
    "extra": "write to another OUT, or choose the same columns with --extra-column",
    "text_overflow": "write to another OUT, or set --text-overflow to the dataset's",
    "embedding_dtype": "write to another OUT, or set --embedding-dtype to the dataset's",
    "signals": "write to another OUT, or leave out --signals: a run measures what its dataset has",
}


class SourceFacts(Protocol):
    """The properties of a source that decide which columns exist; `sources.SourceSpec` has them."""

    @property
    def has_images(self) -> bool:
        """Records have images."""

    @property
    def has_texts(self) -> bool:
        """Records have texts."""

    @property
    def extra(self) -> pa.Schema:
        """Further columns of the source to store."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of one dataset.

    Attributes:
        model, revision: where the weights came from; reported, not compared.
        weights_sha256: hex digest of the weights' files.
        model_sha256: hex digest of everything that the vectors follow from; None if that was not recorded.
        model_parts: what that is: weights, vocabulary, context length and others. None if it was not recorded.
        preprocessing: id of the conversion of image bytes and text to the model's input.
        dim: length D of a vector.
        has_images, has_texts: which column groups exist.
        extra: further columns of the source.
        embedding_dtype: "float32" or "float16", the type of a vector's elements.
        shard_rows: target rows when a source is cut, fixed when the dataset is first planned; reported, not compared.
        shard_rows_chosen: the user chose it, so it is the target of all shards; else a plan may choose a larger one.
        text_overflow: how vectors of long texts are made. "quarantine" makes none, so it is "truncate" here.
        signals: what is measured of images, a column each.
    """

    model: str
    revision: str | None
    weights_sha256: str
    preprocessing: str
    dim: int
    has_images: bool
    has_texts: bool
    extra: pa.Schema = field(default_factory=lambda: pa.schema([]))
    embedding_dtype: str = "float32"
    shard_rows: int = 4096
    text_overflow: TextOverflow = _TRUNCATE
    format_version: int = FORMAT_VERSION
    model_sha256: str | None = None
    model_parts: ModelParts | None = None
    shard_rows_chosen: bool = False
    signals: tuple[str, ...] = ()

    @property
    def context_length(self) -> int:
        """Tokens of a text, including [CLS] and [SEP]."""
        return int((self.model_parts or UNRECORDED)["context_length"])

    @property
    def own_columns(self) -> OwnColumns:
        """The columns that are not the source's."""
        return OwnColumns(self.has_images, self.has_texts, self.signals, self.format_version)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the embeddings files: the columns that the dataset's version has."""
        own = self.own_columns.embedded(self.dim, pa.type_for_alias(self.embedding_dtype))
        return pa.schema([*own, *self.extra])

    @property
    def vector_columns(self) -> tuple[str, ...]:
        """Names of the columns that hold vectors."""
        return ("image_embedding",) * self.has_images + ("text_embedding",) * self.has_texts

    def digest(self) -> bytes:
        """SHA-256 over the compared fields without the model's parts, which some datasets record later.

        Shard ids are derived from it.
        """
        fields = dict(_compared(self))
        if self.text_overflow == _TRUNCATE:
            del fields["text_overflow"]  # the only mode of older versions, so shard ids stay the same
        if not self.signals:
            del fields["signals"]  # as in older versions
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()

    def to_json(self) -> str:
        """Contents of `_dataset.json`. `extra` comes twice: names and types for people, the Arrow schema for code."""
        fields = dict(_compared(self))
        if not self.signals:
            del fields["signals"]  # most datasets have none, and older versions knew none
        tree = {
            "hanclip_dataset": fields.pop("format_version"),
            "model": self.model,
            "revision": self.revision,
            **fields,
            "shard_rows": self.shard_rows,
            **({"shard_rows_chosen": True} if self.shard_rows_chosen else {}),
            **(self.recorded_model() or {}),
            "extra_schema": base64.b64encode(self.extra.serialize().to_pybytes()).decode(),
        }
        return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"

    def recorded_model(self) -> dict[str, Any] | None:
        """The model's digest and parts as plain JSON values; None if they were not recorded."""
        if self.model_parts is None:
            return None
        return {"model_sha256": self.model_sha256, "model_parts": dict(self.model_parts)}

    @classmethod
    def from_json(cls, text: str | bytes, uri: str) -> Identity:
        """Parse `_dataset.json`; `uri` is named in the error. Raises IdentityError."""
        try:
            tree: dict[str, Any] = json.loads(text)
            version = int(tree.pop("hanclip_dataset"))
            if version > FORMAT_VERSION:
                raise IdentityError(
                    f"{uri} has format {version}, this hanclip reads up to {FORMAT_VERSION}: upgrade hanclip."
                )
            extra = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(tree.pop("extra_schema"))))
            signals = tuple(str(Signal(name)) for name in tree.pop("signals", ()))
            return _plausible(cls(**{**tree, "extra": extra, "signals": signals, "format_version": version}))
        except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            cure = "restore it from a copy, or write to another OUT"
            raise IdentityError(f"{uri} is damaged or not written by hanclip ({error!r}): {cure}.") from error


def _plausible(found: Identity) -> Identity:
    """The identity itself. Raises ValueError if it has values that no run writes."""
    kinds: dict[str, type] = dict.fromkeys(("model", "weights_sha256", "preprocessing", "embedding_dtype"), str)
    kinds |= {"text_overflow": str, "dim": int, "shard_rows": int, "has_images": bool, "has_texts": bool}
    kinds |= {"shard_rows_chosen": bool}
    values = {name: getattr(found, name) for name in kinds}
    wrong = [
        name for name, kind in kinds.items() if type(values[name]) is not kind or (kind is int and values[name] < 1)
    ]
    if wrong:
        raise ValueError(f"wrong values of {', '.join(wrong)}")
    return found


def identify(model: ModelFacts, source: SourceFacts, config: RunConfig, shard_rows: int) -> Identity:
    """The identity of a new dataset of `model` over `source`."""
    return Identity(
        model=model.name,
        revision=model.revision,
        weights_sha256=model.weights_sha256,
        preprocessing=model.preprocessing,
        dim=model.dim,
        has_images=source.has_images,
        has_texts=source.has_texts,
        extra=source.extra.remove_metadata(),
        embedding_dtype=config.output.embedding_dtype,
        shard_rows=shard_rows,
        shard_rows_chosen=config.output.shard_rows is not None,
        text_overflow=_TRUNCATE if config.model.text_overflow == "quarantine" else config.model.text_overflow,
        model_sha256=model.model_sha256,
        model_parts=dict(model.parts),
    )


def check_same(stored: Identity, wanted: Identity, uri: str) -> None:
    """Raise an IdentityError with each difference, both values and the cure, unless the two agree.

    A dataset of an earlier version is continued in that version, so versions never differ. The same holds for the
    preprocessing's.
    """
    ours = dict(_compared(replace(wanted, format_version=stored.format_version)))
    if may_continue(stored.preprocessing, wanted.preprocessing):
        ours["preprocessing"] = stored.preprocessing
    if stored.model_parts is not None and wanted.model_parts is not None:
        ours["weights_sha256"] = stored.weights_sha256  # other files with the same weights are the same model
    lines = [
        f"{name}: the dataset has {old!r}, this run has {ours[name]!r} ({_COMPARED[name]})"
        for name, old in _compared(stored)
        if ours[name] != old
    ]
    lines += part_differences(stored.model_parts, wanted.model_parts)
    if lines:
        raise IdentityError(
            f"The dataset at {uri} has another identity (model {stored.model}, revision {stored.revision}):\n  "
            + "\n  ".join(lines)
        )


def check_model(stored: Identity, model: ModelFacts, uri: str) -> None:
    """`check_same` for the model only, which can run before the source is listed."""
    wanted = replace(
        stored,
        weights_sha256=model.weights_sha256,
        preprocessing=model.preprocessing,
        dim=model.dim,
        model_parts=dict(model.parts),
    )
    check_same(stored, wanted, uri)


def _compared(identity: Identity) -> Iterator[tuple[str, Any]]:
    """The compared fields as plain JSON values."""
    for name in _COMPARED:
        value = getattr(identity, name)
        if name == "extra":
            value = [[column.name, str(column.type)] for column in value]
        yield name, list(value) if name == "signals" else value
