"""Prints the scores of `hanclip evaluate`, with published figures.

In: an `Evaluation` and what was evaluated. Out: a table or one JSON object on stdout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.terminal.json_lines import write_json
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.curation.evaluate.pairs import NOTHING_TO_SCORE
from pipeline.curation.evaluate.published import Figure, figures
from pipeline.curation.evaluate.recall import Recall
from pipeline.curation.evaluate.search import DirectionResult, Evaluation
from pipeline.errors import ConfigError

_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was evaluated.

    Attributes:
        what: the dataset or the file.
        model: the dataset's, by its own name.
        published_model: its name in the table of figures; None if it has none.
        set, split: the published figures to show; none without a set.
        sample, where: restrictions of the evaluation.
        predictions: the folder of the prediction files, if any were written.
    """

    what: str
    model: str | None
    published_model: str | None
    set: str | None
    split: str | None
    sample: int | None
    where: str | None
    predictions: str | None = None


def show(evaluation: Evaluation, evaluated: Evaluated, as_json: bool) -> None:
    """Print the scores."""
    published = _published(evaluated)
    if as_json:
        write_json("evaluate", _tree(evaluation, evaluated, published))
        return
    console = Console(highlight=False)
    print_table(_table(evaluation, evaluated, published), console)
    for line in _notes(evaluation, evaluated, published):
        console.print(plain(line), soft_wrap=True)


def show_published(set_name: str | None, model: str | None, as_json: bool) -> None:
    """Print the published figures of a set and a model; None stands for all."""
    found = figures(set=set_name, model=model)
    if not found:
        known = (sorted({str(getattr(figure, name)) for figure in figures()}) for name in ("set", "model"))
        raise ConfigError(
            "There are no such published figures. Omit --set or --published-model, or choose among the sets "
            "{} and the models {}.".format(*(", ".join(names) for names in known))
        )
    if as_json:
        write_json("published", {"figures": [figure.model_dump() for figure in found]})
        return
    table = _headed("published figures, %", "set", "split", "direction", "setting", "model")
    table.add_column("top-1", justify="right")
    table.add_column("source")
    for figure in found:
        names = (figure.set, figure.split, figure.direction or "", figure.setting, figure.model)
        table.add_row(*names, *_published_cells(figure), _cell(figure.top1), figure.source)
    print_table(table)


def _published(evaluated: Evaluated) -> tuple[Figure, ...]:
    """The figures to show: of the same model, or if it has none, all zero-shot figures."""
    if evaluated.set is None:
        return ()
    found = figures("retrieval", evaluated.set)
    if evaluated.split in _SPLITS:
        found = tuple(figure for figure in found if figure.split == evaluated.split)
    own = tuple(figure for figure in found if figure.model == evaluated.published_model)
    return own or tuple(figure for figure in found if figure.setting == "zero-shot")


def _tree(evaluation: Evaluation, evaluated: Evaluated, published: tuple[Figure, ...]) -> dict[str, Any]:
    return {
        **asdict(evaluated),
        "images_missing": evaluation.images_missing,
        "results": [_result(outcome) for outcome in evaluation.outcomes],
        "published": [figure.model_dump() for figure in published],
    }


def _result(outcome: DirectionResult) -> dict[str, Any]:
    counts = {"direction": outcome.direction, "queries": outcome.queries, "candidates": outcome.candidates}
    if isinstance(outcome.result, str):
        return {**counts, "note" if outcome.result == NOTHING_TO_SCORE else "error": outcome.result}
    r1, r5, r10 = outcome.result.at
    scores = {"r1": r1, "r5": r5, "r10": r10, "mean_recall": outcome.result.mean}
    return {**counts, **scores, "found": outcome.result.found}


def _table(evaluation: Evaluation, evaluated: Evaluated, published: tuple[Figure, ...]) -> Table:
    counts = [f"{o.direction}: {o.queries:,} queries, {o.candidates:,} candidates" for o in evaluation.outcomes]
    table = _headed("\n".join([f"retrieval, {evaluated.what}, %", *counts]), "direction", "model")
    name = plain(evaluated.model or "these features")
    for outcome in evaluation.outcomes:
        scores = [f"{score:.2f}" for score in _scores(outcome.result)] or ["-"] * 4
        table.add_row(outcome.direction, name, *scores)
        for figure in published:
            if figure.direction == outcome.direction:
                _add_published(table, figure, outcome, evaluated)
        table.add_section()
    return table


def _add_published(table: Table, figure: Figure, outcome: DirectionResult, evaluated: Evaluated) -> None:
    """A published row; after the zero-shot row of the same model also the difference."""
    table.add_row("", f"{figure.model} published, {figure.setting}", *_published_cells(figure), style="dim")
    if figure.model == evaluated.published_model and figure.setting == "zero-shot":
        published = (figure.r1, figure.r5, figure.r10, figure.mean_recall)
        pairs = zip(_scores(outcome.result), published, strict=False)
        cells = [f"{score - then:+.2f}" for score, then in pairs if then is not None]
        table.add_row("", "difference", *cells, style="bold")


def _notes(evaluation: Evaluation, evaluated: Evaluated, published: tuple[Figure, ...]) -> Iterator[str]:
    if evaluated.where:
        yield f"Rows for which {evaluated.where}."
    if evaluated.sample:
        yield f"A sample: at most {evaluated.sample:,} queries in each direction, among all candidates."
    if evaluation.images_missing:
        yield (
            f"{evaluation.images_missing:,} images of the pairs are not among the candidates: their texts cannot "
            "find them, and they are no queries in the other direction."
        )
    for outcome in evaluation.outcomes:
        if outcome.result == NOTHING_TO_SCORE:
            yield f"{outcome.direction}: {NOTHING_TO_SCORE}; predictions are in {evaluated.predictions}."
        elif isinstance(outcome.result, str):
            yield (
                f"{outcome.direction} has no score: {outcome.result}. The published scripts refuse it too; fix the "
                "files, or exclude it with --direction."
            )
    if evaluated.set and not published:
        yield f"No figures of {evaluated.set} were published for the split {evaluated.split}; --split names another."
    elif evaluated.set and all(figure.model != evaluated.published_model for figure in published):
        yield f"No figures were published for {evaluated.model or 'a model without name'}; --published-model names it."
    if published:
        yield "Published: " + "; ".join(dict.fromkeys(figure.source for figure in published)) + "."


def _headed(title: str, *names: str) -> Table:
    table = Table(title=plain(title, "table.title"), title_justify="left")
    for name in names:
        table.add_column(name)
    for name in ("R@1", "R@5", "R@10", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _scores(result: Recall | str) -> tuple[float, ...]:
    return () if isinstance(result, str) else (*result.at, result.mean)


def _published_cells(figure: Figure) -> list[str]:
    return [_cell(value) for value in (figure.r1, figure.r5, figure.r10, figure.mean_recall)]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
