"""`hanclip serve`."""

from __future__ import annotations

from typing import Any

import typer

from flows.options.keywords import options
from flows.options.serving import SERVE
from flows.options.shared import ONLINE, Debug, Json, examples
from pipeline.extras import require


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=ONLINE,
        epilog=examples(
            "hanclip serve --model demo",
            "hanclip serve --dataset out/",
            "hanclip serve --dataset out/ --clip-back",
            "hanclip serve --host 0.0.0.0 --api-keys keys.txt --dtype auto",
            'curl localhost:8000/v1/similarity -d \'{"images": "https://...", "texts": ["一只猫", "一只狗"]}\'',
            'python -c \'import openai; client = openai.OpenAI(base_url="http://localhost:8000/v1", api_key="-"); '
            'print(client.embeddings.create(model="demo", input="一只猫").data[0].embedding)\'',
        ),
    )(serve)


@options(SERVE)
def serve(as_json: Json = False, debug: Debug = False, **options: Any) -> None:
    """Answer requests for embeddings, similarities and zero-shot classes over HTTP, as OpenAI's clients send them.

    With --dataset also searches of a dataset, and with --clip-back those of clip-retrieval's clients.

    Listens on this machine alone unless it has keys (`hanclip keys`). SIGTERM ends it after the requests that it has
    accepted. The access log goes to stderr. docs/serve.md describes the routes.
    """
    require("serve")
    settings = SERVE.parsed(options)
    from flows.commands.serving import serve as work  # keeps --help light

    raise typer.Exit(work.serve(settings, as_json))
