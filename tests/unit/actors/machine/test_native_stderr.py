"""What reaches a user's terminal: Python's messages, and not those of C++ code."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys
from actors.machine.native_stderr import separate_python, silenced
{first}
os.write(2, b"native before\\n")
with silenced():
    os.write(2, b"native inside\\n")
    print("python inside", file=sys.stderr)
os.write(2, b"native after\\n")
print("python after", file=sys.stderr)
"""


def written(first: str) -> list[str]:
    program = [sys.executable, "-c", PROGRAM.format(first=first)]
    return subprocess.run(program, capture_output=True, text=True, check=True).stderr.splitlines()


def test_native_output_is_dropped_while_it_is_silenced_and_no_message_of_python_is() -> None:
    assert written("separate_python()") == ["native before", "python inside", "native after", "python after"]


def test_nothing_is_dropped_where_both_share_a_descriptor() -> None:
    assert "native inside" in written("")
