"""Build `demo/catalog/`: a small, real, Chinese image-text catalog with known flaws.

In: the emoji packages of `emoji_sources`. Out: four WebDataset tars of `<key>.png|webp|jpg`, `<key>.txt` (a
Chinese caption) and `<key>.json` (`vendor`, `group`, `codepoints`), and `demo/imperfections.json`, which
lists every intentional flaw: duplicates, wrong, empty and missing captions, broken images. Real catalogs
have such flaws, and tests can check how listed ones are handled. The same seed and library versions give
the same bytes.
"""

import argparse
import io
import json
import random
import tarfile
from dataclasses import asdict
from pathlib import Path

from catalog_flaws import Record, same_bytes, with_flaws
from emoji_sources import DEFAULT_CACHE, Concept, concepts, drawings
from picture_formats import ENCODER_WEIGHTS, ENCODERS

HERE = Path(__file__).parent
CROSS_VENDOR = {"noto": 180, "fluent-3d": 100}


def main() -> None:
    """Parse the command line and write the catalog."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the downloaded npm packages")
    parser.add_argument("--out", type=Path, default=HERE / "catalog", help="output folder of the tars")
    parser.add_argument("--flaws", type=Path, default=HERE / "imperfections.json", help="list of flaws to write")
    parser.add_argument("--seed", type=int, default=20240)
    parser.add_argument("--tars", type=int, default=4)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    clean = clean_records(options.cache, rng)
    records, flaws = with_flaws(clean, rng)
    rng.shuffle(records)
    write_tars(records, options.out, options.tars)
    flaws["same_bytes"] = same_bytes(records)
    options.flaws.write_text(json.dumps(flaws, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def clean_records(cache: Path, rng: random.Random) -> list[Record]:
    """Every Twemoji drawing, then some drawings of the same emoji by other vendors."""
    known = concepts(cache)
    records = _vendor_records("twemoji", known, cache, rng)
    for vendor, count in CROSS_VENDOR.items():
        records += rng.sample(_vendor_records(vendor, known, cache, rng), count)
    return records


def _vendor_records(vendor: str, known: dict[str, Concept], cache: Path, rng: random.Random) -> list[Record]:
    plain = [d for d in drawings(vendor, cache) if d.codepoints in known and not d.toned]
    plain.sort(key=lambda drawing: drawing.codepoints)
    return [_record(vendor, drawing.image, known[drawing.codepoints], rng) for drawing in plain]


def _record(vendor: str, image: bytes, concept: Concept, rng: random.Random) -> Record:
    [(suffix, encode)] = rng.choices(list(ENCODERS), weights=ENCODER_WEIGHTS)
    key, text = f"{vendor}-{concept.codepoints}", caption(concept, rng)
    return Record(key, suffix, encode(image), text, vendor, concept.group, concept.codepoints)


def caption(concept: Concept, rng: random.Random) -> str:
    """A caption in a shop's style: mostly the name, sometimes quoted or with a few keywords."""
    name, words = concept.name, rng.sample(concept.keywords, min(2, len(concept.keywords)))
    choices = [name, f"“{name}”图标"]
    if words:
        choices += [f"{name}，{'、'.join(words)}", f"{name}（{' '.join(words)}）"]
    return rng.choices(choices, weights=[10, 1, 6, 3][: len(choices)])[0]


def write_tars(records: list[Record], out: Path, tars: int) -> None:
    """Distribute the records round-robin over the tars, with no timestamps or owners: bytes are reproducible."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(tars):
        path = out / f"emoji-{number:04}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            for record in records[number::tars]:
                _add(archive, record)


def _add(archive: tarfile.TarFile, record: Record) -> None:
    fields = asdict(record)
    extra = {name: fields[name] for name in ("vendor", "group", "codepoints")}
    members = {record.suffix: record.image, "json": json.dumps(extra, ensure_ascii=False).encode()}
    if record.text is not None:
        members["txt"] = record.text.encode()
    for suffix, data in members.items():
        member = tarfile.TarInfo(f"{record.key}.{suffix}")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main()
