"""`hanclip classify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options.keywords import options
from flows.options.model import ModelOptions
from flows.options.shared import MEASURE, Debug, Json, examples
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.curation.classify.request import ClassifyRequest

CLASSIFY: ModelOptions[ClassifyRequest] = ModelOptions(
    "pipeline.curation.classify.request:ClassifyRequest",
    command="classify",
    metavars={
        "labels": "FILE",
        "templates": "NAME|FILE",
        "truth": "COLUMN|SQL|FILE",
        "report": "FILE",
        "compare": "SET",
        "logit_scale": "X|model",
        "elevater": "FILE",
        "index": "FILE",
        "dtype": "<str>",
    },
    hidden=("out",),  # a positional argument
)


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


@options(CLASSIFY)
def classify(
    out: Annotated[str | None, typer.Argument(metavar="OUT", help=CLASSIFY.about("out"))] = None,
    list_templates: Annotated[bool, typer.Option("--list-templates", help="Show the templates that ship.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what it would do; load no model.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Sort a dataset's images into classes by their names, from the stored embeddings; no image is read again.

    Writes OUT/classes/NAME.parquet: the label of each image, its probability, the runner-up. With --truth it also
    reports how often the label is right.
    """
    # keeps --help light
    if list_templates:
        from flows.commands.curation import classify as flow

        flow.show_templates(as_json)
        return
    if out is None or options["labels"] is None:
        raise ConfigError("What is to be classified? Write: hanclip classify OUT --labels labels.txt")
    request = CLASSIFY.parsed(options, out=out)
    from flows.commands.curation import classify as flow

    flow.run(request, dry_run, as_json)
