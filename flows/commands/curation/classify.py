"""`hanclip classify`: build a classifier, run it over the stored embeddings, and print the result.

In: a request. Out: the table, optionally a report and a submission; a bar on stderr, the result on stdout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from flows.commands.curation.tables.classify import show_report
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline import storage
from pipeline.curation.classify.elevater import Backbone, Submission
from pipeline.curation.classify.labels import Classes, read_classes
from pipeline.curation.classify.prompts import class_vectors, count_prompts
from pipeline.curation.classify.report import ClassificationReport, Tally
from pipeline.curation.classify.request import ClassifyRequest
from pipeline.curation.classify.run import Classifier, Observers, write_classes
from pipeline.curation.classify.templates import prompts, read_templates, shipped_sets
from pipeline.curation.classify.truth import GroundTruth
from pipeline.curation.encoder import encoder_of
from pipeline.curation.evaluate.published import Figure, figures, model_key
from pipeline.curation.vectors import IMAGE, VectorRows, require_vectors
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError
from pipeline.phases import counted
from pipeline.scratch.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Inputs:
    """A request with its files read: all that needs no model."""

    request: ClassifyRequest
    dataset: Dataset
    classes: Classes
    templates: tuple[str, ...]
    truth: GroundTruth | None
    images: VectorRows

    @property
    def table(self) -> str:
        """The URI of the table."""
        return layout.classes_uri(self.dataset.uri, self.request.name)

    @property
    def facts(self) -> dict[str, Any]:
        """What every kind of output starts with."""
        return {
            "dataset": self.dataset.uri,
            "model": self.dataset.identity.model,
            "rows": self.images.total,
            "classes": len(self.classes),
            "repeated_labels": self.classes.repeated,
            "templates": len(self.templates),
            "prompts": count_prompts(self.classes, self.templates),
            "table": self.table,
        }


def show_templates(as_json: bool) -> None:
    """Print the template sets that are included."""
    if as_json:
        write_json("templates", {name: asdict(each) for name, each in shipped_sets().items()})
        return
    for name, each in shipped_sets().items():
        Console(highlight=False).print(f"[bold]{name}[/bold]: {each.about}")
        typer.echo("".join(f"  {template}\n" for template in each.templates))


def run(request: ClassifyRequest, dry_run: bool, as_json: bool) -> None:
    """Classify; with `dry_run` only read the files and show the plan."""
    with Workspace() as work:
        inputs = _read(request, work)
        if inputs.classes.repeated and not as_json:
            Console(stderr=True).print(plain(_warning(inputs.classes), "yellow"), soft_wrap=True)
        if dry_run:
            _end(inputs, {}, None, as_json, dry_run)
        else:
            _end(inputs, *_classify(inputs, as_json), as_json, dry_run)


def _read(request: ClassifyRequest, work: Workspace) -> Inputs:
    for file in filter(None, (request.report, request.elevater)):
        storage.check_file(file)
    dataset = Dataset.open(request.out)
    require_vectors(dataset, IMAGE)
    classes, templates = read_classes(request.labels), read_templates(request.templates, request.dataset_name)
    truth = GroundTruth(request.truth, dataset, classes, work) if request.truth else None
    images = VectorRows(request.out, columns=truth.columns if truth else ())
    return Inputs(request, dataset, classes, templates, truth, images)


def _warning(classes: Classes) -> str:
    some = ", ".join(classes.repeated[:3])
    return (
        f"warning: {len(classes.repeated)} labels occur on several lines ({some}). Images get the first of these "
        "classes; give the truth as line numbers."
    )


def _classify(inputs: Inputs, quiet: bool) -> tuple[dict[str, Any], ClassificationReport | None]:
    """Classify; returns facts, and the report if the truth is known."""
    request, tally = inputs.request, Tally()
    with ExitStack() as stack:
        on_phase = stack.enter_context(phase_bar("Loading the model", silent=quiet))
        submission = _submission(request)
        if submission:
            stack.enter_context(submission)
        encoder = encoder_of(request.out, request.model, request.dtype)
        on_prompts = counted(on_phase, "Encoding prompts", count_prompts(inputs.classes, inputs.templates))
        weights = class_vectors(encoder, inputs.classes, inputs.templates, on_prompts)
        scale = encoder.logit_scale if request.logit_scale == "model" else float(request.logit_scale)
        classifier = Classifier(inputs.classes, weights, scale, request.top_k)
        observers = Observers(
            counted(on_phase, "Classifying images", inputs.images.total), inputs.truth, tally, submission
        )
        counts = write_classes(inputs.images, inputs.table, classifier, _metadata(inputs, scale), observers)
        if submission:
            submission.write(_backbone(inputs, encoder), len(inputs.classes))
    report = tally.report(inputs.classes) if inputs.truth else None
    if request.report:
        if report is None:
            raise RunError(
                f"No image's truth is one of the classes, so {request.report} was not written: compare --truth with "
                "the labels."
            )
        text = json.dumps({**inputs.facts, **asdict(report)}, ensure_ascii=False, indent=1)
        storage.overwrite(storage.normalise(request.report), text.encode() + b"\n")
    return {"logit_scale": scale, "images_per_class": counts.tolist()}, report


def _submission(request: ClassifyRequest) -> Submission | None:
    if request.elevater is None:
        return None
    return Submission(request.elevater, request.dataset_name or "", request.index)


def _backbone(inputs: Inputs, encoder: ChineseClip) -> Backbone:
    return Backbone(inputs.dataset.identity.model, *encoder.parameters)


def _metadata(inputs: Inputs, scale: float) -> dict[str, Any]:
    """Metadata of the table."""
    identity = inputs.dataset.identity
    return {
        "classification": {
            "labels": inputs.classes.synonyms,
            "templates": inputs.templates,
            "logit_scale": scale,
            "top_k": inputs.request.top_k,
            "truth": inputs.request.truth,
            "dtype": inputs.request.dtype,
            "model": identity.model,
            "weights_sha256": identity.weights_sha256,
        }
    }


def _end(
    inputs: Inputs, result: dict[str, Any], report: ClassificationReport | None, as_json: bool, dry_run: bool
) -> None:
    if as_json:
        published = [figure.model_dump() for figure in _published(inputs)]
        measures = {"report": asdict(report) if report else None, "published": published}
        write_json("classify", {"dry_run": dry_run, **inputs.facts, **result, **({} if dry_run else measures)})
        return
    title = "plan (nothing was written)" if dry_run else "classified"
    console = Console(highlight=False)
    print_table(panel(title, _shown(inputs, result, dry_run)), console)
    if report:
        show_report(report, _published(inputs), console)
    elif inputs.request.truth and not dry_run:
        console.print("No image's truth is one of the classes: compare --truth with the labels.", style="yellow")


def _published(inputs: Inputs) -> tuple[Figure, ...]:
    """Published accuracies on the set: of the same model, or of all models if it has none."""
    if inputs.request.compare is None:
        return ()
    own = figures("classification", inputs.request.compare, model_key(inputs.dataset.identity.model) or "")
    return own or figures("classification", inputs.request.compare)


def _shown(inputs: Inputs, result: dict[str, Any], dry_run: bool) -> Iterator[tuple[str, object]]:
    facts, request = inputs.facts, inputs.request
    yield "images", f"{inputs.images.total:,} of {inputs.dataset.uri}"
    yield (
        "classes",
        f"{len(inputs.classes):,}, each from {len(inputs.templates)} templates: {facts['prompts']:,} prompts",
    )
    yield "for example", ", ".join(prompts(inputs.classes.labels[0], inputs.templates)[:4])
    yield "model", inputs.dataset.identity.model
    if not dry_run:
        yield "most often", ", ".join(_most_often(inputs.classes, result["images_per_class"]))
    yield "table", facts["table"]
    if request.report:
        yield "report", request.report
    if request.elevater:
        yield "submission", request.elevater


def _most_often(classes: Classes, images: list[int]) -> Iterator[str]:
    for number in sorted(range(len(images)), key=lambda number: -images[number])[:_SHOWN]:
        if images[number]:
            yield f"{classes.labels[number]} {images[number]:,}"
