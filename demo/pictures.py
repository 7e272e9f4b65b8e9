"""Takes the pictures of the READMEs: the terminal of `hanclip demo`, and the report on its dataset in two languages.

python demo/pictures.py --chromium /usr/bin/chromium

In: the demo catalog and model, and a Chromium. Out: `docs/pictures/`. Run it again when the report or the summary of a
run has changed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

from PIL import Image
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
#: In the pictures, so it has the same name on every machine.
_FOLDER = "/tmp/demo"
_COLUMNS, _WIDTH, _HEIGHT = 110, 1100, 1000
_HANCLIP = [sys.executable, "-m", "flows.cli"]
_WIDE = r"[\u2e80-\uffef]+"
_TEXT = re.compile(r'(<text [^>]*textLength=")([\d.]+)"[^>]*>([^<]*)</text>')
#: Without rich's own fonts, which a browser would fetch from elsewhere.
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>{lines}</defs>
{chrome}<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="chromium")
    chromium = parser.parse_args().chromium
    PICTURES.mkdir(parents=True, exist_ok=True)
    folder = _FOLDER
    Path(folder).mkdir()
    try:
        terminal(_run(folder, "demo", "hanclip-demo"))
        for command in ("dedup", "similarity", "report"):
            _run(folder, command, "hanclip-demo")
        for language in ("en", "zh"):
            shoot(chromium, f"file://{folder}/report.html?lang={language}", PICTURES / f"report.{language}.png")
    finally:
        shutil.rmtree(folder)


def terminal(printed: str) -> None:
    """The picture of what a command printed, in its colours."""
    console = Console(record=True, width=_COLUMNS, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until exit
    console.print(Text("$ scripts/demo", style="bold"))
    text = Text.from_ansi(printed.replace(f"{ROOT}/", ""))
    text.highlight_regex(_WIDE, "bright_white")  # texts of their own in the picture, so that columns stay aligned
    console.print(text)
    svg = console.export_svg(title="hanclip demo", code_format=_SVG)
    (PICTURES / "terminal.svg").write_text(_TEXT.sub(_widened, svg), encoding="utf-8")


def _widened(found: re.Match[str]) -> str:
    """A text with the length of its cells, since rich counts a Chinese character as one."""
    shown = unescape(found[3])
    return f"{found[1]}{float(found[2]) * cell_len(shown) / len(shown):g}{found[0][found.end(2) - found.start() :]}"


def shoot(chromium: str, address: str, path: Path) -> None:
    """The top of a page, in 128 colours."""
    size = f"--window-size={_WIDTH},{_HEIGHT}"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000", size]
    subprocess.run([chromium, *options, f"--screenshot={path}", address], check=True, capture_output=True)
    with Image.open(path) as taken:
        taken.convert("RGB").quantize(128).save(path, optimize=True)


def _run(folder: str, *words: str) -> str:
    """What a command that runs in a folder prints to stdout, with colours."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(_COLUMNS)}
    command = [*_HANCLIP, *words]
    return subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
