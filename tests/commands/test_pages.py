"""Run what the pages of the documentation show: their commands, Python and SQL, page by page, in a reader's folder.

Names of released models become `demo`, buckets become folders, and some commands are run dry. The Chinese pages have
the code of the English ones (`tests/house/test_languages.py`), and examples have tests of their own
(`tests/commands/test_examples.py`).
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import duckdb
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tests.fixtures.documents import PAGES, coded, commands, name_of
from tests.fixtures.places import ROOT
from tests.fixtures.reader import furnish

LANGUAGES = ("bash", "python", "sql")
#: Each of these pages has a test of its own that runs all of it.
APART = {"docs/data-format.md": "tests/house/test_data_format.py"}
SHOWN = [
    page
    for page in PAGES
    if not re.search(r"/zh/|zh-CN|^examples/", name_of(page)) and coded(page, *LANGUAGES) and name_of(page) not in APART
]
CLEAN, FIRST_FOLDER = (ROOT / "docs" / name for name in ("clean.md", "tutorials/first-folder.md"))
#: Pages that begin with pictures; all others begin with a dataset that was made of a table, and tables about it.
FROM_PICTURES = {"README.md", *(f"docs/{name}.md" for name in ("quick-start", "clean", "embed", "models"))}

#: What is not run here, by the beginning of a command, or of a block: the tests that run it, or the reason.
NOT_RUN = {
    "$EDITOR": "opens an editor",
    ".": "changes the shell",
    "cd": "changes the shell",
    "export": "changes the shell",
    "source": "changes the shell",
    "cp .env.example": "is a step of Compose, which was never run",
    "docker": "needs a container engine: docs/operations.md, What was not run",
    "kubectl": "needs Kubernetes: docs/operations.md, What was not run",
    "printf": "writes groups.txt, which is there",
    "pip": "installs from an index; tests/house/test_wheel.py installs hanclip",
    ".venv/bin/pip": "installs from an index; tests/house/test_wheel.py installs hanclip",
    ".venv/bin/hanclip": "is the program that tests/house/test_wheel.py installs and runs",
    "python3 -m venv": "makes an environment, as tests/house/test_wheel.py does",
    "python -m venv": "makes an environment, as tests/house/test_wheel.py does",
    "../with-daft/bin/pip": "installs from an index",
    "python -m benchmarks.": "takes minutes to hours; its results are in benchmarks/results",
    "scripts/": "installs from an index",
    "curl": "tests/commands/test_serve.py",
    "hanclip serve": "tests/commands/test_serve.py",
    "hanclip demo": "tests/commands/test_demo.py",
    "hanclip dev": "tests/scheduled/test_dev_stack.py",
    "hanclip jobs": "tests/cluster/test_jobs_cli.py",
    "hanclip submit": "tests/cluster/test_jobs_cli.py",
    "hanclip sync out/ postgresql:": "tests/commands/test_sync.py",
    "prefect deployment": "tests/scheduled/test_dev_stack.py",
    "prefect worker": "tests/scheduled/test_infra_prefect.py",
    "infra/prefect/deploy": "tests/scheduled/test_infra_prefect.py",
    "infra/smoke": "tests/unit/flows/smoke/test_smoke.py",
    "import duckdb\nimport fsspec": "tests/s3/test_dataset.py",
    "import openai": "tests/commands/test_serve.py",
    "from langchain_openai": "tests/commands/test_serve.py",
    "from huggingface_hub": "tests/commands/test_serve.py",
    "import json\nfrom pathlib import Path\n\nfrom qdrant_client": "tests/commands/test_export_consumers.py",
}
#: Commands whose results no other one reads.
READING = ("evaluate", "find", "report", "search", "status", "verify")
#: What a reader has in place of other names: small models, folders as buckets and databases.
INSTEAD = {
    r"(--model) (?:vit-\S+|rn50)": r"\1 demo",
    r"\bs3://": "s3/",
    r"http://localhost:6333": "qdrant/",
    r"image_width >= 200": "image_width >= 64",
}


def begins(code: str, beginning: str) -> bool:
    """Whether the code begins with these words; a last word that ends with a sign may go on."""
    after = code[len(beginning) : len(beginning) + 1]
    return code.startswith(beginning) and (beginning[-1] in "/.:" or not after.strip())


def is_run(code: str) -> bool:
    return not any(begins(code, beginning) for beginning in NOT_RUN)


def hanclip(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code, shlex.join(words)


class Reader:
    """Types the commands of one page.

    Args:
        code: of the page.
        made_of: the source of `out/`.
    """

    #: What ran, in the folder for commands that write there: pages repeat commands, and once shows that they run.
    ran: ClassVar[set[tuple[Path | None, str]]] = set()

    def __init__(self, code: list[tuple[str, str]], made_of: str) -> None:
        self._code = code
        self._made_of = {"out/": (made_of, "demo")}
        self._plans = 0

    def read(self) -> str:
        """Run everything; returns what the commands printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            for language, block in self._code:
                if language == "bash":
                    for words in filter(lambda words: is_run(" ".join(words)), commands(block)):
                        self._type(words)
                elif is_run(block) and language == "python":
                    exec(compile(block, "page", "exec"), {})
                elif is_run(block):
                    duckdb.connect().execute(block)
        return printed.getvalue()

    def _type(self, words: list[str]) -> None:
        if words[0] in ("mkdir", "tar", "cp"):
            subprocess.run(words, check=True)
            return
        assert words[0] == "hanclip", f"nothing runs {words[0]}: add how, or a reason to NOT_RUN"
        if words[1] == "embed" and "--help" not in words:
            words = self._embedding(words)
        elif words[1] == "backfill":
            words = [*words, *{"--dry-run"} - set(words)]
        elif (done := (None if words[1] in READING else Path.cwd(), shlex.join(words))) in self.ran:
            return
        else:
            self.ran.add(done)
        hanclip(*words[1:])

    def _embedding(self, words: list[str]) -> list[str]:
        """Into a dataset of the same source, or one that is read later; else it is planned, or its options printed."""
        if "--inventory" in words:
            return [*words, "--print-config"]
        if "--model" not in words:
            words = [*words, "--model", "demo"]
        if "--print-config" in words:
            return words
        source, out = words[2:4]
        made_of = (source, words[words.index("--model") + 1])
        is_read = any(
            language == "bash" and re.search(rf"hanclip (?!embed )\w+ {out}", code) for language, code in self._code
        )
        if self._made_of.get(out) == made_of or (is_read and not Path(out).exists()):
            self._made_of[out] = made_of
            return words
        self._plans += 1
        planned = [f"plan-{self._plans}" if word == out else word for word in words]
        return [*planned, *{"--dry-run"} - set(planned)]


