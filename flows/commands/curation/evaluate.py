"""`hanclip evaluate`: retrieval scores of a dataset or of feature files.

In: the options of the command. Out: scores on stdout, the bar on stderr, prediction files where
asked for, and an exit code: 0, or 1 when a direction has no score although the pairs name images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from flows.commands.curation.tables.evaluate import Evaluated, show, show_published
from flows.terminal.bars import phase_bar
from pipeline import storage
from pipeline.curation.encoder import encoder_of
from pipeline.curation.evaluate import published
from pipeline.curation.evaluate.features import read_features
from pipeline.curation.evaluate.files import AnswerSink, prediction_file, write_output
from pipeline.curation.evaluate.own_pairs import OwnPairs
from pipeline.curation.evaluate.pairs import NOTHING_TO_SCORE, RetrievalPairs, read_pairs
from pipeline.curation.evaluate.request import EvaluateRequest
from pipeline.curation.evaluate.row_filter import RowFilter
from pipeline.curation.evaluate.search import Direction, Evaluation, NamedVectors, evaluate
from pipeline.curation.vectors import VectorRows
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.phases import OnPhase, OnRows, counted

_TEXTS_AT_ONCE = 1024
_PREFIX = {Direction.TEXT_TO_IMAGE: "", Direction.IMAGE_TO_TEXT: "tr_"}
_KEYS = {Direction.TEXT_TO_IMAGE: ("text_id", "image_ids"), Direction.IMAGE_TO_TEXT: ("image_id", "text_ids")}


def _directions(request: EvaluateRequest) -> tuple[Direction, ...]:
    return tuple(Direction) if request.direction == "both" else (Direction(request.direction),)


def run(request: EvaluateRequest, as_json: bool) -> int:
    """Evaluate and print, or list published figures; returns 0 if every direction has a score, else 1."""
    if request.published:
        request.check_published()
        show_published(request.set_name, request.published_model, as_json)
        return 0
    request.check()
    with phase_bar("Reading the keys", silent=as_json) as on_phase:
        evaluation = _pairs(request, on_phase) if request.pairs else _own(request, on_phase)
    name = Dataset.open(request.out).identity.model if request.out else None
    evaluated = Evaluated(
        what=request.out or request.image_features or "",
        model=name,
        published_model=published.model_key(request.published_model or name or ""),
        set=request.set_name,
        split=request.split_name,
        sample=request.sample,
        where=request.where,
        predictions=request.predictions,
    )
    show(evaluation, evaluated, as_json)
    results = (outcome.result for outcome in evaluation.outcomes)
    return int(any(isinstance(result, str) and result != NOTHING_TO_SCORE for result in results))


def _own(request: EvaluateRequest, on_phase: OnPhase) -> Evaluation:
    """The dataset's own pairs."""
    assert request.out
    with _filter(request.out, request.where) as rows:
        pairs = OwnPairs(request.out, rows, request.sample)
        total = pairs.rows * sum(map(pairs.passes, _directions(request)))
        on_rows = counted(on_phase, "Searching", total)
        return Evaluation(tuple(pairs.evaluate(direction, on_rows) for direction in _directions(request)))


def _pairs(request: EvaluateRequest, on_phase: OnPhase) -> Evaluation:
    """The pairs of a file, among the images of a dataset or of a feature file."""
    assert request.pairs
    pairs = read_pairs(request.pairs)
    if not pairs.texts_of and not request.predictions:
        raise ConfigError(
            f'There is nothing to score: no line of {request.pairs} names an image, such as "image_ids": [7, 8]. Give '
            "the pairs with their images, or write what is found with --predictions FOLDER."
        )
    texts = _of_file(request.text_features) if request.text_features else _encoded(request, pairs, on_phase)
    with ExitStack() as stack:
        answers = {direction: tuple(_written(request, direction, stack)) for direction in _directions(request)}
        evaluation = evaluate(texts, stack.enter_context(_images(request, on_phase)), pairs, answers)
    if request.predictions:
        for outcome in evaluation.outcomes if pairs.texts_of else ():
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
