"""The log of a server: whatever Python code says on stderr is a line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.fixtures.places import ROOT

SCRIPT = """
import logging, sys, threading, warnings
library = logging.getLogger("library")
library.addHandler(logging.StreamHandler())
library.propagate = False
from pipeline.serving.log import adopt_loggers, log_as_json
log_as_json(with_access=True)
late = logging.getLogger("late.part")
late.addHandler(logging.StreamHandler(sys.stdout))
adopt_loggers()
logging.getLogger("uvicorn.error").warning("Invalid %s", "request")
library.error("two\\nlines")
late.warning("晚")
warnings.warn("careful", UserWarning, stacklevel=1)
logging.getLogger("hanclip.serve").info("begun")
logging.getLogger("hanclip.serve.access").info('{"time": "now", "path": "/"}')
logging.getLogger("quiet").info("not shown")
for target in (sys.exit, lambda: 1 / 0):  # the first one ends without an error
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
class Lost:
    def __del__(self):
        raise ValueError("lost")
Lost()
try:
    {}["key"]
except KeyError:
    logging.getLogger("hanclip.serve").exception("request %s failed", 7)
raise RuntimeError("the end")
"""


def test_all_that_python_says_is_a_line_of_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line["time"] for line in lines)
    said = [(line.get("level"), line.get("logger"), line.get("message")) for line in lines]
    warned = said.pop(3)
    assert warned[:2] == ("warning", "py.warnings")
    assert "UserWarning: careful" in warned[2]
    assert said == [
        ("warning", "uvicorn.error", "Invalid request"),
        ("error", "library", "two\nlines"),
        ("warning", "late.part", "晚"),
        ("info", "hanclip.serve", "begun"),
        (None, None, None),
        ("error", "hanclip.serve", "not caught: division by zero"),
        ("error", "hanclip.serve", "not caught: lost"),
        ("error", "hanclip.serve", "request 7 failed"),
        ("error", "hanclip.serve", "not caught: the end"),
    ]
    assert [line["exception"].splitlines()[-1].partition(":")[0] for line in lines if "exception" in line] == [
        "ZeroDivisionError",
        "ValueError",
        "KeyError",
        "RuntimeError",
    ]
