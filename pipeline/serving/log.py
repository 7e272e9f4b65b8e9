"""The log of a server: a line of JSON on stderr for each record of any logger, each warning, each error of a thread.

In: Python's logging, warnings and hooks. Out: `time`, `level`, `logger`, `message`, and `exception` with the traceback
if there is one. The lines of the access log are JSON of their own form (`border.access_log`).
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

_LOG = logging.getLogger("hanclip.serve")
_ACCESS = "hanclip.serve.access"
#: Ray gives its own lines the form that Serve's `logging_config` asks for.
_OF_RAY = "ray"


class JsonLine(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII."""
        if record.name == _ACCESS:
            return record.getMessage()
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().rstrip(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def log_as_json(with_access: bool) -> None:
    """Let everything that Python code of this process says on stderr be such a line.

    Args:
        with_access: there is an access log.
    """
    # What no line shows is not looked up: it would be a third of the cost of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Stderr()
    handler.setFormatter(JsonLine())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    _LOG.setLevel(logging.INFO if with_access else logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_error
    threading.excepthook = _log_death
    sys.unraisablehook = lambda lost: _log_error(lost.exc_type, lost.exc_value, lost.exc_traceback)
    adopt_loggers()


def adopt_loggers() -> None:
    """Let the loggers of libraries that write to a stream of their own write to the log; call it after imports."""
    for log in list(logging.Logger.manager.loggerDict.values()):
        if not isinstance(log, logging.Logger) or log.name.partition(".")[0] == _OF_RAY:
            continue
        for handler in [one for one in log.handlers if _is_stream(one)]:
            log.removeHandler(handler)
            log.propagate = True


def _is_stream(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def _log_death(died: threading.ExceptHookArgs) -> None:
    """Log the error that ended a thread; SystemExit is none, but a way to end it."""
    if died.exc_type is not SystemExit:
        _log_error(died.exc_type, died.exc_value, died.exc_traceback)


def _log_error(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    """Log an error that nobody caught."""
    _LOG.error("not caught: %s", error or kind.__name__, exc_info=(kind, error or kind(), at))
