"""Keeps the logs of a stack over restarts: those of the last starts of each service, and of the last Ray sessions.

In: log files, and the folder with Ray's sessions, which `hanclip dev down` removes. Out: `logs/SERVICE.N.log` (1 is the
most recent) and `logs/ray/SESSION/`, with the log of each job and the list of jobs.
"""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

#: A stack that is restarted every day keeps about a week.
KEPT = 7
#: Written by `hanclip dev down` while Ray still answers.
JOBS = "jobs.json"


def rotate(log: Path, kept: int = KEPT) -> None:
    """Make room for the log of a new start; the oldest one is removed."""
    if not log.exists():
        return
    names = [log, *(log.with_suffix(f".{number}{log.suffix}") for number in range(1, kept))]
    for old, new in reversed(list(pairwise(names))):
        if old.exists():
            old.replace(new)


def archive(sessions: Path, target: Path, kept: int = KEPT) -> None:
    """Move the logs of Ray's sessions to `target`, and remove the oldest ones there.

    Raises:
        OSError: no space, or no right to write.
    """
    # `session_latest` is a link.
    ended = [path for path in sorted(sessions.glob("session_*")) if not path.is_symlink() and (path / "logs").is_dir()]
    for session in ended:
        target.mkdir(parents=True, exist_ok=True)
        shutil.move(session / "logs", target / session.name)
    if ended and (sessions / JOBS).exists():
        shutil.move(sessions / JOBS, target / ended[-1].name / JOBS)
    for old in sorted(target.glob("session_*"))[:-kept]:
        shutil.rmtree(old)
