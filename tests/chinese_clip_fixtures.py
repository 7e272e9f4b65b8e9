"""Data sets in the layout of the Chinese-CLIP authors, as their scripts write them."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb

Text = tuple[Any, str, list[Any]]


def write_images(folder: Path, split: str, images: Mapping[Any, bytes], urlsafe: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    path = folder / f"{split}_imgs.tsv"
    path.write_text("".join(f"{key}\t{encode(data).decode()}\n" for key, data in images.items()))
    return path


def write_texts(folder: Path, split: str, texts: Sequence[Text], keys: Sequence[str] = ()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = keys or ("text_id", "text", "image_ids")
    lines = [json.dumps(dict(zip(names, text, strict=True)), ensure_ascii=False) for text in texts]
    path = folder / f"{split}_{'queries' if keys else 'texts'}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_lmdb(folder: Path, images: Mapping[int, bytes], texts: Sequence[Text], protocol: int = 4) -> Path:
    """`imgs` and `pairs` below `folder`, which is `lmdb/{split}`."""
    values = {str(key).encode(): base64.urlsafe_b64encode(data) for key, data in images.items()}
    pairs = [(image_id, text_id, text) for text_id, text, image_ids in texts for image_id in image_ids]
    dumped = {str(at).encode(): pickle.dumps(pair, protocol) for at, pair in enumerate(pairs)}
    write_entries(folder / "imgs", {**values, b"num_images": str(len(values)).encode()})
    write_entries(folder / "pairs", {**dumped, b"num_samples": str(len(dumped)).encode()})
    return folder


def write_entries(folder: Path, entries: Mapping[bytes, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=2**40) as env, env.begin(write=True) as txn:
        for key, value in entries.items():
            txn.put(key, value)
    return folder
