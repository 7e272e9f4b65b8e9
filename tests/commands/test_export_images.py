"""Test exports with the original images: tars and folders that Hugging Face `datasets` loads, by the bytes in them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from tests.fixtures.commands import Run
from tests.fixtures.embedded_sources import Source, embed
from tests.fixtures.sources import put


def picture(number: int) -> bytes:
    """A picture of its own; every third one is a PNG."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(data, "JPEG" if number % 3 else "PNG")
    return data.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    names = {f"{number:02d}.{'jpg' if number % 3 else 'png'}": picture(number) for number in range(8)}
    put(tmp_path / "source", {**names, **{f"{name[:2]}.txt": "标题" for name in names}})
    return Source(tmp_path / "source", names)


def without_texts(table: pa.Table) -> pa.Table:
    """Every second row has no text."""
    bare = pc.equal(pc.bit_wise_and(pa.array(range(table.num_rows)), 1), 0)
    at = table.column_names.index("text")
    return table.set_column(at, "text", pc.if_else(bare, None, table["text"].combine_chunks()))


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets")


@pytest.mark.parametrize("command", ["filter", "export"])
def test_tars_of_one_image_name_are_loaded(source: Source, tmp_path: Path, hanclip: Run, datasets: Any, command: str):
    embed(source, tmp_path / "out", without_texts)
    kind = ["--as", "tars", "--where", "true"] if command == "filter" else ["--to", "webdataset"]

    def write(dest: str, *options: str) -> Any:
        result = hanclip(command, tmp_path / "out", tmp_path / dest, *kind, *options)
        files = str(tmp_path / dest / "000000.tar")
        loaded = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
        return result, loaded.cast_column("jpg", datasets.Image(decode=False)) if options else loaded

    result, loaded = write("uniform", "--image-name", "jpg")
    rows = list(loaded)
    assert {row["json"]["hanclip"]["id"]: row["jpg"]["bytes"] for row in rows} == source.images
    assert sorted(row["txt"] != "" for row in rows) == [False] * 4 + [True] * 4
    assert "--image-name" not in json.dumps(result)
    with pytest.raises(ValueError, match="same types"):
        write("mixed")
    again = hanclip(command, tmp_path / "out", tmp_path / "mixed", *kind)
    kinds = {"jpg json", "jpg json txt", "json png", "json png txt"}
    assert set(again["written"]["mixed"]) == kinds if command == "filter" else "--image-name jpg" in again["next"]


def test_a_folder_for_datasets_has_the_images(source: Source, tmp_path: Path, hanclip: Run, datasets: Any) -> None:
    embed(source, tmp_path / "out")
    gone, *kept = sorted(source.images)
    (source.uri / gone).unlink()
    dest = tmp_path / "folder"
    result = hanclip("export", tmp_path / "out", dest, "--to", "hf", "--images", "--rows-per-file", 5)
    assert (result["rows"], result["missing_images"]) == (8, 1)
    loaded = datasets.load_dataset(str(dest), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    images = loaded.cast_column("image", datasets.Image(decode=False))
    found = {row["id"]: row["image"] for row in images}
    assert {id_: image["bytes"] for id_, image in found.items() if image} == {id_: source.images[id_] for id_ in kept}
    assert found[gone] is None
    assert {row["id"]: row["image"].size for row in loaded if row["id"] != gone} == dict.fromkeys(kept, (8, 8))
