"""Names runs. Ids sort in the order in which runs were planned, whatever the clocks of their machines show.

Which rows of a dataset are current depends on that order. A clock that was set back, or that of another machine, must
not let an older listing win.
"""

from __future__ import annotations

import logging
import re
import secrets
from datetime import UTC, datetime, timedelta

logger = logging.getLogger(__name__)

_ID = re.compile(r"(\d{8}T\d{6}\.\d{3})Z-(.+)")
_TIME = "%Y%m%dT%H%M%S.%f"


def new_run_id() -> str:
    """A new run id of the current time (UTC, milliseconds); a random suffix keeps two drivers apart."""
    return _id_at(datetime.now(UTC), secrets.token_hex(3))


def id_after(run_id: str, newest: str) -> str:
    """`run_id`, or the next id after `newest` if that one is later."""
    later, mine = _ID.fullmatch(newest), _ID.fullmatch(run_id)
    if run_id > newest or not (later and mine):
        return run_id
    logger.warning(
        "Run %s of this dataset is later than the clock of this machine. Check the clocks of the machines that run"
        " hanclip; this run takes the next id after it.",
        newest,
    )
    return _id_at(datetime.strptime(later[1], _TIME) + timedelta(milliseconds=1), mine[2])


def _id_at(moment: datetime, suffix: str) -> str:
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z-{suffix}"
