"""The output dataset: one identity, one commit per shard, and readers that see only committed rows."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import MAKERS, joined_makers
from pipeline.dataset.identity import Identity, check_same
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.layout import EMBEDDINGS, data_files
from pipeline.dataset.parts import unrecorded
from pipeline.dataset.schema import QUARANTINE
from pipeline.dataset.shard_file import read_footer
from pipeline.errors import AlreadyExistsError, IdentityError, RunError
from pipeline.vocabulary import FORMAT_VERSION
from tests.fixtures.datasets import (
    DIM,
    PARTS,
    FakeModel,
    an_identity,
    commit,
    embedded_rows,
    provenance,
    quarantined_rows,
    some_records,
    without_footer_facts,
)

SHARD = f"{7:032x}"


def other_parts(**parts: object) -> dict[str, object]:
    return {"model_parts": {**PARTS, **parts}}


DAY = "2026-11-21"
NOTHING = QUARANTINE.empty_table()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.open_or_create(str(tmp_path / "out"), an_identity())


def test_an_identity_survives_a_json_round_trip() -> None:
    extra = pa.schema([pa.field("price", pa.decimal128(9, 2)), pa.field("tags", pa.list_(pa.string()))])
    identity = an_identity(extra=extra, embedding_dtype="float16", revision=None)
    assert Identity.from_json(identity.to_json(), "x") == identity


def test_the_identity_file_lists_the_columns_in_readable_form() -> None:
    stored = json.loads(an_identity(extra=pa.schema([pa.field("price", pa.int64())])).to_json())
    assert stored["extra"] == [["price", "int64"]]
    assert stored["hanclip_dataset"] == FORMAT_VERSION
    assert stored["weights_sha256"] == "1" * 64


def test_the_same_weights_under_another_name_are_the_same_identity() -> None:
    check_same(an_identity(), an_identity(model="/models/copy", revision=None, shard_rows=4096), "out")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weights_sha256": "2" * 64, "model_parts": None}, ["weights_sha256", "1" * 64, "2" * 64, "use the model"]),
        (other_parts(weights="4" * 64), ["weights: ", "3" * 64, "4" * 64, "use the model"]),
        (other_parts(adapter="5" * 64), ["adapter: ", "None", "5" * 64, "LoRA adapter"]),
        (other_parts(vocabulary="6" * 64), ["vocabulary: ", PARTS["vocabulary"], "6" * 64, "vocab.txt"]),
        (other_parts(tokenizer={"do_lower_case": False}), ["tokenizer: ", "do_lower_case", "tokenizer_config.json"]),
        (other_parts(context_length=128), ["context_length: ", "52", "128", "--context-length"]),
        (other_parts(configuration={"text_config.hidden_act": "relu"}), ["configuration: ", "relu", "config.json"]),
        ({"preprocessing": "crop"}, ["preprocessing", "squash-bicubic-8", "crop", "another OUT"]),
        ({"dim": 512}, ["dim", "8", "512"]),
        ({"has_texts": False}, ["has_texts", "True", "False", "another OUT"]),
        ({"extra": pa.schema([("price", pa.int64())])}, ["extra", "price", "--extra-column"]),
        ({"embedding_dtype": "float16"}, ["float32", "float16", "--embedding-dtype"]),
    ],
)
def test_a_different_identity_is_refused_with_both_values_and_the_cure(
    dataset: Dataset, change: dict[str, object], expected: list[str]
) -> None:
    with pytest.raises(IdentityError) as caught:
        Dataset.open_or_create(dataset.uri, an_identity(**change))
    assert all(word in str(caught.value) for word in expected)


def test_other_files_with_the_same_weights_are_the_same_model(dataset: Dataset) -> None:
    again = Dataset.open_or_create(dataset.uri, an_identity(weights_sha256="2" * 64))
    assert (again.identity.weights_sha256, again.identity.digest()) == ("1" * 64, dataset.identity.digest())


def test_a_dataset_of_the_first_preprocessing_is_continued_under_its_id(tmp_path: Path) -> None:
    first, now = (an_identity(preprocessing=f"squash-bicubic-8/white/{version}") for version in ("v1", "v2"))
    Dataset.open_or_create(str(tmp_path / "out"), first)
    again = Dataset.open_or_create(str(tmp_path / "out"), now)
    assert again.identity.digest() == first.digest()
    with pytest.raises(IdentityError, match=r"white/v2.*white/v1"):
        check_same(now, first, "out")


EARLIER = {"model_sha256": None, "model_parts": None}


def test_a_dataset_that_does_not_record_the_parts_keeps_its_shard_ids_and_records_them_at_the_next_run(
    tmp_path: Path,
) -> None:
    out = str(tmp_path / "out")
    earlier = Dataset.open_or_create(out, an_identity(**EARLIER))
    assert "model_parts" not in json.loads((tmp_path / "out" / "_dataset.json").read_text())
    assert not (tmp_path / "out" / "_model.json").exists()
    own = an_identity(**other_parts(vocabulary="6" * 64))
    recorded = Dataset.open_or_create(out, own)
    assert recorded.identity.digest() == earlier.identity.digest() == an_identity().digest()
    assert Dataset.open(out).identity.model_parts == own.model_parts
    for other in (an_identity(), an_identity(**other_parts(configuration={"text_config.hidden_act": "relu"}))):
        with pytest.raises(IdentityError, match="vocabulary"):
            Dataset.open_or_create(out, other)


@pytest.mark.parametrize("parts", [{"adapter": "5" * 64}, {"context_length": 128}, {"tokenizer": {"a": True}}])
def test_what_earlier_versions_never_did_is_known_of_their_datasets(parts: dict[str, object]) -> None:
    with pytest.raises(IdentityError, match=next(iter(parts))):
        check_same(an_identity(**EARLIER), an_identity(**other_parts(**parts)), "out")


def test_what_a_dataset_does_not_record_is_stated_unless_the_model_is_as_released() -> None:
    own = FakeModel(unusual=("vocabulary", "configuration"))
    (note,) = unrecorded(None, own.name, own.unusual)
    assert "before hanclip recorded the vocabulary and the configuration of its model" in note
    assert unrecorded(None, own.name, ()) == unrecorded(PARTS, own.name, own.unusual) == ()


def test_the_shard_rows_of_the_first_creator_are_kept(dataset: Dataset) -> None:
    assert Dataset.open_or_create(dataset.uri, an_identity(shard_rows=4096)).identity.shard_rows == 512


def test_concurrent_creators_agree(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda rows: Dataset.open_or_create(out, an_identity(shard_rows=rows)), [512, 1024, 2048, 4096])
    assert len({one.identity.shard_rows for one in made}) == 1


def test_a_folder_with_foreign_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / EMBEDDINGS).mkdir()
    (tmp_path / EMBEDDINGS / "part-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(IdentityError, match="choose another OUT"):
        Dataset.open_or_create(str(tmp_path), an_identity())


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"\xff", b'{"hanclip_dataset": 1, "extra_schema": "AA=="}'])
def test_a_damaged_identity_file_is_reported(dataset: Dataset, damage: bytes) -> None:
    Path(dataset.uri, "_dataset.json").write_bytes(damage)
    with pytest.raises(IdentityError, match=r"_dataset\.json is damaged"):
        Dataset.open(dataset.uri)


def test_a_newer_format_asks_for_an_upgrade(dataset: Dataset) -> None:
    file = Path(dataset.uri, "_dataset.json")
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "hanclip_dataset": FORMAT_VERSION + 1}))
    with pytest.raises(IdentityError, match="upgrade hanclip"):
        Dataset.open(dataset.uri)


def test_opening_a_missing_dataset_is_an_error(tmp_path: Path) -> None:
    assert Dataset.find(str(tmp_path)) is None
    with pytest.raises(IdentityError, match=r"no dataset at .* is missing\)\. Check OUT"):
        Dataset.open(str(tmp_path))


def test_a_mistyped_name_gets_that_of_the_dataset_beside_it(dataset: Dataset) -> None:
    Path(dataset.uri).with_name("photos").mkdir()
    named = Path(dataset.uri).name
    with pytest.raises(IdentityError, match=rf"Did you mean {named}\? Check OUT"):
        Dataset.open(f"{dataset.uri}t/")
    with pytest.raises(IdentityError, match=r"missing\)\. Check OUT"):
        Dataset.open(str(Path(dataset.uri).with_name("photo")))


def test_an_empty_dataset_reads_as_empty(dataset: Dataset) -> None:
    assert dataset.files() == []
    assert dataset.embeddings().to_table().num_rows == 0
    assert dataset.embeddings().schema.remove(dataset.embeddings().schema.get_field_index("run_date")) == (
        dataset.identity.schema
    )
    assert dataset.quarantine().count_rows() == 0


def test_rows_read_back_as_written(dataset: Dataset) -> None:
    records = some_records(300)
    shard_id = commit(dataset, 1, records)
    read = dataset.embeddings().to_table()
    written = embedded_rows(records, dataset.identity)
    assert read.drop(["run_date"]).cast(written.schema).equals(written)
    assert read["run_date"].unique().to_pylist() == [date(2026, 11, 21)]
    assert [file.shard_id for file in dataset.files()] == [shard_id]
    assert dataset.embeddings(["id"]).schema.names == ["id", "run_date"]


def test_a_file_has_the_exact_schema_and_its_origin_in_the_footer(dataset: Dataset) -> None:
    records = some_records(10)
    written = dataset.write_shard(
        SHARD, DAY, embedded_rows(records[:8], dataset.identity), quarantined_rows(records[8:]), provenance(10)
    )
    (file,) = dataset.files()
    assert pq.read_schema(file.uri).remove_metadata() == dataset.identity.schema
    footer = {
        k.decode(): v.decode() for k, v in pq.read_metadata(file.uri).metadata.items() if k.startswith(b"hanclip.")
    }
    assert footer.pop("hanclip.attempt") in dataset.quarantine_files()[0].uri
    assert footer.pop("hanclip.version")
    assert footer == {
        "hanclip.format_version": str(FORMAT_VERSION),
        "hanclip.model": "test/clip",
        "hanclip.revision": "abc",
        "hanclip.weights_sha256": "1" * 64,
        "hanclip.preprocessing": "squash-bicubic-8",
        "hanclip.logit_scale": "100.0",
        "hanclip.compute_dtype": "fp32",
        **{f"hanclip.{name}": "none" for name in MAKERS},
        "hanclip.run_id": "run-1",
        "hanclip.planned_by": "run-1",
        "hanclip.shard_id": SHARD,
        "hanclip.rows_planned": "10",
        "hanclip.rows_embedded": "8",
        "hanclip.rows_quarantined": "2",
    }
    assert written == sum(f.size_bytes for f in [file, *dataset.quarantine_files()])


def test_files_that_do_not_name_what_computed_them_are_read_and_continued(dataset: Dataset) -> None:
    newer = ("device", "instructions", "passes", "bits")
    commit(dataset, 1, some_records(3))
    without_footer_facts(dataset, *newer)
    commit(dataset, 2, some_records(3, 3))
    earlier, later = (read_footer(file) for file in dataset.files())
    assert {name: earlier.makers[name] for name in newer} == dict.fromkeys(newer, "unknown")
    assert joined_makers([earlier.makers, later.makers | {"passes": "varying"}])["passes"] == "unknown,varying"
    assert dataset.embeddings().count_rows() == 6
    audit = verify(dataset.uri)
    assert audit.notes == ()
    assert [problem for problem in audit.problems if ".parquet" in problem] == []


def test_vectors_are_stored_plain_and_other_columns_compressed(dataset: Dataset) -> None:
    commit(dataset, 1, some_records(100))
    group = pq.read_metadata(dataset.files()[0].uri).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    vector = columns["image_embedding.list.element"]
    assert (vector.compression, set(vector.encodings)) == ("UNCOMPRESSED", {"PLAIN", "RLE"})
    assert columns["text"].compression == "ZSTD"
    assert "RLE_DICTIONARY" not in columns["image_sha256"].encodings


def test_row_groups_have_about_sixteen_megabytes(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path), an_identity(dim=1024))
    records = some_records(4096)
    commit(dataset, 1, records)
    metadata = pq.read_metadata(dataset.files()[0].uri)
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    assert len(sizes) == 3
    assert max(sizes) < 20 * 2**20
    assert read_footer(dataset.files()[0]).rows == 4096


def test_a_footer_that_is_longer_than_the_tail_is_read_whole(tmp_path: Path) -> None:
    extra = pa.schema([(f"column_{number}", pa.string()) for number in range(80)])
    dataset = Dataset.open_or_create(str(tmp_path), an_identity(extra=extra))
    commit(dataset, 1, some_records(3))
    [file] = dataset.files()
    assert pq.read_metadata(file.uri).serialized_size > 16 * 2**10
    assert read_footer(file).schema == dataset.identity.schema


def test_similarity_is_computed_before_rounding_to_float16(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path), an_identity(embedding_dtype="float16"))
    records = some_records(50)
    commit(dataset, 1, records)
    read, exact = dataset.embeddings().to_table(), embedded_rows(records, an_identity())
    assert read.schema.field("image_embedding").type == pa.list_(pa.field("x", pa.float16(), nullable=False), DIM)
    assert read["similarity"].equals(exact["similarity"])
    stored = read["image_embedding"].combine_chunks().flatten().to_numpy()
    assert np.array_equal(stored, exact["image_embedding"].combine_chunks().flatten().to_numpy().astype(np.float16))


def test_a_shard_with_only_quarantined_records_is_committed(dataset: Dataset) -> None:
    records = some_records(3)
    dataset.write_shard(SHARD, DAY, dataset.identity.schema.empty_table(), quarantined_rows(records), provenance(3))
    assert [file.shard_id for file in dataset.files()] == [SHARD]
    assert dataset.embeddings().count_rows() == 0
    assert dataset.quarantine(["id", "reason"]).to_table().to_pylist() == [
        {"id": record.id, "reason": "timeout", "run_date": date(2026, 11, 21)} for record in records
    ]


def test_a_shard_with_missing_rows_is_refused_and_not_written(dataset: Dataset) -> None:
    with pytest.raises(RunError, match=r"4 embedded \+ 0 quarantined are not the 5"):
        dataset.write_shard(SHARD, DAY, embedded_rows(some_records(4), dataset.identity), NOTHING, provenance(5))
    assert dataset.files() == []


def test_a_missing_column_is_reported(dataset: Dataset) -> None:
    table = embedded_rows(some_records(4), dataset.identity).drop(["image_phash"])
    with pytest.raises(RunError, match="image_phash"):
        dataset.write_shard(SHARD, DAY, table, NOTHING, provenance(4))


def test_the_second_commit_of_a_shard_fails_and_leaves_no_files(dataset: Dataset) -> None:
    records = some_records(10)
    dataset.write_shard(SHARD, DAY, embedded_rows(records, dataset.identity), NOTHING, provenance(10))
    with pytest.raises(AlreadyExistsError):
        dataset.write_shard(
            SHARD, DAY, embedded_rows(records[1:], dataset.identity), quarantined_rows(records[:1]), provenance(10)
        )
    assert dataset.embeddings().count_rows() == 10
    assert dataset.quarantine().count_rows() == 0
    assert not list(Path(dataset.uri, "_quarantine").rglob("*.parquet"))


def test_exactly_one_concurrent_writer_wins_with_its_own_quarantine(dataset: Dataset) -> None:
    records = some_records(40)

    def write(failed: int) -> int | None:
        try:
            dataset.write_shard(
                SHARD,
                DAY,
                embedded_rows(records[failed:], dataset.identity),
                quarantined_rows(records[:failed]),
                provenance(40),
            )
        except AlreadyExistsError:
            return None
        return failed

    with ThreadPoolExecutor(4) as pool:
        winners = [failed for failed in pool.map(write, [3, 5, 7, 11]) if failed is not None]
    assert len(winners) == 1
    assert dataset.quarantine().count_rows() == winners[0]
    assert dataset.embeddings().count_rows() == 40 - winners[0]


def test_quarantine_without_a_commit_does_not_count(dataset: Dataset) -> None:
    records = some_records(10)
    orphan = storage.join(dataset.uri, "_quarantine", f"run_date={DAY}", f"{SHARD}-0badcafe.parquet")
    Path(orphan).parent.mkdir(parents=True)
    pq.write_table(quarantined_rows(records[:4]), orphan)
    assert dataset.quarantine().count_rows() == 0
    dataset.write_shard(
        SHARD, DAY, embedded_rows(records[1:], dataset.identity), quarantined_rows(records[:1]), provenance(10)
    )
    assert dataset.quarantine().count_rows() == 1


def test_foreign_files_are_not_committed_shards(dataset: Dataset) -> None:
    commit(dataset, 1, some_records(5))
    folder = Path(dataset.uri, EMBEDDINGS, "run_date=2026-11-21")
    (folder / "notes.txt").write_text("hello")
    (folder / "copy.parquet").write_bytes(b"PAR1")
    assert [file.shard_id for file in data_files(dataset.uri, EMBEDDINGS)] == [f"{1:032x}"]


def test_a_dataset_can_be_pickled(dataset: Dataset) -> None:
    assert pickle.loads(pickle.dumps(dataset)) == dataset


@pytest.mark.parametrize(
    ("version", "later"),
    [(1, {"image_blank_rows", "image_bytes"}), (2, {"image_bytes"})],
    ids=["version 1", "version 2"],
)
def test_a_dataset_of_an_earlier_version_is_continued_with_its_columns(
    tmp_path: Path, version: int, later: set[str]
) -> None:
    old = an_identity(format_version=version)
    dataset = Dataset.open_or_create(str(tmp_path / "out"), old)
    assert {*an_identity().schema.names} - {*old.schema.names} == later
    assert old.own_columns.absent - an_identity().own_columns.absent == later
    same = Dataset.open_or_create(dataset.uri, an_identity())  # what a run of this version asks for
    assert (same.identity, same.identity.digest()) == (old, old.digest())
    records = some_records(2)
    rows = embedded_rows(records, same.identity)
    same.write_shard(SHARD, DAY, rows, NOTHING, provenance(2))
    [file] = same.files()
    footer = pq.read_metadata(file.uri)
    assert footer.schema.to_arrow_schema().names == old.schema.names
    assert footer.metadata[b"hanclip.format_version"] == str(version).encode()
    assert [problem for problem in verify(dataset.uri).problems if "columns" in problem] == []
    assert latest(dataset.uri).read_all().num_rows == 2
