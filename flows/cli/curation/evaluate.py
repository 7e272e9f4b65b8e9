"""`hanclip evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options.keywords import options
from flows.options.model import ModelOptions
from flows.options.shared import MEASURE, Debug, Json, examples

if TYPE_CHECKING:
    from pipeline.curation.evaluate.request import EvaluateRequest

EVALUATE: ModelOptions[EvaluateRequest] = ModelOptions(
    "pipeline.curation.evaluate.request:EvaluateRequest",
    command="evaluate",
    names={"set_name": "set"},
    panels={"pairs": "What is evaluated", "predictions": "What is written", "compare": "Published figures"},
    metavars={
        "pairs": "FILE",
        "image_features": "FILE",
        "text_features": "FILE",
        "where": "SQL",
        "sample": "N",
        "predictions": "FOLDER",
        "set_name": "NAME",
        "published_model": "NAME",
    },
    hidden=("out",),  # a positional argument
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=MEASURE,
        epilog=examples(
            "hanclip evaluate out/",
            "hanclip evaluate out/ --where \"vendor = 'twemoji'\" --sample 5000",
            "hanclip evaluate muge-valid/ --pairs MUGE/valid_texts.jsonl --compare --set muge",
            "hanclip evaluate --image-features valid_imgs.img_feat.jsonl --text-features valid_texts.txt_feat.jsonl "
            "--pairs valid_texts.jsonl --predictions found/",
            "hanclip evaluate --published --set coco-cn",
        ),
    )(evaluate)


@options(EVALUATE)
def evaluate(
    out: Annotated[str | None, typer.Argument(metavar="[OUT]", help=EVALUATE.about("out"))] = None,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Recall at 1, 5 and 10: do texts find their images, and images their texts? Exit 1 when there is no score."""
    request = EVALUATE.parsed(options, out=out)
    from flows.commands.curation import evaluate as work  # keeps --help light

    raise typer.Exit(work.run(request, as_json))
