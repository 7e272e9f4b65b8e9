"""Lists the authors' files as records: images, texts, or pairs of both."""

from __future__ import annotations

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import EmptySourceError, SourceError
from pipeline.sources.chinese_clip import labelled
from pipeline.sources.chinese_clip.holdings import Split, choose_split, find_holdings
from pipeline.sources.chinese_clip.rows import SplitRows
from pipeline.sources.collector import RecordCollector
from pipeline.sources.contract import Sink, SourceSpec
from pipeline.sources.extra import choose_extra
from pipeline.storage import ReadPolicy

_STRING = pa.string()
_IDS_OF_PAIR = pa.schema([("text_id", _STRING), ("image_id", _STRING)])


def scan(config: SourceConfig, sink: Sink, out: str = "") -> SourceSpec:
    """List the records of one split.

    Raises:
        SourceError: there is nothing of the authors' layout, several splits, or nothing that `--records` asks for.
        StorageError: a file cannot be read.
    """
    holdings = find_holdings(config, out)
    if holdings.labelled:
        return labelled.scan(config, holdings.labelled, sink, out)
    split = choose_split(holdings.splits, config)
    found = SplitRows(split, ReadPolicy.of(config))
    kind = _kind(split, config)
    collector = RecordCollector(sink, config.limit)
    for row in {"images": found.images, "texts": found.texts, "pairs": found.pairs}[kind]():
        collector.add(*row)
        if collector.full:
            break
    collector.flush()
    if not collector.rows:
        raise EmptySourceError(
            f"The split {split.name} of {', '.join(config.uris)} holds no {kind}. Correct --split or --records."
        )
    known = {"images": pa.schema([]), "texts": _columns_of_texts(split), "pairs": _IDS_OF_PAIR}[kind]
    extra, texts = choose_extra(known, config).schema, None if kind == "images" else collector.rows
    notes, skipped = ((), ()) if collector.full else (tuple(found.notes), found.skipped.skipped())
    shape = (kind != "texts", kind != "images")
    rows = collector.rows
    return SourceSpec("chinese-clip", config, *shape, extra, rows, notes=notes, texts=texts, skipped=skipped)


def _kind(split: Split, config: SourceConfig) -> str:
    """What a record is: what `--records` asks for, else images, else texts."""
    images, texts = split.images or split.lmdb_images, split.texts or split.lmdb_pairs
    both = (split.images and split.texts) or (split.lmdb_images and split.lmdb_pairs)
    held = {"images": images, "texts": texts, "pairs": both}
    kind = ("images" if images else "texts") if config.records == "auto" else config.records
    if not held[kind]:
        raise SourceError(
            f"The split {split.name} of {', '.join(config.uris)} has no {kind}: it needs {_NEEDED[kind]}. "
            "Give the folder that holds them, or choose other --records."
        )
    return kind


_NEEDED = {
    "images": "*_imgs.tsv or an LMDB folder imgs",
    "texts": "*_texts.jsonl or an LMDB folder pairs",
    "pairs": "*_imgs.tsv and *_texts.jsonl, or the LMDB folders imgs and pairs",
}


def _columns_of_texts(split: Split) -> pa.Schema:
    return pa.schema([("image_ids", _STRING)] if split.texts else [])
