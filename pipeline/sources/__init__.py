"""Where records come from: folders, tars, tables, the Chinese-CLIP authors' files. `base` has the contract."""

from __future__ import annotations

from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.sources.base import PlacedReader, RecordReader, Sink, SourceSpec, is_sequential

__all__ = ["RecordReader", "Sink", "SourceSpec", "is_sequential", "reader", "scan"]


def scan(config: SourceConfig, sink: Sink, out: str = "") -> SourceSpec:
    """List the whole source: batches of `schema.RECORDS`, at most 8,192 rows each, go to `sink`.

    Args:
        config: the source.
        sink: takes the batches.
        out: the output folder; what lies below it is no part of any source.

    Raises:
        SourceError: the source cannot be planned as a whole.
        StorageError: listing or reading it failed.
    """
    from pipeline.sources import folder
    from pipeline.sources.chinese_clip import scan as chinese_clip
    from pipeline.sources.detect import detect
    from pipeline.sources.table import scan as table
    from pipeline.sources.webdataset import scan as webdataset

    scans = {
        "folder": folder.scan,
        "webdataset": webdataset.scan,
        "table": table.scan,
        "chinese-clip": chinese_clip.scan,
    }
    kind = detect(config, out)
    if kind != "chinese-clip" and (config.split or config.records != "auto"):
        raise SourceError(
            f"--split and --records are for Chinese-CLIP data, and {', '.join(config.uris)} was taken for a {kind} "
            "source. Leave them out, or read it with --format chinese-clip."
        )
    return scans[kind](config, sink, out)


def reader(spec: SourceSpec) -> RecordReader:
    """A reader of the scanned source's records. Close it when done."""
    return PlacedReader(_reader(spec))


def _reader(spec: SourceSpec) -> RecordReader:
    if spec.kind == "folder":
        from pipeline.sources.folder import FolderReader

        return FolderReader(spec)
    if spec.kind == "webdataset":
        from pipeline.sources.webdataset.reader import WebDatasetReader

        return WebDatasetReader(spec)
    if spec.kind == "chinese-clip":
        from pipeline.sources.chinese_clip.reader import ChineseClipReader

        return ChineseClipReader(spec)
    from pipeline.sources.table.reader import TableReader

    return TableReader(spec)
