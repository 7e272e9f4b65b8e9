"""Parquet files of unusual kinds: encrypted, without rows or columns, with types that Arrow handles in part."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from pipeline.errors import SourceError
from tests.fixtures.sources import read, scan
from tests.fixtures.tables import as_parquet

TABLE = pa.table({"id": ["a", "b"], "text": ["一", "二"]})


class Keys(pe.KmsClient):
    """Keeps keys in the clear."""

    def __init__(self, config: pe.KmsConnectionConfig) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize(("plaintext", "message"), [(True, "has encrypted columns"), (False, "is encrypted")])
def test_encrypted_files_are_named(tmp_path: Path, plaintext: bool, message: str) -> None:
    how = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": ["text"]}, plaintext_footer=plaintext)
    keys = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), how)
    with pq.ParquetWriter(tmp_path / "a.parquet", TABLE.schema, encryption_properties=keys) as writer:
        writer.write_table(TABLE)
    with pytest.raises(SourceError, match=message):
        scan(tmp_path / "a.parquet")


def test_empty_row_groups_are_passed_over(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "a.parquet", TABLE.schema) as writer:
        for part in (TABLE.slice(0, 0), TABLE, TABLE.slice(0, 0)):
            writer.write_table(part)
    assert [raw.text for raw in read(*scan(tmp_path / "a.parquet")).values()] == ["一", "二"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({}), "have no rows"),
        (TABLE.slice(0, 0), "have no rows"),
        (pa.Table.from_arrays([TABLE["text"]] * 3, names=["text", "x", "x"]), "several columns called x"),
    ],
)
def test_files_without_rows_or_with_equal_names_are_refused(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=message):
        scan(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "texts",
    [
        TABLE["text"].combine_chunks().dictionary_encode(),
        TABLE["text"].cast(pa.large_string()),
        TABLE["text"].cast(pa.string_view()),
        pa.array([["一", "x"], ["二", "y"]], pa.large_list(pa.string())),
        pa.array([["一", "x"], ["二", "y"]], pa.list_(pa.string(), 2)),
        pa.array([["一", "x"], ["二"]], pa.list_view(pa.string())),
    ],
)
def test_texts_of_every_kind_are_read(tmp_path: Path, texts: Any) -> None:
    path = as_parquet({"id": ["a", "b"], "text": texts}, tmp_path / "a.parquet")
    assert [raw.text for raw in read(*scan(path)).values()] == ["一", "二"]
