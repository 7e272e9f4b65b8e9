"""Files written on this machine's disk and uploaded whole: whoever is killed leaves nothing that looks finished."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from pipeline import storage


class Staged:
    """Text files of one export, which appear under their names together at the end, or not at all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.files: dict[str, IO[str]] = {}

    def open(self, name: str) -> IO[str]:
        """A file to write; its name is relative to the destination."""
        path = self._folder / f"{len(self.files)}"
        self.files[name] = self._stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        return self.files[name]


@contextmanager
def staged(dest: str) -> Iterator[Staged]:
    """Files for the folder `dest`, uploaded when the block ends without an error."""
    with tempfile.TemporaryDirectory(prefix="hanclip-") as folder:
        with ExitStack() as stack:
            files = Staged(Path(folder), stack)
            yield files
        for number, name in enumerate(files.files):
            storage.upload(storage.join(dest, name), Path(folder) / str(number))


@contextmanager
def staged_file(uri: str) -> Iterator[Path]:
    """The path of one file to write, uploaded to `uri` when the block ends without an error."""
    with tempfile.TemporaryDirectory(prefix="hanclip-") as folder:
        path = Path(folder) / storage.name(uri)
        yield path
        storage.upload(uri, path)
