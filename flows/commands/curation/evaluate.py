"""`hanclip evaluate`: retrieval scores of a dataset or of feature files.

In: the options of the command. Out: scores on stdout, the bar on stderr, prediction files where
asked for, and an exit code: 0, or 1 when a direction has no score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from flows.commands.curation.evaluate_tables import Evaluated, show, show_published
from flows.terminal.bars import phase_bar
from pipeline import storage
from pipeline.curation.encoder import encoder_of
from pipeline.curation.evaluate import published
from pipeline.curation.evaluate.features import read_features
from pipeline.curation.evaluate.files import AnswerSink, prediction_file, write_output
from pipeline.curation.evaluate.own_pairs import OwnPairs
from pipeline.curation.evaluate.pairs import RetrievalPairs, read_pairs
from pipeline.curation.evaluate.row_filter import RowFilter
from pipeline.curation.evaluate.search import Direction, Evaluation, NamedVectors, evaluate
from pipeline.curation.vectors import VectorRows
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.phases import OnPhase, OnRows, counted
from pipeline.vocabulary import Dtype

__all__ = ["Comparison", "EvaluateRequest", "directions", "run", "show_published"]

_TEXTS_AT_ONCE = 1024
_PREFIX = {Direction.TEXT_TO_IMAGE: "", Direction.IMAGE_TO_TEXT: "tr_"}
_KEYS = {Direction.TEXT_TO_IMAGE: ("text_id", "image_ids"), Direction.IMAGE_TO_TEXT: ("image_id", "text_ids")}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether to show published figures with the score; of which set, and of which model if its name is not known."""

    enabled: bool
    set: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """The options of the command."""

    out: str | None
    pairs: str | None
    image_features: str | None
    text_features: str | None
    where: str | None
    sample: int | None
    directions: tuple[Direction, ...]
    model: str | None
    dtype: Dtype | None
    predictions: str | None
    split: str | None
    compare: Comparison

    def check(self) -> None:
        """Raise ConfigError for options that conflict or have no effect."""
        for wrong, message in (*self._wrong_inputs(), *self._wrong_names()):
            if wrong:
                raise ConfigError(message)

    def check_published(self) -> None:
        """Raise ConfigError for options that --published, which evaluates nothing, would ignore."""
        inputs = (self.out, self.pairs, self.image_features, self.text_features, self.where, self.sample)
        if any((*inputs, self.model, self.dtype, self.predictions, self.split, self.compare.enabled)):
            raise ConfigError(
                "--published only lists figures: omit all other options but --set and --published-model, or omit it "
                "and add --compare to see figures with a score."
            )

    def _wrong_inputs(self) -> tuple[tuple[object, str], ...]:
        return (
            (not self.out and not self.image_features, "Nothing to evaluate: give OUT, or --image-features."),
            (self.out and self.image_features, "OUT and --image-features are both images: give one of them."),
            (not self.pairs and (self.image_features or self.text_features), "Feature files need --pairs FILE."),
            (self.image_features and not self.text_features, "--image-features needs --text-features FILE."),
            (self.where and not self.out, "--where chooses rows of OUT: leave it out, or give OUT."),
            (self.sample and self.pairs, "--sample draws from a dataset's own pairs: leave out --pairs or --sample."),
            (self.predictions and not self.pairs, "--predictions are written for --pairs FILE: give them too."),
            (
                (self.model or self.dtype) and (not self.pairs or self.text_features),
                "--model and --dtype encode the texts of --pairs FILE for OUT: leave them out, or give such pairs.",
            ),
        )

    def _wrong_names(self) -> tuple[tuple[object, str], ...]:
        of, split = self.compare, self.split
        return (
            (
                split is not None and not _NAME.fullmatch(split),
                f"--split {split!r} is not a valid name: use letters, digits, dots and dashes, as in valid.",
            ),
            (
                split and not self.predictions and not of.enabled,
                "--split names --predictions and chooses figures of --compare: leave it out, or give one of them.",
            ),
            (
                (of.set or of.model) and not of.enabled,
                "--set and --published-model choose published figures: give --compare or --published too.",
            ),
            (of.enabled and not of.set, f"--compare needs --set, one of {_SETS}."),
            (
                of.enabled and of.set not in published.sets("retrieval"),
                f"There are no published figures of --set {of.set}: give one of {_SETS}.",
            ),
        )

    @property
    def split_name(self) -> str | None:
        """`valid` for `valid_texts.jsonl`."""
        if self.split or not self.pairs:
            return self.split
        stem = storage.name(self.pairs).partition(".")[0]
        return re.sub(r"_(texts|queries)$", "", stem)


_NAME = re.compile(r"\w[\w.-]*")
_SETS = ", ".join(published.sets("retrieval"))


