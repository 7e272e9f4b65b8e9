"""`hanclip model list|show|convert`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.lazy import LazyTyper
from flows.options.shared import Debug, Json, examples

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="As --model takes it: vit-b-16, a hub id, a folder, a file, a URL, demo."),
]
Revision = Annotated[str | None, typer.Option(help="Hub commit, branch or tag.")]
ContextLength = Annotated[
    int | None, typer.Option(min=3, max=512, help="Tokens of a text, as it was tuned; the model's own if not given.")
]

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
def show(
    name: Name,
    revision: Revision = None,
    context_length: ContextLength = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a model's sizes, parameters and memory, and where its files are or what to fetch. Downloads nothing."""
    from flows.commands import model as models  # keeps --help light

    models.show(name, revision, context_length, as_json)


@model.command(
    epilog=examples(
        "hanclip model convert clip_cn_vit-b-16.pt models/vit-b-16",
        "hanclip model convert rn50 models/rn50",
        "hanclip model convert finetuned.pt models/mine --context-length 128",
        "hanclip model convert lora/ models/merged --dry-run",
    )
)
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A weights file, a LoRA adapter's folder, or rn50; a path, id or URL."),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to make; new or empty.")],
    revision: Revision = None,
    context_length: ContextLength = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and report the plan; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a checkpoint as a folder in the Hugging Face format; it appears whole or not at all."""
    from flows.commands import model as models  # keeps --help light
    from pipeline.config import ModelConfig

    named = ModelConfig(name=source, revision=revision, context_length=context_length)
    models.convert(named, out, dry_run, as_json)
