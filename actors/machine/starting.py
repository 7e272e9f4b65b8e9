"""What a local Ray and a joined cluster have in common: signal handlers, exit hook and output of Ray itself.

Both run `ray.init` through `interruptible`.
"""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from actors.exiting import SIGNALS
from actors.machine.native_stderr import is_separate, silenced

#: Methods of Ray's C++ class RayLog, and more bytes than a `struct sigaction` has.
_TAKE_HANDLERS = "_ZN3ray6RayLog27InstallFailureSignalHandlerEPKcb"
_DROP_HANDLERS = "_ZN3ray6RayLog21UninstallSignalActionEv"
_ACTION_BYTES = 512


@contextmanager
def subdued_ray() -> Iterator[None]:
    """For `ray.init`: keep Ray from writing to the terminal, and from handling SIGTERM.

    Its handlers in Python exit with 1 or 15 and, inside a callback, not at all. That in C++ prints a stack trace, and
    aborts the process after three seconds. Ray sets it once, so it is made to do so before anything happens.
    """
    utils = ray._private.utils
    original = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    _call_without_effect_on_signals(_TAKE_HANDLERS, None, False)
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
    """End the connection. By itself, Ray would leave SIGTERM with the default handler, which kills the process."""
    _call_without_effect_on_signals(_DROP_HANDLERS)
    with silenced():
        ray.shutdown()


def _call_without_effect_on_signals(name: str, *arguments: Any) -> None:
    """Call a function of Ray's library that sets handlers of signals, and put back those of SIGTERM and Ctrl-C.

    Python does not notice such a change, and lets only the main thread set a handler; this may be another thread.
    """
    function = getattr(ctypes.CDLL(ray._raylet.__file__), name, None)
    if function is None:  # in another version of Ray, which keeps its handlers
        return
    system = ctypes.CDLL(None)
    actions = {number: ctypes.create_string_buffer(_ACTION_BYTES) for number in SIGNALS}
    for number, action in actions.items():
        system.sigaction(number, None, action)
    function(*arguments)
    for number, action in actions.items():
        system.sigaction(number, action, None)