def directions(word: str) -> tuple[Direction, ...]:
    """The directions that `both`, or the name of one, stands for."""
    return tuple(Direction) if word == "both" else (Direction(word),)


def run(request: EvaluateRequest, as_json: bool) -> int:
    """Evaluate and print; returns 0 if every direction has a score, else 1."""
    request.check()
    with phase_bar("Reading the keys", silent=as_json) as on_phase:
        evaluation = _pairs(request, on_phase) if request.pairs else _own(request, on_phase)
    name = Dataset.open(request.out).identity.model if request.out else None
    evaluated = Evaluated(
        what=request.out or request.image_features or "",
        model=name,
        published_model=published.model_key(request.compare.model or name or ""),
        set=request.compare.set,
        split=request.split_name,
        sample=request.sample,
        where=request.where,
    )
    show(evaluation, evaluated, as_json)
    return int(any(isinstance(outcome.result, str) for outcome in evaluation.outcomes))


def _own(request: EvaluateRequest, on_phase: OnPhase) -> Evaluation:
    """The dataset's own pairs."""
    assert request.out
    with _filter(request.out, request.where) as rows:
        pairs = OwnPairs(request.out, rows, request.sample)
        total = pairs.rows * sum(map(pairs.passes, request.directions))
        on_rows = counted(on_phase, "Searching", total)
        return Evaluation(tuple(pairs.evaluate(direction, on_rows) for direction in request.directions))


def _pairs(request: EvaluateRequest, on_phase: OnPhase) -> Evaluation:
    """The pairs of a file, among the images of a dataset or of a feature file."""
    assert request.pairs
    pairs = read_pairs(request.pairs)
    texts = _of_file(request.text_features) if request.text_features else _encoded(request, pairs, on_phase)
    with ExitStack() as stack:
        answers = {direction: tuple(_written(request, direction, stack)) for direction in request.directions}
        evaluation = evaluate(texts, stack.enter_context(_images(request, on_phase)), pairs, answers)
    if request.predictions:
        for outcome in evaluation.outcomes:
            name = f"{_PREFIX[outcome.direction]}output.json"
            write_output(storage.join(request.predictions, name), outcome.result)
    return evaluation


def _of_file(uri: str) -> NamedVectors:
    blocks = list(read_features(uri))
    if not blocks:
        raise ConfigError(f"{uri} is empty: give a file with a feature a line.")
    return NamedVectors(
        [str(id_) for ids, _ in blocks for id_ in ids], np.concatenate([vectors for _, vectors in blocks])
    )


def _encoded(request: EvaluateRequest, pairs: RetrievalPairs, on_phase: OnPhase) -> NamedVectors:
    """The texts of the pairs, by the dataset's model."""
    assert request.out
    on_phase("Loading the model for the texts", 0, None)
    encoder = encoder_of(request.out, request.model, request.dtype or "fp32")
    on_rows = counted(on_phase, "Encoding texts", len(pairs.texts))
    parts = []
    for first in range(0, len(pairs.texts), _TEXTS_AT_ONCE):
        parts.append(encoder.encode_texts(pairs.texts[first : first + _TEXTS_AT_ONCE]))
        on_rows(len(parts[-1]))
    return NamedVectors(pairs.text_ids, np.concatenate(parts))


@contextmanager
def _images(request: EvaluateRequest, on_phase: OnPhase) -> Iterator[Iterator[NamedVectors]]:
    """The candidates."""
    if request.out:
        with _filter(request.out, request.where) as rows:
            found = VectorRows(request.out, columns=rows.columns)
            yield _image_rows(found, rows, counted(on_phase, "Searching images", found.total))
    else:
        assert request.image_features
        yield _image_file(request.image_features, counted(on_phase, "Searching images"))


def _image_rows(found: VectorRows, rows: RowFilter, on_rows: OnRows) -> Iterator[NamedVectors]:
    for block in found.blocks():
        part = rows.rows(block.rows)
        yield NamedVectors(block.rows["id"].take(part).to_pylist(), block.vectors[part])
        on_rows(block.rows.num_rows)


def _image_file(uri: str, on_rows: OnRows) -> Iterator[NamedVectors]:
    for ids, vectors in read_features(uri):
        yield NamedVectors(list(map(str, ids)), vectors)
        on_rows(len(ids))


def _written(request: EvaluateRequest, direction: Direction, stack: ExitStack) -> Iterator[AnswerSink]:
    """The file for the answers in a direction, if predictions are requested."""
    if request.predictions:
        name = f"{request.split_name}_{_PREFIX[direction]}predictions.jsonl"
        yield stack.enter_context(prediction_file(storage.join(request.predictions, name), _KEYS[direction]))


def _filter(out: str, where: str | None) -> RowFilter:
    return RowFilter(where, Dataset.open(out).identity.schema)
