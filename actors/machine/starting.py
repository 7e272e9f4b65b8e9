"""What a local Ray and a joined cluster have in common: signal handlers, exit hook and output of Ray itself.

Both run `ray.init` through `interruptible`.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from actors.machine.native_stderr import is_separate, silenced


@contextmanager
def subdued_ray() -> Iterator[None]:
    """For `ray.init`: keep Ray from writing to the terminal, and from handling SIGTERM.

    Its handlers exit with 1 or 15 and, inside a callback, not at all.
    """
    utils = ray._private.utils
    original = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        with silenced():
            yield
    finally:
        utils.set_sigterm_handler = original


@contextmanager
def quiet_ray() -> Iterator[None]:
    """While a command uses Ray: keep its C++ log off the terminal, and its notices about nodes off stdout."""
    worker = ray._private.worker
    printed = worker._worker_logs_enabled
    worker._worker_logs_enabled = printed and not is_separate()
    try:
        with silenced():
            yield
    finally:
        worker._worker_logs_enabled = printed


def abandon() -> None:
    """Give up on a `ray.init` that still runs in a thread: Ray's exit hook would wait for it."""
    atexit.unregister(ray.shutdown)


def shut_down() -> None:
    """End the connection."""
    with silenced():
        ray.shutdown()
