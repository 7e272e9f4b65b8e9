"""Reads lists of prompt templates from a Python file, such as that of Chinese-CLIP's authors, without running it.

In: the source text. Out: for each list that the file defines, its templates with `{}` for the label. A template is a
string with `{}`, or a lambda of one argument that returns an f-string or a sum of strings. Other statements are
ignored. The authors choose the list by the name of the ELEVATER set; so does `choose`.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from pipeline.errors import ConfigError

_SLOT = "{}"
#: The sets for which the authors' evaluation has a list of its own, by the name of the set. All others use `_GENERAL`.
_OWN_LIST = {
    "fgvc-aircraft-2013b-variants102": "aircraft_templates",
    "food-101": "food_templates",
    "oxford-flower-102": "flower_templates",
    "eurosat_clip": "eurosat_templates",
    "resisc45_clip": "eurosat_templates",
    "country211": "country211_templates",
}
_GENERAL = "openai_templates"


def lists_of(uri: str, source: str) -> dict[str, list[str]]:
    """The lists of templates of a file, by name. Raises ConfigError if it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's own style
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{uri} is not a Python file: {error}. Correct it, or write one template a line.") from error
    found: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.List, ast.Tuple)):
            templates = [_template(item) for item in node.value.elts]
            if templates and all(template is not None and _SLOT in template for template in templates):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                found |= {name: [template for template in templates if template] for name in names}
    return found


def choose(uri: str, lists: Mapping[str, list[str]], wanted: str, dataset_name: str | None) -> list[str]:
    """One of the lists: the named one, the only one, or that of an ELEVATER set. Raises ConfigError."""
    if not wanted and len(lists) == 1:
        wanted = next(iter(lists))
    elif not wanted and dataset_name and _GENERAL in lists:
        wanted = _OWN_LIST.get(dataset_name, _GENERAL)
    if wanted in lists:
        return lists[wanted]
    known = ", ".join(f"{name} ({len(templates)})" for name, templates in lists.items()) or "no list of templates"
    problem = f"has no list {wanted}, but" if wanted else "has"
    raise ConfigError(f"{uri} {problem} {known}: name one, as {uri}#{next(iter(lists), 'NAME')}.")


def _template(node: ast.expr) -> str | None:
    """The template that an item of a list stands for; None if it is none."""
    if not isinstance(node, ast.Lambda):
        return _text(node, None)
    arguments = node.args.args
    return _text(node.body, arguments[0].arg) if len(arguments) == 1 else None


def _text(node: ast.expr, label: str | None) -> str | None:
    """The value of an expression, with `{}` in place of the argument `label`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return _SLOT if node.id == label else None
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, label) if node.conversion == -1 and node.format_spec is None else None
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part, label) for part in node.values]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [_text(part, label) for part in (node.left, node.right)]
    else:
        return None
    return None if None in parts else "".join(part for part in parts if part)
