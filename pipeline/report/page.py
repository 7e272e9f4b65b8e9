"""Renders values into one self-contained HTML file without external references.

In: the name of a template and its values. Out: the page, in both languages (`wording`). Everything from a dataset is
untrusted: every value is escaped, invisible characters are made visible, and a content security policy in the page
allows only its own styles and scripts and loads nothing.
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
from pipeline.pages.shared import shared_file
from pipeline.report.quantities import brief, count, decimal, duration, middle, moment, percent, share
from pipeline.report.wording import attribute, content, explained, known, listed, say
from pipeline.units import size
from pipeline.visible import visible

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
        finalize=_shown,
    )
    environment.filters |= {"count": count, "share": share, "size": size, "duration": duration, "decimal": decimal}
    environment.filters |= {
        "brief": brief,
        "moment": moment,
        "percent": percent,
        "middle": middle,
        "attr": attribute,
        "element": content,
        "listed": listed,
    }
    early = shared_file("early.js")
    late = _joined(shared_file("theme.js"), "scripts/*.js")
    style = _joined(shared_file("look.css"), "styles/*.css")
    environment.globals |= {"early": Markup(early), "late": Markup(late), "style": Markup(style)}
    environment.globals |= {"say": say, "known": known, "explained": explained}
    environment.globals["policy"] = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(early)} {_digest(late)}"
    )
    return environment


def _joined(shared: str, pattern: str) -> str:
    """The file of all pages and those of a folder as one text: a section may have its own style and script."""
    own = (path.read_text(encoding="utf-8").strip() for path in sorted(_TEMPLATES.glob(pattern)))
    return "\n".join([shared, *own])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value
