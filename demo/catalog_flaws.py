"""Add known flaws to a clean catalog.

In: clean records. Out: the records, some of them copied, altered or broken, and the list of all flaws. No
record has two flaws, so that a test can predict the outcome of each.
"""

import hashlib
import random
from collections import defaultdict
from dataclasses import dataclass, replace

from picture_formats import NEAR_COPIES

Flaws = dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class Record:
    """One catalog entry; without a .txt member if `text` is None."""

    key: str
    suffix: str
    image: bytes
    text: str | None
    vendor: str
    group: str
    codepoints: str


def with_flaws(clean: list[Record], rng: random.Random) -> tuple[list[Record], Flaws]:
    """The records with disjoint samples copied, altered or broken, and the keys of each flaw."""
    twemoji = [record for record in clean if record.vendor == "twemoji"]
    others = [record for record in clean if record.vendor != "twemoji"]
    pool = iter(rng.sample(twemoji, len(twemoji)))

    def take(count: int) -> list[Record]:
        return [next(pool) for _ in range(count)]

    copies = [(replace(r, key=f"{r.key}-copy"), r) for r in take(40)]
    near = [(_near_copy(r, index), r) for index, r in enumerate(take(40))]
    broken = rng.sample(others, 5)
    truncated = [replace(r, key=f"{r.key}-cut", image=r.image[: len(r.image) // 2]) for r in broken[:3]]
    fake = [replace(r, key=f"{r.key}-page", suffix="jpg", image=_error_page(r.key)) for r in broken[3:]]
    swapped = take(60)
    wrong = [replace(r, text=other.text) for r, other in zip(swapped, swapped[1:] + swapped[:1], strict=True)]
    empty = [replace(r, text="" if index % 2 else " \n") for index, r in enumerate(take(12))]
    missing = [replace(r, text=None) for r in take(8)]
    flaws = {
        "exact_duplicates": [_entry(r, original=original.key) for r, original in copies],
        "near_duplicates": [_entry(r, original=o.key, how=r.key.removeprefix(f"{o.key}-")) for r, o in near],
        "wrong_captions": [_swap_entry(right, given) for right, given in zip(swapped, wrong, strict=True)],
        "empty_captions": [_entry(r) for r in empty],
        "missing_captions": [_entry(r) for r in missing],
        "truncated_images": [_entry(r) for r in truncated],
        "not_images": [_entry(r) for r in fake],
        "cross_vendor": [_entry(r, original=f"twemoji-{r.codepoints}") for r in others],
    }
    altered = {record.key: record for record in [*wrong, *empty, *missing]}
    added = [r for r, _ in [*copies, *near]] + truncated + fake
    return [altered.get(record.key, record) for record in clean] + added, flaws


def _error_page(key: str) -> bytes:
    """The body of a 404 response, saved as if it were an image."""
    return f"<html><body>404 找不到图片 {key}</body></html>\n".encode()


def _near_copy(record: Record, index: int) -> Record:
    how, suffix, encode = NEAR_COPIES[index % len(NEAR_COPIES)]
    return replace(record, key=f"{record.key}-{how}", suffix=suffix, image=encode(record.image))


def _entry(record: Record, **details: str) -> dict[str, str]:
    return {"key": record.key, **details}


def _swap_entry(right: Record, given: Record) -> dict[str, str]:
    return _entry(given, given=given.text or "", right=right.text or "")


def same_bytes(records: list[Record]) -> list[dict[str, str]]:
    """Records with the same image bytes as an earlier key: copies, and repetitions in a vendor's set."""
    groups: dict[str, list[str]] = defaultdict(list)
    for record in records:
        groups[hashlib.sha256(record.image).hexdigest()].append(record.key)
    ordered = (sorted(keys) for keys in groups.values())
    pairs = ((key, keys[0]) for keys in ordered for key in keys[1:])
    return [{"key": key, "original": first} for key, first in sorted(pairs)]
