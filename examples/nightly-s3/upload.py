"""Upload the tars of a folder as the deliveries of the last days: the last tar is today's.

Usage: python upload.py FOLDER ADDRESS [TIMEZONE]; the credentials are in the environment, as for every hanclip command
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline import storage


def main(folder: str, address: str, timezone: str = "Asia/Shanghai") -> None:
    """Upload to ADDRESS/dt=DATE/, and print each address."""
    today = datetime.now(ZoneInfo(timezone)).date()
    for days_ago, tar in enumerate(sorted(Path(folder).glob("*.tar"), reverse=True)):
        target = storage.join(address, f"dt={today - timedelta(days_ago)}", tar.name)
        storage.upload(target, tar)
        print(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
