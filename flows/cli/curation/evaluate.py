"""The arguments and options of `hanclip evaluate`; `flows.commands.curation.evaluate` does the work.

Imported for `hanclip --help`, so it imports nothing heavy.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.options.shared import MEASURE, Debug, Json, examples
from pipeline.vocabulary import Dtype

_INPUT, _OUTPUT, _PUBLISHED = "What is evaluated", "What is written", "Published figures"


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


def evaluate(
    out: Annotated[str | None, typer.Argument(metavar="[OUT]", help="Dataset; local path or URL.")] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="JSON lines of text_id, text, image_ids: texts to ask, instead of the dataset's own.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    image_features: Annotated[
        str | None, typer.Option(metavar="FILE", help="Instead of OUT: *.img_feat.jsonl.", rich_help_panel=_INPUT)
    ] = None,
    text_features: Annotated[
        str | None, typer.Option(metavar="FILE", help="Vectors of the texts: *.txt_feat.jsonl.", rich_help_panel=_INPUT)
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Rows of OUT that take part, in DuckDB.", rich_help_panel=_INPUT)
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Ask that many of the dataset's own texts.", rich_help_panel=_INPUT),
    ] = None,
    direction: Annotated[
        Literal["both", "text-to-image", "image-to-text"], typer.Option(help="What is asked.", rich_help_panel=_INPUT)
    ] = "both",
    model: Annotated[
        str | None,
        typer.Option(help="The dataset's model, if it is elsewhere now; it encodes the texts.", rich_help_panel=_INPUT),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Arithmetic of the texts: fp32 unless told otherwise.", rich_help_panel=_INPUT),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Write what was found, and output.json.", rich_help_panel=_OUTPUT),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Name of the pairs, if the file's does not tell.", rich_help_panel=_OUTPUT)
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show published figures beside it.", rich_help_panel=_PUBLISHED)
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="List published figures; stop.", rich_help_panel=_PUBLISHED)
    ] = False,
    set_name: Annotated[
        str | None,
        typer.Option("--set", metavar="NAME", help="muge, flickr30k-cn, coco-cn, ...", rich_help_panel=_PUBLISHED),
    ] = None,
    published_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="vit-b-16, ..., if the model's name does not tell.", rich_help_panel=_PUBLISHED
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Recall at 1, 5 and 10: do texts find their images, and images their texts? Exit 1 when there is no score."""
    from flows.commands.curation import evaluate as work

    request = work.EvaluateRequest(
        out=out,
        pairs=pairs,
        image_features=image_features,
        text_features=text_features,
        where=where,
        sample=sample,
        directions=work.directions(direction),
        model=model,
        dtype=dtype,
        predictions=predictions,
        split=split,
        compare=work.Comparison(compare, set_name, published_model),
    )
    if published:
        request.check_published()
        work.show_published(set_name, published_model, as_json)
        return
    raise typer.Exit(work.run(request, as_json))
