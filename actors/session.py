"""What outlives a run: the connection to Ray, and the embedders with their loaded model.

    with Session(config.cluster) as session:
        Run(config).embed(session)
        Run(another).embed(session)

The first run that has work to do starts the local Ray and the embedders, while it plans. They stay while the following
runs ask for the same; decoders and writers hold a plan and are made for each run.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

from pydantic import BaseModel
from ray.exceptions import RayError

from actors import crew
from actors.crew_size import CrewSize, size_crew, weights_bytes
from actors.machine.ahead import Ahead
from actors.machine.cluster import Connection, address_of, cluster_now, connected, resources_of
from actors.machine.local.local_ray import local_resources
from actors.nodes.watch import ClusterState
from actors.scheduler.pool import Pool, Pools
from actors.scheduler.reserved import Reservation
from actors.stopping import StopSignal
from pipeline.config import ClusterConfig, ModelConfig, RunConfig
from pipeline.errors import HanclipError
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.plan.draft import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _KeptEmbedders:
    """Embedders, the crew that they belong to, and the sections of the configuration that they were made from.

    `places` also has the place of each run's first decoder.
    """

    pool: Pool
    size: CrewSize
    places: Reservation
    sections: tuple[BaseModel, ...]


class Session:
    """One connection to the Ray that `cluster` names, with at most one pool of embedders on it."""

    def __init__(self, cluster: ClusterConfig) -> None:
        self._cluster = cluster
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._kept_logs = ""
        self._kept: _KeptEmbedders | None = None
        self._ahead: Ahead | None = None
        self._models: dict[ModelConfig, ModelSpec] = {}
        self._sized_for: ClusterState | None = None

    def __enter__(self) -> Self:
        """Join the cluster, if one is configured.

        Raises:
            RunError: it cannot be reached.
        """
        if address_of(self._cluster) is not None:
            self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        with StopSignal():  # an interrupted shutdown of Ray would leave its processes and its folder
            if self._ahead is not None:
                self._ahead.wait()
            self._stop_embedders()
            self._stack.close()

    def model(self, config: ModelConfig) -> ModelSpec:
        """The checkpoint; resolved once, so that all runs of a session use the same commit of a branch."""
        if config not in self._models:
            self._models[config] = resolve(config)
        return self._models[config]

    def crew_size(self, config: RunConfig, model: ModelSpec) -> CrewSize:
        """How many actors a run gets: as for the previous run if it asks for the same, else by the resources now."""
        self._settle_former()
        if self._kept is not None and self._kept.sections == _sections(config):
            return self._kept.size
        resources = local_resources()
        if self._connection:
            self._sized_for = cluster_now()
            resources = resources_of(self._sized_for)
        return size_crew(resources, config.cluster, config.model, weights_bytes(model), model.image_size)

    def expect(self, config: RunConfig, size: CrewSize) -> None:
        """Start the local Ray and one embedder in a thread: a run that is being planned is sure to need them.

        Not on a cluster, whose places and nodes must not idle while a long source is listed.
        """
        if self._ahead is None and self._connection is None and address_of(self._cluster) is None:
            logger.info("There are records to embed: starting Ray while the plan is made")
            # A signal inside `Thread.start` must not raise: the thread would go on, and nothing would wait for it.
            with StopSignal() as stop:
                self._ahead = Ahead(partial(self._start, config, size))
            if stop.number is not None:
                signal.raise_signal(stop.number)

    def _start(self, config: RunConfig, size: CrewSize, stop: StopSignal) -> None:
        self._connect(stop)
        pool = self._embedders(config, size).pool
        pool.size = 1  # the plan decides how many have work
        pool.start()

    @contextmanager
    def crew(self, config: RunConfig, plan: Plan, model: ModelSpec, size: CrewSize) -> Iterator[Pools]:
        """The actors of a run. The embedders stay afterwards unless the run failed."""
        self._settle()
        self._connect()
        kept = self._embedders(config, size)
        size = size.for_shards(shard.rows for shard in plan.shards)
        kept.pool.size = size.embedders
        decoders, writers = crew.decoders(config, plan, model, size, kept.places), crew.writers(plan, size)
        try:
            yield {"decode": decoders, "embed": kept.pool, "write": writers}
            kept.pool.rest()
        except BaseException:
            self._stop_embedders()
            raise
        finally:
            decoders.stop()
            writers.stop()
            self._leave_lost_cluster()

    def release_embedders(self) -> bool:
        """Stop the embedders to free their CPUs and GPUs; returns whether the session is connected to a Ray."""
        self._settle_former()
        self._stop_embedders()
        return self._connection is not None

    def head_answers(self) -> bool:
        """Whether the head of the cluster answered the last time that it was asked.

        Raises:
            RunError: it has not answered for long.
        """
        if self._connection is None:
            return True
        self._connection.require_head()
        return self._connection.answers

    @property
    def sized_for(self) -> ClusterState | None:
        """The cluster for which the last crew was sized; None before there is a Ray."""
        return self._sized_for

    def cluster(self) -> ClusterState | None:
        """The cluster as it was last seen; None before that."""
        return self._connection.nodes.latest if self._connection else None

    def _leave_lost_cluster(self) -> None:
        """Disconnect from a cluster whose head is gone, before Ray ends the process; the next run connects again."""
        if self._connection is not None and self._connection.lost:
            self._kept_logs = self._connection.keep_logs()
            self._stack.close()
            self._connection = None

    def keep_logs(self) -> str:
        """Keep the logs of a local Ray; returns a sentence that says where, or an empty string."""
        return self._connection.keep_logs() if self._connection else self._kept_logs

    def _settle(self) -> None:
        """Wait for what was started ahead, and raise its error, or for a signal an `Interrupted`."""
        if self._ahead is not None:
            self._ahead.wait()  # if a second Ctrl-C interrupts this, the end of the session waits
            ahead, self._ahead = self._ahead, None
            ahead.result()

    def _settle_former(self) -> None:
        """The same for a run whose plan failed. Its error is only logged: the next run starts what it needs itself."""
        try:
            self._settle()
        except (HanclipError, RayError) as error:
            logger.warning("What was started for a run whose plan failed did not start: %s", error)
            self._stop_embedders()

    def _connect(self, stop: StopSignal | None = None) -> None:
        if self._connection is None:
            self._connection = self._stack.enter_context(connected(self._cluster, stop))

    def _embedders(self, config: RunConfig, size: CrewSize) -> _KeptEmbedders:
        if self._kept is None or self._kept.sections != _sections(config):
            self._stop_embedders()
            places = crew.reserve(size)
            pool = crew.embedders(config.model, size, places)
            self._kept = _KeptEmbedders(pool, size, places, _sections(config))
        return self._kept

    def _stop_embedders(self) -> None:
        if self._kept is not None:
            self._kept.pool.stop()
            if self._connection and self._connection.answers:  # Ray frees the places itself when this driver is gone.
                self._kept.places.release()
            self._kept = None


def _sections(config: RunConfig) -> tuple[BaseModel, ...]:
    return config.model, config.image, config.cluster
