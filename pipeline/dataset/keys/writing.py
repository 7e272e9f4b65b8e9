"""Writes a block of the index: keys into a local file first, so that memory stays bounded."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.footer import encode_footer
from pipeline.dataset.keys.block import FORMAT, KEYS, TIME
from pipeline.dataset.keys.facts import FACTS
from pipeline.dataset.keys.index import Covered

_GROUP_ROWS = 2**17


class KeyBlockWriter:
    """Gathers files with their keys and writes them as one block.

    Args:
        folder: a local folder for the keys.

    Attributes:
        rows: how many keys were added.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self._written, self._replaces = datetime.now(UTC).strftime(TIME), list[str]()
        self._facts: list[pa.Table] = []
        self._files = 0
        self._path = folder / f"{self._written}-{secrets.token_hex(8)}.keys.parquet"
        self._writer = pq.ParquetWriter(self._path, KEYS, compression="zstd", write_page_checksum=True)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def add_file(self, facts: pa.Table, keys: pa.Table) -> None:
        """Add one file: its row of `FACTS`, and the first three columns of `KEYS`."""
        number = pa.repeat(pa.scalar(self._files, pa.int32()), keys.num_rows)
        self._add_facts(facts)
        self._add(keys.append_column("file", number).cast(KEYS))

    def add_block(self, covered: Covered) -> None:
        """Add the wanted files of a block, which the new one replaces. Raises DamagedBlockError."""
        numbers = np.full(covered.block.facts.num_rows, -1, np.int32)
        numbers[covered.files] = np.arange(self._files, self._files + len(covered.files))
        self._add_facts(covered.block.facts.take(covered.files))
        self._replaces += [*map(storage.name, covered.block.uris), *covered.block.replaces]
        for table in covered.block.tables():
            new = numbers[table["file"].to_numpy()]
            at = KEYS.get_field_index("file")
            self._add(table.set_column(at, KEYS.field(at), pa.array(new)).filter(pa.array(new >= 0)))

    def finish(self, out: str, present: frozenset[str]) -> None:
        """Store the block in the dataset at `out`, if anything was added. Raises StorageError.

        Of the objects that it replaces, directly or as those it is merged from did, it names those that are `present`.
        """
        self._flush()
        self._writer.close()
        if not self._facts:
            return
        storage.upload(storage.join(out, layout.KEYS, self._path.name), self._path)
        self._path.unlink()
        about = {"format": FORMAT, "keys": self._path.name, "replaces": sorted(present.intersection(self._replaces))}
        sink = pa.BufferOutputStream()
        facts = pa.concat_tables(self._facts).cast(FACTS)
        pq.write_table(
            facts.replace_schema_metadata(encode_footer({"block": json.dumps(about)})), sink, compression="zstd"
        )
        content = sink.getvalue().to_pybytes()
        name = f"{self.rows}-{self._written}-{hashlib.sha256(content).hexdigest()[:32]}.files.parquet"
        storage.overwrite(storage.join(out, layout.KEYS, name), content)

    def _add_facts(self, facts: pa.Table) -> None:
        self._facts.append(facts)
        self._files += facts.num_rows

    def _add(self, keys: pa.Table) -> None:
        self.rows += keys.num_rows
        self._waiting.append(keys)
        self._waiting_rows += keys.num_rows
        if self._waiting_rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting_rows:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=_GROUP_ROWS)
        self._waiting, self._waiting_rows = [], 0
