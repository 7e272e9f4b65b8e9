"""`hanclip model list|show|convert`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.lazy import LazyTyper
from flows.options.shared import Debug, Json, examples

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="As --model takes it: vit-b-16, a hub id, a folder, a .pt file, a URL, demo."),
]
Revision = Annotated[str | None, typer.Option(help="Hub commit, branch or tag.")]

model = LazyTyper(name="model", help="List, describe and convert Chinese-CLIP models.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(model, rich_help_panel="Models")


@model.command("list", epilog=examples("hanclip model list", "hanclip model list --json"))
def list_models(as_json: Json = False, debug: Debug = False) -> None:
    """List the released models: sizes, and which of them are on this machine."""
    from flows.commands import model as models  # keeps --help light

    models.show_list(as_json)


@model.command(
    epilog=examples(
        "hanclip model show vit-l-14", "hanclip model show rn50 --json", "hanclip model show ./clip_cn_vit-b-16.pt"
    )
)
def show(name: Name, revision: Revision = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show a model's sizes, parameters and memory, and where its files are or what to fetch. Downloads nothing."""
    from flows.commands import model as models  # keeps --help light

    models.show(name, revision, as_json)


@model.command(
    epilog=examples(
        "hanclip model convert clip_cn_vit-b-16.pt models/vit-b-16",
        "hanclip model convert rn50 models/rn50",
        "hanclip model convert finetuned.pt models/mine --dry-run",
    )
)
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="X.pt", help="A .pt file of Chinese CLIP's authors, or fine-tuned: path, URL, rn50."),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to make; new or empty.")],
    revision: Revision = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and report the plan; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a .pt checkpoint as a folder in the Hugging Face format; it appears whole or not at all."""
    from flows.commands import model as models  # keeps --help light

    models.convert(source, out, revision, dry_run, as_json)
