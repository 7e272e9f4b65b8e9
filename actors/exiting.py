"""Ends the process at a signal without any cleanup: while Python imports and parses options, and after the result.

A command imports this before anything else, to be ready for Ctrl-C as early as possible. So it imports next to nothing:
`signal` itself takes ten times longer than the rest of this module.
"""

import _signal  # type: ignore[import-not-found]
import os

SIGNALS = (_signal.SIGTERM, _signal.SIGINT)
AGAIN = "Run the same command again to continue."


def stop_message(number: int, cure: str = AGAIN) -> str:
    """What stderr shows when a signal ended the work."""
    return f"Stopped by {'Ctrl-C' if number == _signal.SIGINT else 'SIGTERM'}. {cure}"


class ExitAtOnce:
    """A signal handler.

    Args:
        exit_code: of a command whose result is known; None if there is none yet, which then is reported on stderr.
    """

    def __init__(self, exit_code: int | None = None) -> None:
        self._exit_code = exit_code

    def __call__(self, number: int, frame: object) -> None:
        """End the process."""
        if self._exit_code is None:
            try:  # noqa: SIM105 - contextlib takes as long to import
                os.write(2, f"{stop_message(number)}\n".encode())
            except OSError:
                pass
        os._exit(128 + number if self._exit_code is None else self._exit_code)


def exit_at_once(exit_code: int | None = None) -> None:
    """Handle SIGTERM and Ctrl-C with `ExitAtOnce`."""
    for number in SIGNALS:
        _signal.signal(number, ExitAtOnce(exit_code))


def exits_at_once() -> bool:
    """Whether they are handled so."""
    return isinstance(_signal.getsignal(_signal.SIGTERM), ExitAtOnce)
