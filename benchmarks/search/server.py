"""`hanclip serve --dataset OUT` for a dataset of made-up vectors, which has no model: clients send vectors.

python -m benchmarks.search.server OUT

Prints its URL and serves until SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from actors.machine.limits import usable_cpus
from actors.serving.application import divided, searching
from flows.commands.serving.host import Host
from flows.commands.serving.serve import address, listening
from pipeline.curation.vectors import Vectors
from pipeline.dataset.dataset import Dataset
from pipeline.serving.access.admission import gate_of
from pipeline.serving.app import create_app
from pipeline.serving.contract import ModelCard, Pixels, SubmittedTexts
from pipeline.serving.settings import ServeSettings


class NoModel:
    """An encoder that is not asked."""

    image_size, logit_scale, batch_size = 224, 100.0, 1

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode_images(self, pixels: Pixels) -> Vectors:
        """Nothing."""
        return np.empty((0, self.dim), np.float32)

    def begin_texts(self, texts: Sequence[str]) -> SubmittedTexts:
        """Not there."""
        raise NotImplementedError


def main() -> None:
    """Serve until a signal arrives."""
    dataset = Dataset.open(sys.argv[1])
    settings = ServeSettings.model_validate({"network": {"port": 0}})
    decoding, _ = divided(settings.threads, settings.model, usable_cpus())
    card = ModelCard("benchmark", 0, {}, dataset.identity.dim, 100.0)
    more = (searching(dataset, settings.search),)
    gate = gate_of(settings.access, settings.network.host)
    app = create_app(NoModel(dataset.identity.dim), card, settings, gate, decoding, more)
    with listening(settings.network) as listener:
        host = Host(app, settings.network, lambda: print(address(listener), flush=True))
        sys.exit(host.run(listener))


if __name__ == "__main__":
    main()
