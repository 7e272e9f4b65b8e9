"""Writes several files to the local disk, then uploads them whole: a killed export leaves no partial file at DEST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from pipeline import storage
from pipeline.scratch.folder import ScratchFolder


class StagedFiles:
    """Text files of one export. They are uploaded together at the end, or not at all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.files: dict[str, IO[str]] = {}

    def open(self, name: str) -> IO[str]:
        """Open a file for writing; its name is relative to the destination."""
        path = self._folder / f"{len(self.files)}"
        self.files[name] = self._stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        return self.files[name]


@contextmanager
def staged_files(dest: str) -> Iterator[StagedFiles]:
    """Files for the folder `dest`, uploaded when the block ends without an error."""
    with ScratchFolder() as folder:
        with ExitStack() as stack:
            files = StagedFiles(folder, stack)
            yield files
        for number, name in enumerate(files.files):
            storage.upload(storage.join(dest, name), folder / str(number))
