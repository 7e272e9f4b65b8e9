"""The Chinese-CLIP authors' files as a source: `*_imgs.tsv`, `*_texts.jsonl`, LMDB folders, `label_cn.txt` folders.

`holdings` says what lies at an address, `scan` lists it, `reader` reads it; one module a file format does the rest.
"""
