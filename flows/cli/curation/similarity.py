"""`hanclip similarity`: what may be typed; what it does is in `flows.commands.curation.similarity`.

In: the command line. Out: one call with parsed values. Imported for `hanclip --help`, so nothing heavy.
"""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options.shared import MEASURE, Debug, Json, Output, examples
from pipeline.errors import ConfigError
from pipeline.vocabulary import Dtype

TEXTS_HELP = "A text to compare, several if given several times; the dataset's model encodes it."


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


def similarity(
    out: Output,
    image: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Compare this record's image: with the texts given, else with all stored."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help=TEXTS_HELP)] = None,
    texts: Annotated[str | None, typer.Option(metavar="FILE", help="File with one such text a line.")] = None,
    text_id: Annotated[
        list[str] | None, typer.Option("--text-id", metavar="ID", help="The stored text of this record, not encoded.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, show_default="20", help="How many matches to show.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Where the dataset's model is now, if not where it was when the dataset was made."),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(show_default="fp32", help="Arithmetic of the text tower."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a similarity is worth: its logit, its place in the dataset, and how often chance reaches it.

    Alone it writes OUT/similarity/similarity.parquet for all pairs. With --image it ranks texts for one image, with
    one --text or --text-id alone all stored images for one text; then nothing is written, and no image is read again.
    """
    asking = image is not None or texts is not None or bool(text or text_id)
    if asking and dry_run:
        raise ConfigError("A question writes nothing: leave --dry-run out.")
    encoding = text or texts is not None
    for flag, useless, needs in (
        ("--top", top is not None and not asking, "a question: give --image, --text, --texts or --text-id"),
        ("--model", model is not None and not encoding, "texts to encode: give --text or --texts"),
        ("--dtype", dtype is not None and not encoding, "texts to encode: give --text or --texts"),
        ("--image", image == "", "the id of a record"),
        ("--text-id", "" in (text_id or ()), "the id of a record"),
        ("--texts", texts == "", "the name of a file"),
    ):
        if useless:
            raise ConfigError(f"{flag} needs {needs}, or leave it out.")
    if not asking:
        from flows.commands.curation import similarity as flow

        flow.write(out, dry_run, as_json)
        return
    from flows.commands.curation import similarity_question as question

    asked = question.Question(out, image, tuple(text or ()), texts, tuple(text_id or ()), top or 20)
    question.answer(asked, question.Encoding(model, dtype or "fp32"), as_json)
