"""Emoji as a Chinese image-text data set: names from Unicode CLDR, drawings from freely licensed npm packages.

In: npm packages, downloaded once with `npm pack` into a cache folder. Out: `Concept`s (code points, Chinese
name, keywords, group) and `Drawing`s (vendor, code points, encoded image). The demo catalog contains some of
these drawings. The demo model is trained on all vendors except `HELD_OUT`, which is used for evaluation.

Code points are written as in the file names of the packages: lower-case hex joined by `-`, at least four
digits, without the variation selector `fe0f`.
"""

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py

DEFAULT_CACHE = Path.home() / ".cache" / "hanclip-demo"
HELD_OUT = "twemoji"
SVG_SIZE_PX = 96
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}

CLDR = "cldr-annotations-full@48.2.0"
RASTER_PACKAGES = {  # vendor -> package, folder of the images in it
    "twemoji": ("emoji-datasource-twitter@16.0.0", "img/twitter/64"),
    "noto": ("emoji-datasource-google@16.0.0", "img/google/64"),
    "fluent-3d": ("@lobehub/fluent-emoji-3d@1.1.0", "assets"),
}
SVG_PACKAGES = {
    "fluent-color": "@iconify-json/fluent-emoji@1.2.7",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "fluent-high-contrast": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "noto-v1": "@iconify-json/noto-v1@1.2.5",
    "emojione": "@iconify-json/emojione@1.2.3",
    "emojione-monotone": "@iconify-json/emojione-monotone@1.2.1",
    "fxemoji": "@iconify-json/fxemoji@1.2.2",
    "streamline": "@iconify-json/streamline-emojis@1.2.4",
}
NAME_TABLES = ("@iconify-json/noto@1.2.9", SVG_PACKAGES["fluent-flat"])

GROUPS = {
    "Smileys & Emotion": "表情与情感",
    "People & Body": "人物与身体",
    "Animals & Nature": "动物与自然",
    "Food & Drink": "食物和饮料",
    "Travel & Places": "旅行与地点",
    "Activities": "活动",
    "Objects": "物品",
    "Symbols": "符号",
    "Flags": "旗帜",
}


@dataclass(frozen=True)
class Concept:
    """One emoji with its Chinese name and keywords."""

    codepoints: str
    name: str
    keywords: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Drawing:
    """One vendor's picture of an emoji; `codepoints` excludes the skin tone if it is `toned`."""

    vendor: str
    codepoints: str
    toned: bool
    image: bytes


def fetch(package: str, cache: Path) -> Path:
    """The unpacked folder of the npm package `name@version`; downloads it if it is not cached."""
    name, version = package.rsplit("@", 1)
    folder = cache / f"{name.lstrip('@').replace('/', '-')}-{version}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", package], cwd=cache, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(cache / f"{folder.name}.tgz") as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


def concepts(cache: Path) -> dict[str, Concept]:
    """Every emoji with a Chinese name and a group, by code points, in Unicode order."""
    annotations = _json(fetch(CLDR, cache) / "annotations/zh/annotations.json")["annotations"]["annotations"]
    named = {_codepoints(characters): labels for characters, labels in annotations.items() if "tts" in labels}
    emoji = sorted(_emoji_table(cache), key=lambda row: int(row["sort_order"]))
    rows = [(_normalised(row["unified"]), row["category"]) for row in emoji if row["category"] in GROUPS]
    return {key: _concept(key, named[key], group) for key, group in rows if key in named}


def drawings(vendor: str, cache: Path) -> Iterator[Drawing]:
    """All drawings of one vendor, skin-tone variants included, in a fixed order."""
    images = _raster_images(vendor, cache) if vendor in RASTER_PACKAGES else _svg_images(vendor, cache)
    for codepoints, image in images:
        plain = "-".join(part for part in codepoints.split("-") if part not in SKIN_TONES)
        yield Drawing(vendor, plain or codepoints, plain not in ("", codepoints), image)


def _concept(codepoints: str, labels: dict[str, list[str]], group: str) -> Concept:
    name = labels["tts"][0]
    keywords = tuple(word for word in labels.get("default", []) if word != name)
    return Concept(codepoints, name, keywords, GROUPS[group])


def _raster_images(vendor: str, cache: Path) -> Iterator[tuple[str, bytes]]:
    package, folder = RASTER_PACKAGES[vendor]
    for path in sorted((fetch(package, cache) / folder).iterdir()):
        yield _normalised(path.stem), path.read_bytes()


def _svg_images(vendor: str, cache: Path) -> Iterator[tuple[str, bytes]]:
    icons = _json(fetch(SVG_PACKAGES[vendor], cache) / "icons.json")
    codepoints_of = _codepoints_by_name(cache)
    for name, icon in sorted(icons["icons"].items()):
        codepoints = codepoints_of.get(_squashed(name))
        if codepoints:
            yield codepoints, _render(icon, icons)


def _render(icon: dict[str, Any], icons: dict[str, Any]) -> bytes:
    width, height = (icon.get(side) or icons.get(side) or 16 for side in ("width", "height"))
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#222"'
    svg = f'<svg {head} viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SVG_SIZE_PX, skip_system_fonts=True))


def _codepoints_by_name(cache: Path) -> dict[str, str]:
    """Code points by English icon name, from two of the icon sets and the emoji table."""
    table: dict[str, str] = {}
    for package in NAME_TABLES:
        for codepoints, name in _json(fetch(package, cache) / "chars.json").items():
            table.setdefault(_squashed(name), _normalised(codepoints))
    for row in _emoji_table(cache):
        for name in (row["name"] or "", *row["short_names"]):
            table.setdefault(_squashed(name), _normalised(row["unified"]))
    return table


def _emoji_table(cache: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = _json(fetch(RASTER_PACKAGES["noto"][0], cache) / "emoji.json")
    return table


def _squashed(name: str) -> str:
    """Normalise a name, so that `Birthday-cake-2` equals `birthday cake`."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"-\d$", "", name.lower()))


def _codepoints(characters: str) -> str:
    return _normalised("-".join(f"{ord(character):x}" for character in characters))


def _normalised(codepoints: str) -> str:
    return "-".join(part.zfill(4) for part in codepoints.lower().split("-") if part != "fe0f")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
