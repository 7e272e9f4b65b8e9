"""Run the commands of docs/clean.md as printed: a folder of pictures in, tars of the kept ones out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tests.fixtures.places import ROOT


def page_commands() -> list[str]:
    page = (ROOT / "docs" / "clean.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Part of the demo catalog as image files with captions, including copies and wrong captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with tarfile.open(ROOT / "demo" / "catalog" / "emoji-0003.tar") as tar:
        for member in tar:
            if not member.name.endswith(".json"):
                tar.extract(member, folder, filter="data")
    shutil.copy(min(folder.glob("*.png")), folder / "one-more.png")
    shutil.copy(min(folder.glob("*.png")), tmp_path / "photo.jpg")
    return folder


@pytest.mark.usefixtures("local_ray")
def test_cleans_a_folder_into_tars(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    commands = page_commands()
    assert [line.split()[1] for line in commands[:5]] == ["embed", "dedup", "similarity", "report", "filter"]
    for line in commands:
        argv = shlex.split(line.replace("--model vit-b-16", "--model demo"), comments=True)[1:]
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert not ended.value.code, line

    rows = pq.read_table("out/embeddings", columns=["id"]).num_rows
    kept, dropped = (pq.read_table(f"out/filter/default/{name}.parquet") for name in ("kept", "dropped"))
    assert kept.num_rows + dropped.num_rows == rows > 300
    assert 0.5 < kept.num_rows / rows < 1
    written = set()
    for path in Path("tars").glob("*.tar"):
        with tarfile.open(path) as tar:
            metadata = [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]  # type: ignore[arg-type]
            written |= {one["hanclip"]["id"] for one in metadata}
    assert written == set(kept["id"].to_pylist())
    copy = min(path.name for path in Path("photos").glob("*.png"))
    assert len(written & {copy, "one-more.png"}) <= 1
    for page in ("report.html", "found.html"):
        assert "data:image/" in Path(page).read_text(encoding="utf-8")
