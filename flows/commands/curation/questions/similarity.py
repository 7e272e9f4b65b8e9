"""`hanclip similarity OUT --image ID` and `--text ...`: rank texts for an image, or images for a text.

In: a question. Out: the best matches on stdout, as a table or as one JSON object.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from flows.commands.curation.similarity import SHOWN_TEXT, numbers
from flows.terminal.json_lines import write_json
from flows.terminal.plain import line, plain
from flows.terminal.whole import print_table
from pipeline.curation.classify.labels import read_lines
from pipeline.curation.encoder import encoder_of
from pipeline.curation.search.sides import SEARCHED, side_of
from pipeline.curation.similarity.query import Match, Scale, measure, rank_stored, rank_texts, stored
from pipeline.curation.similarity.request import SimilarityRequest
from pipeline.curation.vectors import IMAGE, TEXT, Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError, NotFoundError, UsageError
from pipeline.sources.texts import is_blank


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """T texts as (id, text), without an id for a typed text, and their (T, D) vectors."""

    texts: list[tuple[str | None, str]]
    vectors: Vectors


def answer(out: str, question: SimilarityRequest, as_json: bool) -> None:
    """Rank and show."""
    given = [*question.text, *(_from_file(question.texts) if question.texts is not None else [])]
    if any(map(is_blank, given)):
        raise ConfigError("A text to compare is empty, or no character of it can be seen: correct --text or --texts.")
    if question.image is None and len(given) + len(question.text_id) != 1:
        raise ConfigError(
            f"{len(given) + len(question.text_id)} texts without an image: give exactly one text to rank images, "
            "or add --image."
        )
    dataset = Dataset.open(out)
    if question.image is not None and IMAGE not in dataset.identity.vector_columns:
        raise UsageError(f"The records of {dataset.uri} had no images: leave --image out, and give a text with --text.")
    with nullcontext() if as_json else Console(stderr=True).status("Comparing stored vectors"):
        scale = measure(dataset, [*([] if question.image is None else [question.image]), *question.text_id])
        texts = _texts(dataset, scale, question, given)
        matches = _rank(dataset, scale, question, texts)
    if as_json:
        query = {"image": question.image, "text": texts.texts[0][1] if question.image is None else None}
        write_json("similarity", {**query, "logit_scale": scale.logit_scale, "matches": [asdict(m) for m in matches]})
    else:
        _show(matches)


def _rank(dataset: Dataset, scale: Scale, question: SimilarityRequest, texts: EncodedTexts) -> list[Match]:
    if question.image is None:
        return rank_stored(dataset, scale, texts.vectors[0], SEARCHED[side_of(dataset, None)], question.top)
    image, _ = stored(dataset, question.image, scale.survey.states[question.image], IMAGE)
    if texts.texts:
        return rank_texts(scale, image, texts.texts, texts.vectors)[: question.top]
    return rank_stored(dataset, scale, image, TEXT, question.top)


def _texts(dataset: Dataset, scale: Scale, question: SimilarityRequest, given: list[str]) -> EncodedTexts:
    """The typed texts, encoded, then the stored ones."""
    texts: list[tuple[str | None, str]] = [(None, text) for text in given]
    parts = [np.empty((0, dataset.identity.dim), np.float32)]
    if given:
        parts.append(encoder_of(dataset.uri, question.model, question.dtype).encode_texts(given))
    for id_ in question.text_id:
        vector, text = stored(dataset, id_, scale.survey.states[id_], TEXT)
        texts.append((id_, text or ""))
        parts.append(vector[None])
    return EncodedTexts(texts, np.concatenate(parts))


def _from_file(uri: str) -> list[str]:
    try:
        found = [line for line in read_lines(uri) if line.strip()]
    except NotFoundError as error:
        raise ConfigError(f"There is no file {uri}: check --texts.") from error
    if not found:
        raise ConfigError(f"{uri} holds no text: write one text a line.")
    return found


def _show(matches: list[Match]) -> None:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    with_probability = any(match.probability is not None for match in matches)
    for name in (*(["probability"] if with_probability else []), "percentile", "similarity", "logit", "chance"):
        table.add_column(name, justify="right")
    with_id = any(match.id is not None for match in matches)
    if with_id:
        table.add_column("id", no_wrap=True)
    table.add_column("text", overflow="fold")
    for match in matches:
        table.add_row(
            *([f"{100 * (match.probability or 0):.3g} %"] if with_probability else []),
            *numbers(match.cosine, match.logit, match.percentile, match.chance),
            *([plain(match.id or "")] if with_id else []),
            line(match.text or "", SHOWN_TEXT),
        )
    print_table(table)
