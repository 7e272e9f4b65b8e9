"""What starting a local Ray and joining a cluster have in common: signal handlers, exit hook and log of Ray itself.

Both run `ray.init` through `interruptible`.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from actors.machine.native_stderr import silenced


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


def abandon() -> None:
    """Give up on a `ray.init` that still runs in a thread: Ray's exit hook would wait for it."""
    atexit.unregister(ray.shutdown)


def shut_down() -> None:
    """End the connection."""
    with silenced():
        ray.shutdown()
