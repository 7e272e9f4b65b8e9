"""The same model and route in plain FastAPI: a function that decodes and embeds one item, in FastAPI's threads.

`POST /constant` takes the same requests and embeds nothing, so it shows what HTTP and FastAPI take of a lone request.

python -m benchmarks.serve.plain --model demo --threads 2
"""

from __future__ import annotations

import argparse
import base64
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from pipeline.config import ModelConfig
from pipeline.images.decode import decode
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip
from pipeline.model.hardware import set_threads

_MOST_PIXELS = 50_000_000


class Question(BaseModel):
    """One text, or one image as base64."""

    input: str | dict[str, str]
    encoding_format: str = "base64"


def vector_of(clip: ChineseClip, item: str | dict[str, str]) -> str:
    """Base64 of its vector."""
    if isinstance(item, str):
        return base64.b64encode(clip.encode_texts([item])[0].tobytes()).decode()
    image = decode(base64.b64decode(item["image"]), clip.image_size, _MOST_PIXELS)
    return base64.b64encode(clip.encode_images(image.pixels[None])[0].tobytes()).decode()


def main() -> None:
    """Serve until a signal arrives; prints the URL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    set_threads(given.threads)
    clip = ChineseClip.load(resolve(ModelConfig(name=given.model)), "fp32")
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embeddings(question: Question) -> dict[str, Any]:
        return {"object": "list", "data": [{"index": 0, "embedding": vector_of(clip, question.input)}]}

    nothing = vector_of(clip, "a")

    @app.post("/constant")
    async def constant(question: Question) -> dict[str, Any]:
        return {"object": "list", "data": [{"index": 0, "embedding": nothing}]}

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
