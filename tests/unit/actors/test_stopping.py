"""Exceptions of signals that foreign code drops or translates, and signals that follow the first.

Each case is a process of its own, since it replaces signal handlers.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from actors.exiting import stop_message
from tests.fixtures.places import ROOT

HEAD = """
import os, signal, sys, time
from actors.exiting import exit_at_once
from actors.stopping import Interrupted, StopSignal, hold_signals, named, raise_on_signals, release_signals

def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)

def work():
    try:
        with named():
            body()
    except Interrupted as stop:
        print(stop.message)
        sys.exit(stop.code)

"""
INT, TERM = stop_message(2) + "\n", stop_message(15) + "\n"
DROPPED = """
class Dropping:
    def __del__(self):
        send()

def body():
    Dropping()
    time.sleep(30)
"""
CAUGHT = """
def body():
    try:
        send(signal.SIGTERM)
        time.sleep(30)
    except {caught}:
        {then}
"""
TRANSLATED = CAUGHT.format(caught="BaseException", then='raise RuntimeError("computation interrupted")')
EXITING = CAUGHT.format(caught="SystemExit", then="sys.exit(1)")
KEYBOARD = """
def body():
    raise KeyboardInterrupt
"""
IN_CLEANUP = """
def body():
    try:
        send()
        time.sleep(30)
    finally:
        send()
        send(signal.SIGTERM)
        print("cleaned up")
"""
IN_RUN = """
def body():
    with StopSignal() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        print("recorded", stop.number)
        send()
        print("not reached")
"""
IN_REPORT = """
def body():
    with StopSignal() as stop:
        send()
        hold_signals()
        send()
        print("recorded", stop.number)
    send()
    print("reported")
"""
BEFORE_THE_NEXT_RUN = """
def body():
    with StopSignal():
        hold_signals()
    send(signal.SIGTERM)
    print("reported")
    release_signals()
    print("not reached")
"""
NOTHING = """
def body():
    pass
"""


def run(body: str, end: str) -> tuple[int, str, str]:
    script = HEAD + textwrap.dedent(body) + textwrap.dedent(end)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("body", "printed", "code"),
    [
        (DROPPED, INT, 130),
        (TRANSLATED, TERM, 143),
        (EXITING, TERM, 143),
        (KEYBOARD, INT, 130),
        (IN_CLEANUP, f"cleaned up\n{INT}", 130),
        (IN_RUN, f"recorded 15\n{INT}", 130),
        (IN_REPORT, "recorded 2\nreported\n", 0),
        (BEFORE_THE_NEXT_RUN, f"reported\n{TERM}", 143),
        (NOTHING, "", 0),
    ],
)
def test_a_signal_reaches_the_border_of_the_command(body: str, printed: str, code: int) -> None:
    assert run(body, "raise_on_signals(); work()") == (code, printed, "")


@pytest.mark.parametrize(
    ("known", "code", "errors"), [("", 130, INT), ("0", 0, ""), ("3", 3, "")], ids=["before", "complete", "quarantine"]
)
def test_a_signal_before_and_after_the_work_ends_the_process_at_once(known: str, code: int, errors: str) -> None:
    assert run(NOTHING, f"exit_at_once({known}); send(); time.sleep(30)") == (code, "", errors)


def test_an_error_without_a_signal_is_no_stop() -> None:
    code, printed, errors = run("def body():\n    raise RuntimeError('a bug')\n", "raise_on_signals(); work()")
    assert (code, printed) == (1, "")
    assert "RuntimeError: a bug" in errors
