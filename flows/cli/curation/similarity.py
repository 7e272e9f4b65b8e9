"""`hanclip similarity`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options.keywords import options
from flows.options.model import ModelOptions
from flows.options.shared import MEASURE, Debug, Json, Output, examples
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.curation.similarity.request import SimilarityRequest

SIMILARITY: ModelOptions[SimilarityRequest] = ModelOptions(
    "pipeline.curation.similarity.request:SimilarityRequest",
    command="similarity",
    metavars={"image": "ID", "texts": "FILE", "text_id": "ID"},
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=MEASURE,
        epilog=examples(
            "hanclip similarity out/",
            "hanclip similarity out/ --image shop/7.jpg --text 杰尼龟 --text 妙蛙种子 --text 皮卡丘",
            "hanclip similarity out/ --image shop/7.jpg --texts names.txt --top 5",
            "hanclip similarity out/ --image shop/7.jpg",
            "hanclip similarity out/ --text 红色连衣裙 --top 50 --json",
            "hanclip similarity out/ --text-id shop/7.jpg",
        ),
    )(similarity)


@options(SIMILARITY)
def similarity(
    out: Output,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be written; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Say what a similarity is worth: its logit, its place in the dataset, and how often chance reaches it.

    Alone it writes OUT/similarity/similarity.parquet for all pairs. With --image it ranks texts for one image, with
    one --text or --text-id alone all stored images for one text; then nothing is written, and no image is read again.
    """
    request = SIMILARITY.parsed(options)
    if request.is_question and dry_run:
        raise ConfigError("A question writes nothing: leave --dry-run out.")
    # keeps --help light
    if request.is_question:
        from flows.commands.curation.questions import similarity as question

        question.answer(out, request, as_json)
    else:
        from flows.commands.curation import similarity as table

        table.write(out, dry_run, as_json)
