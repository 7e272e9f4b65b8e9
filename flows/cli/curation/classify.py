"""`hanclip classify`: what may be typed; what it does is in `flows.commands.curation.classify`.

In: the command line. Out: one call with parsed values. Imported for `hanclip --help`, so nothing heavy.
"""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import MEASURE, Debug, Json, examples
from pipeline.errors import ConfigError


def _about(field: str) -> str | None:
    from pipeline.curation.classify.request import ClassifyRequest

    return ClassifyRequest.model_fields[field].description


def _option(field: str, flag: str, **more: object) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(flag, help=_about(field), **more)  # type: ignore[arg-type]
    return option


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=MEASURE,
        epilog=examples(
            "hanclip classify out/ --labels labels.txt",
            "hanclip classify out/ --labels labels.txt --templates product --templates my_templates.txt",
            "hanclip classify out/ --labels labels.txt --truth category --report report.json",
            "hanclip classify out/ --labels label_cn.txt --truth \"CAST(split_part(id, '/', 1) AS INT)\"",
            "hanclip classify out/ --labels label_cn.txt --elevater cifar-100.json --dataset-name cifar-100",
            "hanclip classify --list-templates",
        ),
    )(classify)


def classify(
    out: Annotated[str | None, typer.Argument(metavar="OUT", help=_about("out"))] = None,
    labels: Annotated[str | None, _option("labels", "--labels", metavar="FILE")] = None,
    templates: Annotated[list[str] | None, _option("templates", "--templates", metavar="NAME|FILE")] = None,
    name: Annotated[str, _option("name", "--name")] = "classes",
    top_k: Annotated[int, _option("top_k", "--top-k", min=0, max=100)] = 0,
    truth: Annotated[str | None, _option("truth", "--truth", metavar="COLUMN|SQL|FILE")] = None,
    report: Annotated[str | None, _option("report", "--report", metavar="FILE")] = None,
    compare: Annotated[str | None, _option("compare", "--compare", metavar="SET")] = None,
    logit_scale: Annotated[str, _option("logit_scale", "--logit-scale", metavar="X|model")] = "100",
    elevater: Annotated[str | None, _option("elevater", "--elevater", metavar="FILE")] = None,
    dataset_name: Annotated[str | None, _option("dataset_name", "--dataset-name")] = None,
    index: Annotated[str | None, _option("index", "--index", metavar="FILE")] = None,
    model: Annotated[str | None, _option("model", "--model")] = None,
    dtype: Annotated[str, _option("dtype", "--dtype")] = "fp32",
    list_templates: Annotated[bool, typer.Option("--list-templates", help="Show the templates that ship.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do; load no model.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Sort a dataset's images into classes by their names, from the stored embeddings; no image is read again.

    Writes OUT/classes/NAME.parquet: the label of each image, its probability, the runner-up. With --truth it also says
    how often the label is right.
    """
    if list_templates:
        from flows.commands.curation import classify as flow

        flow.show_templates(as_json)
        return
    if out is None or labels is None:
        raise ConfigError("What is to be classified? Write: hanclip classify OUT --labels labels.txt")
    from pipeline.curation.classify.request import parse_request

    request = parse_request(
        out=out,
        labels=labels,
        templates=tuple(templates or ()),
        name=name,
        top_k=top_k,
        truth=truth,
        report=report,
        compare=compare,
        logit_scale=logit_scale,
        elevater=elevater,
        dataset_name=dataset_name,
        index=index,
        model=model,
        dtype=dtype,
    )
    from flows.commands.curation import classify as flow

    flow.run(request, dry_run, as_json)
