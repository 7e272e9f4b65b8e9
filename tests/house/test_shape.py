"""Test the shape of the source tree: sizes of modules, functions and folders, public class names, import cycles."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import grimp
import pytest

from tests.fixtures.places import ROOT

PACKAGES = ("pipeline", "actors", "flows")
MODULE_LINES, FUNCTION_LINES, FLAT_MODULES = 250, 40, 12
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@cache
def trees() -> Mapping[Path, ast.Module]:
    """Parsed once, and only where these tests run."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def test_modules_stay_within_the_line_limit() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES} == {}


def test_functions_stay_within_the_line_limit() -> None:
    lines = {f"{name_of(path)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1 for path, node in functions()}
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES} == {}


def test_folders_stay_within_the_module_limit() -> None:
    flat = Counter(name_of(path.parent) for path in FILES if not path.stem.startswith("__"))
    assert {name: count for name, count in flat.items() if count > FLAT_MODULES} == {}


def test_every_folder_is_a_package_with_a_docstring() -> None:
    for folder in {path.parent for path in FILES}:
        assert ast.get_docstring(trees()[folder / "__init__.py"]), name_of(folder)


def public_types(tree: ast.Module) -> Iterator[str]:
    """Public classes, and public aliases of types such as `OnRows = Callable[[int], None]`."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name) and not target.id.isupper()]
        else:
            continue
        yield from (name for name in names if name[0].isupper())


def test_public_type_names_are_unique() -> None:
    homes = defaultdict(list)
    for path, tree in trees().items():
        for name in public_types(tree):
            homes[name].append(name_of(path))
    assert len(homes) > 100
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_imports_inside_functions_are_explained() -> None:
    """They defer heavy or optional packages: a comment explains it, or a block handles the missing package."""
    unexplained = []
    for path, node in functions():
        own = [part for part in ast.walk(node) if isinstance(part, ast.ImportFrom) and is_own(part)]
        lines = path.read_text(encoding="utf-8").splitlines()
        explained = any("#" in line for line in lines[node.lineno - 1 : max([0, *(part.lineno for part in own)])])
        guards = [part for part in ast.walk(node) if isinstance(part, (ast.With, ast.Try))]
        guarded = {id(inner) for guard in guards for inner in guard.body}
        if own and not explained and not all(id(part) in guarded for part in own):
            unexplained.append(f"{name_of(path)}:{node.name}")
    assert unexplained == []


def is_own(node: ast.ImportFrom) -> bool:
    return (node.module or "").split(".")[0] in PACKAGES


def test_there_are_no_import_cycles() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    cycles = [
        (module, *chain)
        for module in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(module))
        if (chain := graph.find_shortest_chain(imported, module))
    ]
    assert cycles == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_checks_cover_every_package(package: str) -> None:
    assert sum(path.is_relative_to(ROOT / package) for path in FILES) > 10
