"""The decoder without Ray: the rows it returns, and which read failures fail a record or the whole chunk."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.decoder import Decoder
from pipeline.config import ImageConfig, OutputConfig, RunConfig, SourceConfig
from pipeline.credentials.headers import HeaderVariables
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import decode_footer
from pipeline.dataset.schema import OwnColumns
from pipeline.errors import ConfigError, IdentityError, RunError, UnavailableError
from pipeline.images.makers import pixel_makers
from pipeline.plan.make import dry_plan
from pipeline.records import RawRecord, Record, Shard
from pipeline.sources import SourceSpec
from tests.fixtures.datasets import FakeModel
from tests.fixtures.sources import put, scan
from tests.fixtures.tables import as_parquet

COLUMNS = OwnColumns(True, True).decoded


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, 2 * shade, 90)).save(file, "PNG")
    return file.getvalue()


class FakeReader:
    """Serves records from memory; a read fails if all its ids are in `down`."""

    def __init__(self, contents: dict[str, RawRecord], down: frozenset[str] = frozenset()) -> None:
        self.contents, self.down = contents, down

    def read(self, records: Sequence[Record]) -> list[RawRecord]:
        if all(record.id in self.down for record in records):
            raise UnavailableError("the store does not answer", "s3://bucket")
        return [self.contents[record.id] for record in records]

    def close(self) -> None:
        pass


class MemoryDecoder(Decoder):
    """A decoder whose shard is a list of raw records."""

    def __init__(
        self,
        raw: list[RawRecord],
        has_images: bool = True,
        down: frozenset[str] = frozenset(),
        limits: ImageConfig | None = None,
        max_text_chars: int = 1000,
    ) -> None:
        config = SourceConfig(max_text_chars=max_text_chars)
        spec = SourceSpec("folder", config, has_images, True, pa.schema([]), len(raw))
        super().__init__(spec, limits or ImageConfig(), 16, OwnColumns(has_images, True).decoded)
        self._reader = FakeReader({one.record.id: one for one in raw}, down)
        self._records = lambda shard: [one.record for one in raw]  # type: ignore[assignment]


def raw(name: str, image: bytes | None, text: str | None) -> RawRecord:
    return RawRecord(Record(name, f"/{name}", None, None, None, None, "f"), image, text)


def shard(rows: int, attempts: int = 0) -> Shard:
    return Shard("s", rows, 0, "", 0, attempts=attempts)


def test_rows_and_pixels_keep_their_order_and_bad_records_are_quarantined() -> None:
    records = [raw("a", png(1), "一"), raw("b", b"no image", "二"), raw("c", png(3), None), raw("d", png(4), " \n")]
    batch, stats = MemoryDecoder(records).decode(shard(4), 0, 4)
    assert batch.rows["id"].to_pylist() == ["a", "c"]
    assert batch.rows["text"].to_pylist() == ["一", None]
    assert batch.pixels is not None
    assert batch.pixels.shape == (2, 16, 16, 3)
    assert batch.pixels[:, 0, 0].tolist() == [[1, 2, 90], [3, 6, 90]]
    assert batch.rows["image_blank_rows"].to_pylist() == [1, 1]
    assert batch.rows["image_bytes"].to_pylist() == [len(png(1)), len(png(3))]
    assert batch.quarantine.select(["id", "stage", "reason", "attempts"]).to_pylist() == [
        {"id": "b", "stage": "decode", "reason": "not_an_image", "attempts": 1},
        {"id": "d", "stage": "text", "reason": "empty_text", "attempts": 1},
    ]
    assert stats.bytes_read == len(png(1)) + len(b"no image") + len(png(3)) + len(png(4))


def test_images_without_their_end_are_embedded_on_demand_and_counted() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 30, 90)).save(file, "JPEG")
    records = [raw("a", file.getvalue(), "一"), raw("b", file.getvalue()[:-2], "二")]
    batch, _ = MemoryDecoder(records).decode(shard(2), 0, 2)
    assert (batch.quarantine["reason"].to_pylist(), batch.truncated) == (["truncated"], 0)
    batch, _ = MemoryDecoder(records, limits=ImageConfig(accept_truncated=True)).decode(shard(2), 0, 2)
    assert (batch.rows["id"].to_pylist(), batch.truncated) == (["a", "b"], 1)
    assert batch.pixels is not None
    assert (batch.pixels[0] == batch.pixels[1]).all()


def test_a_record_without_image_and_text_is_quarantined() -> None:
    batch, _ = MemoryDecoder([raw("a", None, "一"), raw("b", None, None)], has_images=False).decode(shard(2), 0, 2)
    assert batch.pixels is None
    assert batch.rows["id"].to_pylist() == ["a"]
    assert batch.quarantine["reason"].to_pylist() == ["empty_text"]


def test_what_a_record_makes_its_reader_or_decoder_raise_fails_it_alone() -> None:
    class Fragile(FakeReader):
        def read(self, records: Sequence[Record]) -> list[RawRecord]:
            if any(record.id == "b" for record in records):
                raise RecursionError("too deep")
            return super().read(records)

    records = [raw("a", png(), "一"), raw("b", png(), "二"), raw("c", [7], "三"), raw("d", png(), "x\udcff")]  # type: ignore[arg-type]
    decoder = MemoryDecoder(records)
    decoder._reader = Fragile(decoder._reader.contents)
    batch = decoder.decode(shard(4), 0, 4)[0]
    assert batch.rows["id"].to_pylist() == ["a"]
    assert batch.quarantine.select(["id", "stage", "reason"]).to_pylist() == [
        {"id": "b", "stage": "read", "reason": "unreadable"},
        {"id": "c", "stage": "decode", "reason": "unreadable"},
        {"id": "d", "stage": "text", "reason": "bad_text"},
    ]


def test_carried_columns_stay_arrow(tmp_path: Path) -> None:
    text = {"id": ["a", "b", "c"], "text": ["一", " ", "三"]}
    odd = pa.table({
        "far": pa.array([2**60, None, 1], pa.timestamp("ms")), "fine": pa.array([1, None, 3], pa.timestamp("ns")),
        "exact": pa.array([Decimal("1.50"), None, None]), "kind": pa.array(["x", "x", "y"]).dictionary_encode(),
        "view": pa.array(["v", None, "w"], pa.string_view()), "huge": pa.array(["h", "i", "j"], pa.large_string()),
        "hash": pa.array([b"12", b"34", None], pa.binary(2)), "uuid": pa.array([b"0" * 16] * 3, pa.uuid()),
        "nested": [{"a": [{"t": time(1)}]}, None, {"a": None}], "map": pa.array([[(1, "x")], [], None],
        pa.map_(pa.int64(), pa.string())), "half": pa.array([1.5, None, 2], pa.float16()), "none": pa.nulls(3),
    })  # fmt: skip
    pq.write_table(pa.table({**text, **dict(zip(odd.column_names, odd.columns, strict=True))}), tmp_path / "a.parquet")
    spec, records = scan(tmp_path / "a.parquet")
    decoder = Decoder(spec, ImageConfig(), 16, OwnColumns(False, True).decoded)
    decoder.setup()
    decoder._records = lambda shard: records  # type: ignore[assignment]
    rows = decoder.decode(shard(3), 0, 3)[0].rows
    assert rows["id"].to_pylist() == ["a", "c"]
    want = [
        odd[name].take([0, 2]) if "view" not in name else pa.chunked_array([["v", "w"]]) for name in odd.column_names
    ]
    for name, column in zip(odd.column_names, want, strict=True):
        assert rows[name].cast(column.type).equals(column), name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\u200b\ufeff", "empty_text"),
        ("\u3000\t\u2060", "empty_text"),
        ("\ufe0f\u0301", "empty_text"),
        ("红\ud83d", "bad_text"),
        ("红" * 11, "too_large"),
        ("红" * 10, None),
        ("\u200b☺", None),
        ("😀", None),
    ],
)
def test_a_text_that_says_nothing_or_cannot_be_stored_is_quarantined(text: str, reason: str | None) -> None:
    batch, _ = MemoryDecoder([raw("a", None, text)], False, max_text_chars=10).decode(shard(1), 0, 1)
    assert batch.quarantine["reason"].to_pylist() == ([reason] if reason else [])
    assert batch.rows["text"].to_pylist() == ([] if reason else [text])
    if reason == "too_large":
        assert "11 characters, more than 10" in batch.quarantine["detail"][0].as_py()


def test_an_unavailable_store_fails_the_whole_chunk() -> None:
    records = [raw(name, png(), None) for name in "abcd"]
    decoder = MemoryDecoder(records, down=frozenset("abcd"))
    with pytest.raises(UnavailableError):
        decoder.decode(shard(4), 2, 4)


@pytest.mark.parametrize(("start", "stop"), [(2, 4), (0, 2)])
def test_unavailable_records_are_quarantined_while_others_can_be_read(start: int, stop: int) -> None:
    records = [raw(name, png(), None) for name in "abcd"]
    down = frozenset(one.record.id for one in records[start:stop])
    batch, _ = MemoryDecoder(records, down=down).decode(shard(4), start, stop)
    assert batch.rows.num_rows == 0
    assert batch.quarantine["id"].to_pylist() == sorted(down)
    assert set(batch.quarantine["reason"].to_pylist()) == {"unavailable"}


def test_a_failed_retry_increments_the_attempts() -> None:
    records = [raw(name, png(), None) for name in "ab"]
    batch, _ = MemoryDecoder(records, down=frozenset("ab")).decode(shard(2, attempts=1), 0, 2)
    assert batch.quarantine["attempts"].to_pylist() == [2, 2]


def test_a_decoder_gets_the_variables_of_headers_from_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"c.csv": "id,url\n1,http://h/a.jpg\n"})
    monkeypatch.setenv("HEADER_TOKEN", "s3cret")
    spec, _ = scan(tmp_path / "c.csv", http_headers=("Authorization: env:HEADER_TOKEN",))
    variables = HeaderVariables.of(spec.config.http_headers)
    monkeypatch.delenv("HEADER_TOKEN")
    with pytest.raises(ConfigError, match="HEADER_TOKEN"):
        Decoder(spec, ImageConfig(), 16, COLUMNS).setup()
    Decoder(spec, ImageConfig(), 16, COLUMNS, variables).setup()
    monkeypatch.delenv("HEADER_TOKEN")


def test_batches_name_what_made_their_pixels_and_machines_with_other_pixels_are_refused() -> None:
    pictures, texts = MemoryDecoder([raw("a", png(1), "一")]), MemoryDecoder([raw("a", None, "一")], has_images=False)
    made = [decode_footer(one.decode(shard(1), 0, 1)[0].rows.schema.metadata) for one in (pictures, texts)]
    assert made == [pixel_makers(), dict.fromkeys(pixel_makers(), "none")]
    older = pixel_makers() | {"pillow": "11.0.0"}
    spec = SourceSpec("folder", SourceConfig(), True, True, pa.schema([]), 1)
    with pytest.raises(RunError, match=r"other pixels .*11\.0\.0"):
        Decoder(spec, ImageConfig(), 16, COLUMNS, driver=older).setup()


def test_an_earlier_dataset_keeps_its_sources_column_of_a_name_that_hanclip_uses_now(tmp_path: Path) -> None:
    rows = {"id": ["a"], "image": [png(1)], "text": ["一"], "image_bytes": ["many"]}
    config = RunConfig(
        source=SourceConfig(uris=(str(as_parquet(rows, tmp_path / "c.parquet")),)),
        output=OutputConfig(uri=str(tmp_path / "out")),
    )
    new = dry_plan(config, FakeModel(), 1)
    assert new.source.extra.names == ["source_image_bytes"]
    extra = pa.schema([("image_bytes", pa.string())])
    Dataset.open_or_create(str(tmp_path / "out"), replace(new.dataset.identity, format_version=2, extra=extra))
    old = dry_plan(config, FakeModel(), 1)
    for plan, name, found in ((new, "source_image_bytes", len(png(1))), (old, "image_bytes", "many")):
        decoder = Decoder(plan.source, ImageConfig(), 16, plan.dataset.identity.own_columns.decoded)
        decoder.setup()
        _, records = scan(tmp_path / "c.parquet")
        decoder._records = lambda shard, records=records: records  # type: ignore[assignment,misc]
        [row] = decoder.decode(shard(1), 0, 1)[0].rows.to_pylist()
        assert (row[name], row["image_bytes"]) == ("many", found)


def test_signals_are_measured_where_the_dataset_has_them(tmp_path: Path) -> None:
    def config(*signals: str, **source: object) -> RunConfig:
        return RunConfig(
            source=SourceConfig(uris=(str(tmp_path / "c.parquet"),), **source),  # type: ignore[arg-type]
            image=ImageConfig(signals=signals or None),
            output=OutputConfig(uri=str(tmp_path / "out")),
        )

    rows = {"id": ["a"], "image": [png(1)], "text": ["一"], "image_dark": ["no"], "image_border": ["none"]}
    as_parquet(rows, tmp_path / "c.parquet")
    plain = dry_plan(config(), FakeModel(), 1)
    wanted = dry_plan(config("border,dark"), FakeModel(), 1)
    assert plain.source.extra.names == ["image_dark", "image_border"]
    assert wanted.source.extra.names == ["source_image_dark", "source_image_border"]
    assert plain.dataset.identity.digest() != wanted.dataset.identity.digest()
    for plan in (plain, wanted):
        decoder = Decoder(plan.source, ImageConfig(), 16, plan.dataset.identity.own_columns.decoded)
        decoder.setup()
        _, records = scan(tmp_path / "c.parquet")
        decoder._records = lambda shard, records=records: records  # type: ignore[assignment,misc]
        found = decoder.decode(shard(1), 0, 1)[0].rows.to_pylist()[0]
        expected = ("no", "none") if plan is plain else (1.0, 1.0)
        assert (found["image_dark"], found["image_border"]) == expected
        assert "image_entropy" not in found

    assert Dataset.open_or_create(str(tmp_path / "out"), wanted.dataset.identity).identity.signals == ("dark", "border")
    assert dry_plan(config(), FakeModel(), 1).dataset.identity.signals == ("dark", "border")  # a run continues them
    assert dry_plan(config("dark", "border"), FakeModel(), 1).rows == 1
    with pytest.raises(IdentityError, match=r"signals: the dataset has .'dark', 'border'., .*leave out --signals"):
        dry_plan(config("all"), FakeModel(), 1)
    with pytest.raises(ConfigError, match="--signals measures images"):
        dry_plan(config("dark", drop_columns=("image",), id_column="id"), FakeModel(), 1)
