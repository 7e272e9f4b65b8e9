"""Renders values into one self-contained HTML file without external references.

In: the name of a template and its values. Out: the page. Everything from a dataset is untrusted: every value is
escaped, and a content security policy in the page allows only its own script and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline import __version__
from pipeline.units import size

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Render `template` with `values`."""
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "share": share, "size": size, "duration": duration, "decimal": decimal}
    environment.filters["brief"] = brief
    script = (_TEMPLATES / "theme.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "script": Markup(script),
        "style": Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    }
    return environment


def brief(text: str | None, length: int) -> str:
    """The beginning of a long text: a page's size must not depend on the length of captions."""
    text = text or ""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def count(number: int) -> str:
    """`1928` -> `1,928`."""
    return f"{number:,}"


def decimal(number: float, digits: int = 3) -> str:
    """`0.12345` -> `0.123`, with a true minus sign."""
    return f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def share(part: float) -> str:
    """`0.0874` -> `8.7 %`; a small share does not become zero."""
    if not part:
        return "0 %"
    return "< 0.1 %" if 0 < part < 0.0005 else f"{100 * part:.1f} %"


def duration(seconds: float) -> str:
    """`75` -> `1 min 15 s`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
