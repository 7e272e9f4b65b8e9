"""The same requests without a server: parse, decode and embed them in a loop, `--rows` at once.

python -m benchmarks.serve.bare bodies --model demo --threads 2 --rows 16 --seconds 10

`bodies` is a file with a body in each line, of one kind. Prints requests a second, the median milliseconds and the CPU
milliseconds of a request as JSON. With `--pause-ms` the machine is idle before each pass, as before a lone request: its
cores have to wake up, and their caches have lost a part of the model. Rates leave the pauses out.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from pipeline.config import ModelConfig
from pipeline.images.decode import decode
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip
from pipeline.model.hardware import set_threads

_MOST_PIXELS = 50_000_000
#: hanclip's compiled resize begins after two million pixels: both are measured with it.
_WARM_S = 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pause-ms", type=float, default=0)
    given = parser.parse_args()
    set_threads(given.threads)
    clip = ChineseClip.load(resolve(ModelConfig(name=given.model)), "fp32")
    requests = cycle(given.bodies.read_bytes().splitlines())
    for seconds in (_WARM_S, given.seconds):
        took_s, began_s, cpu_s = list[float](), time.monotonic(), time.process_time()
        while time.monotonic() - began_s < seconds:
            if given.pause_ms:
                time.sleep(given.pause_ms / 1000)
            one_s = time.monotonic()
            embed(clip, list(islice(requests, given.rows)))
            took_s.append(time.monotonic() - one_s)
    done = given.rows * len(took_s)
    found = {
        "per_s": done / sum(took_s),
        "p50_ms": 1000 * statistics.median(took_s),
        "cpu_ms": 1000 * (time.process_time() - cpu_s) / done,
    }
    print(json.dumps(found))


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
