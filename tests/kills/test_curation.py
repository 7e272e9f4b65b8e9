"""Kill commands on a finished dataset at three steps and run them again: the result is that of an undisturbed command.

After a kill each file has its old or its final content, and readers get correct answers.
"""

from __future__ import annotations

import json
import shutil
import signal
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from pipeline.curation.search.index import search as index_search
from pipeline.curation.search.index.build import build
from pipeline.curation.search.index.files import IndexFacts
from pipeline.dataset.latest_rows import latest
from tests.fixtures import dying
from tests.fixtures.places import ROOT

CATALOG = ROOT / "demo" / "catalog"
LABELS = ["人物与身体", "物品", "符号", "旅行与地点", "表情与情感", "动物与自然", "食物和饮料", "活动", "旗帜"]

#: Command lines; `@` is the folder that contains the dataset `out` and all other files.
COMMANDS = {
    "index": "index @/out --kind ivf",
    "search": "search @/out 红苹果 @/photo.png --html @/found.html",
    "report": "report @/out --to @/report.html",
    "classify": "classify @/out --labels @/labels.txt --truth group --report @/report.json --elevater @/elevater.json "
    "--dataset-name emoji",
    "evaluate": "evaluate @/out --pairs @/valid_texts.jsonl --predictions @/predictions",
    "similarity": "similarity @/out",
    "npy": "export @/out @/npy --to npy --vectors both --rows-per-file 900",
    "faiss": "export @/out @/faiss --to faiss",
    "lance": "export @/out @/lance --to lance --vectors both",
    "hf": "export @/out @/hf --to hf --vectors both --rows-per-file 900",
}


@pytest.fixture
def folder(demo_dataset: Path, tmp_path: Path) -> Path:
    """A folder with everything that the commands read."""
    folder = tmp_path / "folder"
    shutil.copytree(demo_dataset, folder / "out")
    (folder / "labels.txt").write_text("\n".join(LABELS))
    rows = latest(str(folder / "out"), ["id", "text"]).read_all().drop_null().slice(0, 40).to_pylist()
    lines = ({"text_id": n, "text": row["text"], "image_ids": [row["id"]]} for n, row in enumerate(rows))
    (folder / "valid_texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with tarfile.open(min(CATALOG.glob("*.tar"))) as tar:
        picture = next(member for member in tar if member.name.endswith(".png"))
        (folder / "photo.png").write_bytes(tar.extractfile(picture).read())  # type: ignore[union-attr]
    return folder


def contents(folder: Path) -> dict[str, Any]:
    """What a reader sees: the bytes of files that are not hidden, and the rows of a versioned table."""
    import lancedb

    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts) and name.parts[0] != "lance":
            found[str(name)] = path.read_bytes()
    if (folder / "lance").exists():
        with suppress(ValueError):  # No version was committed, so the table does not exist.
            found["lance"] = lancedb.connect(folder / "lance").open_table("hanclip").to_arrow()
    return found


def found_by(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, float]:
    """The similarity of each hit by id; there must be seven."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["search", str(folder / "out"), "--id", "noto-1f34e", "--top", "7", "--json", *options])
    printed = capsys.readouterr()
    assert not ended.value.code, printed
    found = {hit["id"]: hit["similarity"] for hit in json.loads(printed.out)["queries"][0]["hits"]}
    assert len(found) == 7
    return found


def assert_index_is_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that the hits and their order are the same with and without the index."""
    with_index, exact = found_by(folder, capsys), found_by(folder, capsys, "--exact")
    assert list(with_index) == list(exact)
    assert with_index == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_three_steps_and_run_again_has_the_same_result(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [word.replace("@", str(folder)) for word in COMMANDS[command].split()]
    if command == "index":
        assert dying.run([*argv[:-1], "flat"], tmp_path)[0] == 0
    shutil.copytree(folder, tmp_path / "before")
    code, steps = dying.run(argv, tmp_path)
    assert code == 0, (tmp_path / "log").read_text()
    folder.rename(tmp_path / "undisturbed")
    shutil.copytree(tmp_path / "before", folder)
    before, undisturbed = contents(folder), contents(tmp_path / "undisturbed")
    assert undisturbed.keys() - before.keys()

    published = [number for number, step in enumerate(steps, 1) if step[0] == "os.rename"]
    last = published[-1] if published else len(steps)
    assert last >= 3
    for step in (last // 3, 2 * last // 3, last):
        assert dying.run(argv, tmp_path, step)[0] == -signal.SIGKILL
        for name, content in contents(folder).items():
            assert content in (before.get(name), undisturbed.get(name)), f"{name} after a kill at {steps[step - 1]}"
        if command == "index":
            assert_index_is_right(folder, capsys)
    assert dying.run(argv, tmp_path)[0] == 0, (tmp_path / "log").read_text()
    assert contents(folder) == undisturbed


def test_a_search_succeeds_while_its_index_is_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, read = str(folder / "out"), index_search.load
    build(out, "flat", "image_embedding")

    def replaced(uri: str, facts: IndexFacts) -> Any:
        if facts.kind == "flat":
            build(out, "ivf", "image_embedding")
        return read(uri, facts)

    monkeypatch.setattr(index_search, "load", replaced)
    assert_index_is_right(folder, capsys)
    assert not list(folder.rglob("*-flat.faiss"))
