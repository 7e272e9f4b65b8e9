"""Makes the application of `hanclip serve` with its model and its share of the cores; the same for every host."""

from __future__ import annotations

from functools import partial

from actors.machine.allocator import leave_out_of_collections
from actors.machine.idle_threads import SERVER_SPINS, let_idle_threads_sleep
from actors.machine.limits import visible_gpus
from pipeline.dataset.dataset import Dataset
from pipeline.extras import require
from pipeline.serving.access.gate import Gate
from pipeline.serving.app import Application, MakeRouter, create_app
from pipeline.serving.loading import load
from pipeline.serving.settings import SearchSettings, ServedModel, ServeSettings, ThreadCounts


def loaded_application(settings: ServeSettings, gate: Gate, cores: float) -> Application:
    """The application with the model loaded.

    Args:
        settings: all but the network, which is the host's.
        gate: who may ask.
        cores: CPU cores that it may use.

    Raises:
        ModelError: the model cannot be loaded.
        IdentityError: there is no such dataset, or another model made it.
        UsageError, StorageError, RunError: the dataset cannot be searched.
    """
    let_idle_threads_sleep(SERVER_SPINS)
    decoding, computing = divided(settings.threads, settings.model, cores)
    out = settings.search.dataset
    dataset = None if out is None else Dataset.open(out)
    more = () if dataset is None else (searching(dataset, settings.search),)
    encoder, card = load(settings.model, settings.limits, computing, dataset)
    app = create_app(encoder, card, settings, gate, decoding, more)
    leave_out_of_collections()
    return app


def searching(dataset: Dataset, settings: SearchSettings) -> MakeRouter:
    """The routes of a dataset.

    Raises:
        UsageError: the dataset is too large to be searched without an index, or the extra `curate` is missing.
        StorageError, RunError: it cannot be read.
    """
    require("curate")
    # faiss, which servers without a dataset do not need
    from pipeline.serving.routes.browse.dataset import router
    from pipeline.serving.search.searching import Searching

    return partial(router, Searching.of(dataset, settings), settings)


def divided(threads: ThreadCounts, model: ServedModel, cores: float) -> tuple[int, int]:
    """Threads that decode, and threads of a forward pass. With a GPU, nearly all cores decode.

    On a CPU a pass takes all cores, which a lone request needs. The number does not follow the load, as the bits of a
    vector depend on it: where decoders have work too, the system divides the cores.
    """
    whole = max(1, int(cores))
    on_gpu = visible_gpus() > 0 and not (model.device or "").startswith("cpu")
    decoding = threads.decode_threads
    if not isinstance(decoding, int):
        decoding = max(1, whole - 1 if on_gpu else whole // 4)
    computing = threads.model_threads
    if not isinstance(computing, int):
        computing = max(1, whole - decoding) if on_gpu else whole
    return decoding, computing
