"""How the threads of forward passes wait for work: OpenMP reads it from the environment when torch is loaded.

By default idle threads spin for a while, and take the cores of decoding. What the user has set stays.
"""

from __future__ import annotations

import os

#: Looks for work before a server's threads sleep: some microseconds, which spare a lone request the time to wake them
#: for each layer.
SERVER_SPINS = 3000


def let_idle_threads_sleep(spins: int | None = None) -> None:
    """Let threads without work sleep, in this process if torch is not loaded yet, and in those that it starts.

    Args:
        spins: how often they look for work before; None: nearly never.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if spins is not None:
        os.environ.setdefault("GOMP_SPINCOUNT", str(spins))
