"""The Chinese-CLIP authors' files as a source: `*_imgs.tsv`, `*_texts.jsonl`, LMDB folders, `label_cn.txt` folders.

`holdings` finds which of them an address holds, `scan` lists their records, `reader` reads them; the other modules
handle one file format each.
"""

from pipeline.sources.chinese_clip import reader, scan
from pipeline.sources.chinese_clip.holdings import is_chinese_clip
from pipeline.sources.contract import SourceFormat

FORMAT = SourceFormat(
    name="chinese-clip",
    plural="Chinese-CLIP data",
    suffixes=(),
    shared=(".tsv", ".jsonl"),
    recognises=is_chinese_clip,
    options=("split", "records"),
    scan=scan.scan,
    reader=reader.ChineseClipReader,
)