def code_of(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page, with the names that a reader has."""
    found = []
    for language, block in coded(page, *LANGUAGES):
        for name, other in INSTEAD.items():
            block = re.sub(name, other, block)
        found.append((language, block))
    return found


@pytest.fixture(scope="module", autouse=True)
def shell() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COLUMNS", "160")
        environment.setenv("NO_COLOR", "1")
        environment.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def with_pictures(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnished(tmp_path_factory.mktemp("pictures"), "embed photos/ out/ --model demo")


@pytest.fixture(scope="module")
def with_dataset(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = "--id-column sku --image-column url --text-column title --model demo"
    return furnished(tmp_path_factory.mktemp("dataset"), f"embed items.parquet out/ {options}")


def furnished(folder: Path, *made_by: str) -> Path:
    """A reader's folder in which these commands ran; some of its buckets hold the same dataset."""
    furnish(folder)
    with contextlib.chdir(folder):
        for line in (*made_by, "dedup out/", "similarity out/", "classify out/ --labels labels.txt"):
            hanclip(*shlex.split(line))
        for name in ("hanclip/photos", "hanclip/demo", "bucket/embeddings", "shop/embeddings"):
            shutil.copytree("out", Path("s3") / name)
        shutil.copytree("out", "hanclip-demo")
        shutil.copytree("photos/shop", "s3/shop/images")
    return folder


@pytest.mark.parametrize("page", [page for page in SHOWN if page not in (CLEAN, FIRST_FOLDER)], ids=name_of)
def test_what_a_page_shows_runs(page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from_pictures = name_of(page) in FROM_PICTURES
    monkeypatch.chdir(request.getfixturevalue("with_pictures" if from_pictures else "with_dataset"))
    Reader(code_of(page), "photos/" if from_pictures else "items.parquet").read()


def test_cleaning_leaves_tars_of_what_was_kept(with_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(with_pictures)
    Reader(code_of(CLEAN), "photos/").read()
    rows = pq.read_table("out/embeddings", columns=["id"]).num_rows
    kept, dropped = (pq.read_table(f"out/filter/default/{name}.parquet") for name in ("kept", "dropped"))
    assert kept.num_rows + dropped.num_rows == rows
    assert 0.5 < kept.num_rows / rows < 1
    written = set()
    for path in Path("tars").glob("*.tar"):
        with tarfile.open(path) as tar:
            metadata = [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]  # type: ignore[arg-type]
            written |= {one["hanclip"]["id"] for one in metadata}
    assert written == set(kept["id"].to_pylist())
    for page in ("report.html", "found.html"):
        assert "data:image/" in Path(page).read_text(encoding="utf-8")


def test_the_first_folder_goes_as_told(local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    printed = Reader(code_of(FIRST_FOLDER), "photos/").read()
    page = FIRST_FOLDER.read_text(encoding="utf-8")
    assert "487 images, 486 of them with a text, and 487 files" in page
    assert "here 481 + 6" in page
    assert re.search(r"487 .*486 ", printed)
    assert re.search(r"rows in +487 = 481 embedded \+ 6", printed)
    assert "noto-1f9d1-200d-1f9bc-cut" in printed, "the picture in the wrong place is among the lowest"


def test_what_is_not_run_is_on_a_page_and_its_tests_exist() -> None:
    shown = [
        code
        for page in SHOWN
        for language, block in coded(page, *LANGUAGES)
        for code in ([" ".join(words) for words in commands(block)] if language == "bash" else [block])
    ]
    assert [beginning for beginning in NOT_RUN if not any(begins(code, beginning) for code in shown)] == []
    named = re.findall(r"tests/[\w/]+\.py", " ".join(NOT_RUN.values()))
    assert [path for path in named if not (ROOT / path).exists()] == []
