"""Commands in processes that are forked from one which has imported what they need, and that die where they are told.

A step is a call that makes, opens, renames or removes a file, as Python's audit events tell: they are the same in each
run of a command, so a process that is to die at step n dies there, by SIGKILL.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PRELOADED = (
    "flows.cli",
    *(
        f"flows.commands.curation.{name}"
        for name in ("classify", "evaluate", "export", "report", "search", "similarity")
    ),
    *(f"pipeline.curation.search.{name}" for name in ("index", "with_index")),
    *(f"pipeline.curation.export.targets.{name}" for name in ("faiss", "hf", "npy")),
    *("pipeline.model.chinese_clip", "pipeline.report.write", "pipeline.report.search_page"),
    *("transformers.models.chinese_clip.modeling_chinese_clip", "transformers.models.bert.tokenization_bert"),
)
_STEPS = frozenset(
    {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "shutil.copyfile", "shutil.rmtree", "tempfile.mkdtemp"}
)


def run(argv: Sequence[str], folder: Path, dies_at: int = 0) -> tuple[int, list[tuple[str, str]]]:
    """`hanclip ARGV`: its exit code, and the steps below `folder` that it took if it came to its end.

    With `dies_at` it is killed at this step, which is not done any more. Scratch files go to `folder`/scratch.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dying", *PRELOADED])
    (folder / "scratch").mkdir(exist_ok=True)
    steps = folder / "steps.json"
    steps.unlink(missing_ok=True)
    process = context.Process(target=_run, args=(tuple(map(str, argv)), folder, dies_at))
    process.start()
    process.join(120)
    assert process.exitcode is not None, f"{argv} hangs"
    return process.exitcode, json.loads(steps.read_text()) if steps.exists() else []


def _run(argv: Sequence[str], folder: Path, dies_at: int) -> None:
    from flows.cli import main

    tempfile.tempdir = str(folder / "scratch")
    with (folder / "log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    steps: list[tuple[str, str]] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STEPS and str(arguments[0]).startswith(str(folder)):
            steps.append((event, str(arguments[1 if event == "os.rename" else 0])))
            if len(steps) == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    try:
        main(list(argv))
    finally:
        (folder / "steps.json").write_text(json.dumps(steps.copy()))
