"""The same requests without a server: parse, decode and embed them in a loop, `--rows` at once.

python -m benchmarks.serve.bare --model demo --threads 2 --kind image --rows 16 --seconds 10
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from itertools import cycle, islice

import numpy as np

from benchmarks.serve.bodies import KINDS, bodies
from pipeline.config import ModelConfig
from pipeline.images.decode import decode
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip, set_threads

_MOST_PIXELS = 50_000_000


def main() -> None:
    """Print requests a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    set_threads(given.threads)
    clip = ChineseClip.load(resolve(ModelConfig(name=given.model)), "fp32")
    requests = cycle(bodies(given.kind))
    embed(clip, list(islice(requests, given.rows)))  # kernels are chosen, memory is allocated
    done, began_s = 0, time.monotonic()
    while time.monotonic() - began_s < given.seconds:
        embed(clip, list(islice(requests, given.rows)))
        done += given.rows
    print(done / (time.monotonic() - began_s))


def embed(clip: ChineseClip, requests: list[bytes]) -> None:
    """Embed requests of one kind."""
    items = [json.loads(request)["input"] for request in requests]
    if isinstance(items[0], str):
        clip.encode_texts(items)
        return
    images = [decode(base64.b64decode(item["image"]), clip.image_size, _MOST_PIXELS) for item in items]
    clip.encode_images(np.stack([image.pixels for image in images]))


if __name__ == "__main__":
    main()
