"""What outlives a run: the connection to Ray, and the embedders with the model that they have loaded.

    with Session(config.cluster) as session:
        Run(config).embed(session)
        Run(another).embed(session)

A local Ray is started, and embedders are made, by the first run that has work to do. They stay while the next runs
want the same; decoders and writers hold a plan and are made for each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel

from actors import crew
from actors.crew_size import Layout, arrange, weights_bytes
from actors.machine.cluster import address_of, cluster_resources, connected, local_resources
from actors.scheduler.pool import Pool, Pools
from pipeline.config import ClusterConfig, ModelConfig, RunConfig
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.plan.make import Plan


@dataclass(frozen=True, slots=True)
class _Kept:
    """Embedders, the layout that they are a part of, and the sections of a configuration that they are made from."""

    pool: Pool
    layout: Layout
    sections: tuple[BaseModel, ...]


class Session:
    """One connection to the Ray that `cluster` means, and at most one crew of embedders on it."""

    def __init__(self, cluster: ClusterConfig) -> None:
        self._cluster = cluster
        self._stack = ExitStack()
        self._connected = False
        self._kept: _Kept | None = None
        self._models: dict[ModelConfig, ModelSpec] = {}

    def __enter__(self) -> Self:
        """Join the cluster, if there is one to join.

        Raises:
            RunError: it cannot be reached.
        """
        if address_of(self._cluster) is not None:
            self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_embedders()
        self._stack.close()

    def model(self, config: ModelConfig) -> ModelSpec:
        """The checkpoint, resolved once, so that all runs of a session use the same commit of a branch."""
        if config not in self._models:
            self._models[config] = resolve(config)
        return self._models[config]

    def layout(self, config: RunConfig, model: ModelSpec) -> Layout:
        """How many actors a run gets: those of the run before while it wants the same, else what there is now."""
        if self._kept is not None and self._kept.sections == _sections(config):
            return self._kept.layout
        resources = cluster_resources() if self._connected else local_resources()
        return arrange(resources, config.cluster, config.model, weights_bytes(model), model.image_size)

    @contextmanager
    def crew(
        self, config: RunConfig, plan: Plan, model: ModelSpec, layout: Layout, noted: Callable[[], None]
    ) -> Iterator[Pools]:
        """The actors of a run; the embedders rest afterwards, unless the run failed. `noted` as in `connected`."""
        self._connect(noted)
        kept = self._embedders(config, layout)
        pools = Pools(crew.decoders(config, plan, model, layout), kept, crew.writers(plan, layout))
        try:
            yield pools
            kept.rest()
        except BaseException:
            self._end_embedders()
            raise
        finally:
            pools.decoders.stop()
            pools.writers.stop()

    def vacate(self) -> bool:
        """End the embedders, so that others have their share of the cores; says whether there is a Ray to use."""
        self._end_embedders()
        return self._connected

    def _connect(self, noted: Callable[[], None] = lambda: None) -> None:
        if not self._connected:
            self._stack.enter_context(connected(self._cluster, noted))
            self._connected = True

    def _embedders(self, config: RunConfig, layout: Layout) -> Pool:
        if self._kept is None or self._kept.sections != _sections(config):
            self._end_embedders()
            self._kept = _Kept(crew.embedders(config.model, layout), layout, _sections(config))
        return self._kept.pool

    def _end_embedders(self) -> None:
        if self._kept is not None:
            self._kept.pool.stop()
            self._kept = None


def _sections(config: RunConfig) -> tuple[BaseModel, ...]:
    return config.model, config.image, config.cluster
