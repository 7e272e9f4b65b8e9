"""`python -m docs.generate FOLDER`: stages the site's pages and its settings in a folder, for the site generator."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.generate.staging import stage

if __name__ == "__main__":
    stage(Path(sys.argv[1]))
