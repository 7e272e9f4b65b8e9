"""Names the extra of a package that is not installed, and the command that installs it in this environment.

In: the name of a package or of an extra. Out: a `MissingPackageError`. The command depends on how hanclip was
installed: hanclip is on no package index, so it must not be named as a requirement that pip would look up there.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import UsageError

#: The packages, as they are imported, that each extra brings. `embed` consists of `ray`, `model`, `s3` and `fast`.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "embed": (
        "ray",
        "torch",
        "tokenizers",
        "transformers",
        "safetensors",
        "huggingface_hub",
        "s3fs",
        "llvmlite",
        "simplejpeg",
    ),
    "curate": ("faiss", "jinja2"),
    "flows": ("prefect", "psutil", "fastapi", "sqlalchemy"),
    "serve": ("fastapi", "uvicorn"),
    "jobs": ("httpx",),
    "lmdb": ("lmdb",),
    "heif": ("pillow_heif",),
    "sync-qdrant": ("qdrant_client",),
    "sync-pgvector": ("psycopg",),
    "sync-lance": ("lancedb",),
    "sync-milvus": ("milvus_lite", "pymilvus"),
    "fast": ("llvmlite", "simplejpeg"),
}
_NAMED = re.compile(r"hanclip\[([\w,-]+)\]")
_OF_EXTRA = re.compile(r"""extra == ['"]([\w-]+)['"]""")


class MissingPackageError(UsageError):
    """A package of an extra is not installed."""


def missing_package(package: str) -> MissingPackageError | None:
    """The error for a package that cannot be imported; None if no extra brings it, so that its absence is a bug."""
    top = package.partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if top in packages), None)
    return MissingPackageError(_message(top, extra)) if extra else None


def require(extra: str) -> None:
    """Raise MissingPackageError unless every package of `extra` is installed. Imports none of them."""
    for package in EXTRAS[extra]:
        if not _installed(package):
            raise MissingPackageError(_message(package, extra))


def _installed(package: str) -> bool:
    try:
        return package in sys.modules or find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _message(package: str, extra: str) -> str:
    return f"The package {package} is not installed. It comes with the extra {extra}: {install_command(extra)}"


@cache
def install_command(extra: str) -> str:
    """The shell command that adds `extra` to this environment, from where hanclip was installed."""
    origin = _origin()
    url = str(origin.get("url", ""))
    folder = Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(__file__).parents[1]
    if (folder / "pyproject.toml").is_file():
        return _from_checkout(folder, extra, origin)
    pip = f"{shlex.quote(sys.executable)} -m pip install "
    if "archive_info" in origin:
        return pip + shlex.quote(f"hanclip[{extra}] @ {url}")
    if vcs := origin.get("vcs_info"):
        return pip + shlex.quote(f"hanclip[{extra}] @ {vcs['vcs']}+{url}@{vcs['commit_id']}")
    return pip + shlex.join(requirements(extra))


def _from_checkout(folder: Path, extra: str, origin: Mapping[str, dict[str, object]]) -> str:
    script = folder / "scripts" / "install"
    if script.is_file() and Path(sys.prefix) == folder / ".venv":
        return shlex.join([str(script), extra])
    constraints = ["-c", str(folder / "constraints.txt")] if (folder / "constraints.txt").is_file() else []
    editable = ["-e"] if origin.get("dir_info", {}).get("editable", True) else []
    return shlex.join([sys.executable, "-m", "pip", "install", *constraints, *editable, f"{folder}[{extra}]"])


def _origin() -> dict[str, dict[str, object]]:
    """Where pip installed hanclip from (PEP 610); empty if that is not known."""
    from importlib import metadata  # slow, and needed for this message only

    try:
        found = json.loads(metadata.distribution("hanclip").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def requirements(extra: str) -> list[str]:
    """The requirements of `extra` in the metadata of hanclip, without hanclip itself."""
    from importlib import metadata  # as above

    try:
        declared = metadata.requires("hanclip") or []
    except metadata.PackageNotFoundError:
        return list(EXTRAS[extra])
    return list(dict.fromkeys(of_extra(extra, declared)))


def of_extra(extra: str, declared: Sequence[str]) -> Iterator[str]:
    """Of the requirements of hanclip, those of `extra`, with hanclip's own extras replaced by what they consist of."""
    for line in declared:
        requirement, _, marker = line.partition(";")
        named = _OF_EXTRA.search(marker)
        if named and named[1] == extra:
            if inner := _NAMED.match(requirement):
                for name in inner[1].split(","):
                    yield from of_extra(name, declared)
            else:
                yield requirement.strip()
