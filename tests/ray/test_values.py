"""Test vectors against a reference: a plain loop over transformers' own processor, tokenizer and model."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
import transformers
from PIL import Image

from actors import driver
from pipeline.config import parse
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import MAKERS
from pipeline.dataset.shard_file import read_footers
from pipeline.images.makers import pixel_makers
from tests.fixtures.checkpoints import write_checkpoint
from tests.fixtures.places import ROOT

CATALOG = ROOT / "demo" / "catalog"
DEMO_MODEL = ROOT / "demo" / "model"

pytestmark = pytest.mark.usefixtures("local_ray")


def embed(out: Path, model: Path, dtype: str, limit: int | None) -> pa.Table:
    """The catalog's embeddings as `hanclip embed` computes them."""
    config = {
        "source": {"uris": [str(CATALOG)], "limit": limit},
        "model": {"name": str(model), "dtype": dtype},
        "output": {"uri": str(out)},
        "cluster": {"embedders": 1},
    }
    summary = driver.run(parse(config))
    assert summary.exit_code == 0, summary
    return rows(out)


def rows(out: Path) -> pa.Table:
    """The embeddings of a dataset, by id."""
    return Dataset.open(str(out)).embeddings().to_table().sort_by("id")


def members(ids: set[str]) -> Iterator[tuple[str, bytes, str | None]]:
    """(id, image bytes, text) of the records in `ids`, read without hanclip."""
    for tar in sorted(CATALOG.glob("*.tar")):
        records: dict[str, dict[str, bytes]] = {}
        with tarfile.open(tar) as archive:
            for member in archive:
                key, _, suffix = member.name.partition(".")
                records.setdefault(key, {})[suffix] = archive.extractfile(member).read()  # type: ignore[union-attr]
        for key, parts in records.items():
            if key in ids:
                image = next(data for suffix, data in parts.items() if suffix not in ("txt", "json"))
                yield key, image, parts["txt"].decode() if "txt" in parts else None


def straighten_quotes(text: str) -> str:
    """Replace curly quotes, as the authors' evaluation does before tokenizing and transformers does not."""
    return text.replace("“", '"').replace("”", '"')


def reference(folder: Path, ids: list[str]) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]]:
    """Unit vectors of each record's image and text, in float32."""
    processor = transformers.ChineseCLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    model = transformers.ChineseCLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    found = sorted(members(set(ids)))
    vectors: dict[str, Any] = {}
    torch.set_num_threads(2)
    with torch.inference_mode():
        for start in range(0, len(found), 32):
            batch = found[start : start + 32]
            images = processor([Image.open(io.BytesIO(data)) for _, data, _ in batch], return_tensors="pt")
            texts = tokenizer(
                [straighten_quotes(text or "") for _, _, text in batch],
                padding="max_length",
                truncation=True,
                max_length=52,
                return_tensors="pt",
            )
            image_rows = torch.nn.functional.normalize(model.get_image_features(**images).pooler_output, dim=1)
            text_rows = torch.nn.functional.normalize(model.get_text_features(**texts).pooler_output, dim=1)
            for (key, _, text), image, text_row in zip(batch, image_rows.numpy(), text_rows.numpy(), strict=True):
                vectors[key] = (image, None if text is None else text_row)
    return vectors


def smallest_cosines(table: pa.Table, expected: dict[str, Any]) -> tuple[float, float]:
    """The smallest cosine of any row with the reference, for images and for texts."""
    images, texts = [], []
    for row in table.select(["id", "image_embedding", "text_embedding", "similarity"]).to_pylist():
        image, text = expected[row["id"]]
        images.append(float(np.dot(row["image_embedding"], image)))
        assert (row["text_embedding"] is None) == (text is None) == (row["similarity"] is None)
        if text is not None:
            texts.append(float(np.dot(row["text_embedding"], text)))
            assert row["similarity"] == pytest.approx(np.dot(row["image_embedding"], row["text_embedding"]), abs=1e-5)
    return min(images), min(texts)


def test_the_demo_catalog_matches_the_reference_in_fp32_and_closely_in_bf16(demo_dataset: Path, tmp_path: Path) -> None:
    rough = embed(tmp_path / "bf16", DEMO_MODEL, "bf16", 200)
    everything = rows(demo_dataset)
    assert everything.num_rows > 1500
    # Those of one listing, and every sixth of the whole catalog.
    chosen = {*rough["id"].to_pylist(), *everything["id"].to_pylist()[::6]}
    expected = reference(DEMO_MODEL, sorted(chosen))
    exact = everything.filter(pc.is_in(everything["id"], pa.array(chosen)))
    assert exact.num_rows == len(expected) == len(chosen) > 400
    assert min(smallest_cosines(exact, expected)) >= 0.99999
    assert rough.num_rows > 180
    assert min(smallest_cosines(rough, expected)) >= 0.999


def test_files_name_what_made_their_rows(demo_dataset: Path) -> None:
    [makers] = {tuple(footer.makers.items()) for footer in read_footers(Dataset.open(str(demo_dataset)).files())}
    assert tuple(name for name, _ in makers) == MAKERS
    assert pixel_makers().items() <= dict(makers).items()
    assert dict(makers)["torch"] == torch.__version__
    assert (dict(makers)["device"], dict(makers)["passes"], dict(makers)["bits"]) == ("cpu", "varying", "none")
    assert not {"none", "unknown"} & {value for name, value in makers if name != "bits"}
    assert verify(str(demo_dataset)).notes == ()


@pytest.mark.slow
def test_a_checkpoint_of_the_base_models_depth_matches_the_reference(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "vit-b-16", shape="vit-b-16-slim", weights="bin")
    exact = embed(tmp_path / "fp32", model, "fp32", 8)
    expected = reference(model, exact["id"].to_pylist())
    assert exact.num_rows == len(expected) == 8
    assert min(smallest_cosines(exact, expected)) >= 0.99999
