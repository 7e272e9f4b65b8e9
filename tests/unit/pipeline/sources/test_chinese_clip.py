"""The Chinese-CLIP authors' files as a source: their records, and how damaged files are handled."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from flows.cli import main
from pipeline.curation.evaluate.features import read_features
from pipeline.errors import SourceError
from pipeline.sources.chinese_clip.texts_file import read_texts
from pipeline.stats import Skipped
from pipeline.vocabulary import Skip
from tests.fixtures.chinese_clip import (
    IMAGES,
    PAIRS,
    TEXTS,
    muge,
    write_entries,
    write_images,
    write_lmdb,
    write_texts,
)
from tests.fixtures.sources import put, read, reasons, scan

__all__ = ["muge"]


@pytest.mark.parametrize("urlsafe", [False, True])
def test_each_line_of_the_tsv_is_an_image_at_its_offset(tmp_path, urlsafe):
    path = write_images(tmp_path / "d", "valid", IMAGES, urlsafe)
    spec, records = scan(path)
    assert (spec.kind, spec.has_images, spec.has_texts, spec.extra.names) == ("chinese-clip", True, False, [])
    assert [record.id for record in records] == [str(key) for key in IMAGES]
    for record in records:
        line = path.read_bytes()[record.position : record.position + record.size_bytes]
        assert line.startswith(f"{record.id}\t".encode())
        assert line.endswith(b"\n")
    found = read(spec, records[::-1], chunk=2)
    assert {int(key): raw.image for key, raw in found.items()} == IMAGES
    assert all(raw.text is None for raw in found.values())


def test_fingerprints_do_not_depend_on_mtime_order_or_added_lines(tmp_path):
    path = write_images(tmp_path / "d", "valid", IMAGES)
    before = {record.id: record.source_fingerprint for record in scan(path)[1]}
    os.utime(path, (1, 1))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([f"5\t{base64.b64encode(IMAGES[7]).decode()}\r\n", *lines[::-1]]))
    after = {record.id: record.source_fingerprint for record in scan(path)[1]}
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 1


def test_a_split_must_be_chosen_if_there_are_several(muge):
    with pytest.raises(SourceError, match=r"has the splits train, valid\. Choose one with --split"):
        scan(muge)
    with pytest.raises(SourceError, match=r"has no split test; it has train, valid"):
        scan(muge, split="test")
    assert {record.id for record in scan(muge, split="valid")[1]} == {str(key) for key in IMAGES}
    assert [record.id for record in scan(muge, split="train")[1]] == ["5"]


def test_each_line_of_the_texts_file_is_a_text(muge):
    for spec, records in (scan(muge / "valid_texts.jsonl"), scan(muge, split="valid", records="texts")):
        assert (spec.has_images, spec.has_texts, spec.texts) == (False, True, 4)
        found = read(spec, records, chunk=2)
        assert [(raw.text, raw.extra) for raw in found.values()] == [
            (text, {"image_ids": json.dumps(image_ids) if image_ids else None}) for _, text, image_ids in TEXTS
        ]
        assert list(found) == ["1", "2", "3", "4"]


def test_older_data_sets_with_other_keys_are_read_the_same_way(muge, tmp_path):
    path = write_texts(tmp_path / "old", "MR_valid", TEXTS, ("query_id", "query_text", "item_ids"))
    write_images(path.parent, "MR_valid", IMAGES)
    assert list(read_texts(str(path))) == list(read_texts(str(muge / "valid_texts.jsonl")))
    found = read(*scan(path.parent, split="valid", records="texts"))
    assert {int(key): raw.text for key, raw in found.items()} == {text_id: text for text_id, text, _ in TEXTS}


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_pairs_join_images_and_texts(tmp_path, protocol):
    if protocol is None:
        write_images(tmp_path / "d", "valid", IMAGES)
        write_texts(tmp_path / "d", "valid", TEXTS)
    else:
        write_lmdb(tmp_path / "d" / "lmdb" / "valid", IMAGES, TEXTS, protocol)
    spec, records = scan(tmp_path / "d", records="pairs")
    assert (spec.has_images, spec.has_texts, spec.texts) == (True, True, 4)
    assert {one.kind: one.count for one in spec.skipped}[Skip.LONE_IMAGE] == 1
    found = read(spec, records, chunk=3)
    assert {key: (raw.image, raw.text) for key, raw in found.items()} == PAIRS
    ids = {key: (raw.extra["text_id"], raw.extra["image_id"]) for key, raw in found.items()}
    assert ids == {key: tuple(key.split(":")) for key in PAIRS}


def test_lmdb_gives_the_same_records_as_the_files(muge, tmp_path):
    folder = write_lmdb(tmp_path / "lmdb" / "valid", IMAGES, TEXTS)
    for address in (folder, folder / "imgs", folder.parent):
        found = read(*scan(address))
        assert {int(key): raw.image for key, raw in found.items()} == IMAGES
    texts = read(*scan(folder, records="texts"))
    assert {int(key): raw.text for key, raw in texts.items()} == {key: text for key, text, images in TEXTS if images}
    assert [record.id for record in scan(folder / "pairs")[1]] == [key for key in texts if key]


class Harmful:
    """Creates a folder if it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_pickles_are_never_executed_and_bad_pairs_are_quarantined(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_lmdb(tmp_path / "d" / "valid", IMAGES, TEXTS)
    whole = pickle.dumps((12, 1, "红"))
    bad = [pickle.dumps(Harmful()), pickle.dumps((12, 1, Harmful())), whole[:-6], whole + b"x", b"", pickle.dumps([1])]
    bad += [b"\x80\x04r\xff\xff\xff\xffK\x01.", pickle.dumps((12, 1)), pickle.dumps((1.5, 1, "a")), b"\x80"]
    write_entries(folder / "pairs", {f"9{at}".encode(): value for at, value in enumerate(bad)})
    for kind in ("pairs", "texts"):
        spec, records = scan(folder, records=kind)
        found = read(spec, records)
        assert reasons(found) == {f"pairs#9{at}": "read/unreadable" for at in range(len(bad))}
        assert spec.records == len(bad) + {"pairs": 4, "texts": 3}[kind]
        assert any("entries" in note for note in spec.notes)
    assert not (tmp_path / "harmed").exists()


def test_damaged_lines_are_quarantined_and_the_others_are_read(tmp_path):
    good = base64.b64encode(IMAGES[7]).decode()
    lines = ["12\t" + good, "13\t" + good[:-7] + "!", "no tab", "14\t", "15\t" + good + "\tmore", "\t" + good, ""]
    path = put(tmp_path / "d", {"x_imgs.tsv": "\n".join([*lines, "0016\t" + good.rstrip("=")])}) / "x_imgs.tsv"
    texts = [
        '{"text_id": 1, "text": "红", "image_ids": [12, 77, 13, 12]}',
        "{",
        '{"text_id": 2}',
        '{"text_id":3,"text":"a"}',
    ]
    put(tmp_path / "d", {"x_texts.jsonl": "\n".join(texts)})
    found = read(*scan(path))
    at = [sum(len(line) + 1 for line in lines[:n]) for n in range(len(lines))]
    assert reasons(found) == {
        "13": "read/unreadable",
        "14": "read/missing_image",
        **{f"x_imgs.tsv#{at[n]}": "read/unreadable" for n in (2, 4, 5)},
    }
    assert found["12"].image == found["16"].image == IMAGES[7]
    spec, records = scan(tmp_path / "d", records="pairs")
    assert reasons(read(spec, records)) == {
        "1:77": "read/not_found",
        "1:13": "read/unreadable",
        f"x_texts.jsonl#{len(texts[0].encode()) + 1}": "read/unreadable",
        f"x_texts.jsonl#{len(texts[0].encode()) + 3}": "read/unreadable",
    }
    assert spec.records == 5
    assert Skipped(Skip.LONE_TEXT, 1, "3") in spec.skipped
    path.write_bytes(path.read_bytes().replace(b"12\t", b"21\t"))
    assert reasons(read(spec, records))["1:12"] == "read/changed"


def test_an_image_above_the_limit_is_refused(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).save(encoded, "PNG")
    path = write_images(tmp_path / "d", "x", {1: encoded.getvalue(), 2: IMAGES[7]})
    found = read(*scan(path, max_image_bytes=100_000))
    assert reasons(found) == {"1": "read/too_large"}
    assert "Raise --max-image-bytes" in found["1"].failure.detail


def test_class_folders_provide_the_labels(tmp_path):
    names = [f"类别{n}" for n in range(12)]
    folders = ["000", "001", "003", "011"]
    files = {f"test/{folder}/{n}.jpg": data for folder in folders for n, data in enumerate(IMAGES.values())}
    put(tmp_path / "food", {**files, "label_cn.txt": "\n".join(names), "train/000/x.jpg": IMAGES[7]})
    spec, records = scan(tmp_path / "food")
    assert (spec.kind, spec.records) == ("chinese-clip", 20)
    found = read(spec, records)
    assert {key: raw.image for key, raw in found.items()} == files
    for key, raw in found.items():
        number = int(key.split("/")[1])
        assert raw.extra == {"label": names[number], "label_index": number}
    assert [record.id for record in scan(tmp_path / "food", split="train")[1]] == ["train/000/x.jpg"]


@pytest.mark.parametrize(
    ("folders", "labels", "expected"),
    [
        (["cat", "dog", "eel"], 2, "3 class folders and label_cn.txt names 2 classes"),
        ([str(n) for n in range(11)], 11, "Give them leading zeros"),
        (["00", "07"], 7, "The class folder 07 .* has no line in label_cn.txt"),
    ],
)
def test_class_folders_that_do_not_match_the_label_file_are_refused(tmp_path, folders, labels, expected):
    put(tmp_path / "d", {f"test/{folder}/a.jpg": IMAGES[7] for folder in folders})
    put(tmp_path / "d", {"label_cn.txt": "\n".join(map(str, range(labels)))})
    with pytest.raises(SourceError, match=expected):
        scan(tmp_path / "d")


def test_missing_splits_and_files_are_reported(muge, tmp_path):
    write_images(tmp_path / "other", "valid", IMAGES)
    for arguments, options, expected in (
        ([muge, tmp_path / "other"], {"split": "valid"}, "exists twice"),
        ([tmp_path / "other"], {"records": "pairs"}, r"has no pairs: it needs \*_imgs.tsv and \*_texts.jsonl"),
        ([put(tmp_path / "photos", {"a.jpg": IMAGES[7]})], {"split": "valid"}, "is read as a folder source"),
        ([tmp_path / "photos"], {"format": "chinese-clip"}, r"No \*_imgs.tsv"),
    ):
        with pytest.raises(SourceError, match=expected):
            scan(*arguments, **options)
    (tmp_path / "l" / "valid" / "imgs").mkdir(parents=True)
    (tmp_path / "l" / "valid" / "imgs" / "data.mdb").write_bytes(b"junk" * 5000)
    with pytest.raises(SourceError, match="cannot be read as LMDB"):
        scan(tmp_path / "l")


def test_an_ordinary_table_with_a_similar_name_is_read_as_a_table(tmp_path):
    put(tmp_path / "d", {"catalog_imgs.tsv": "id\timage\n7\thttps://example.com/7.jpg\n"})
    assert scan(tmp_path / "d")[0].kind == "table"
    put(tmp_path / "e", {"shop_texts.jsonl": '{"id": "a", "title": "红"}\n'})
    assert scan(tmp_path / "e", text_column="title")[0].kind == "table"


def test_the_command_plans_a_split_and_refuses_duplicate_ids(muge, tmp_path, capfd):
    arguments = [
        "embed",
        str(muge),
        str(tmp_path / "out"),
        "--model",
        "demo",
        "--dry-run",
        "--json",
        "--split",
        "valid",
    ]
    with pytest.raises(SystemExit):
        main(arguments)
    plan = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert plan["rows_in"] == len(IMAGES), plan
    path = muge / "valid_imgs.tsv"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "'12': 2 records" in capfd.readouterr().err


def test_feature_files_are_read_in_blocks(tmp_path):
    vectors = np.random.default_rng(2).normal(size=(7, 16)).astype(np.float32)
    path = tmp_path / "valid_imgs.img_feat.jsonl"
    lines = [json.dumps({"image_id": at, "feature": vector.tolist()}) for at, vector in enumerate(vectors)]
    path.write_text("\n".join(lines) + "\n")
    blocks = list(read_features(str(path), rows=3))
    assert [len(ids) for ids, _ in blocks] == [3, 3, 1]
    assert [id_ for ids, _ in blocks for id_ in ids] == list(range(7))
    assert np.array_equal(np.concatenate([part for _, part in blocks]), vectors)
    path.write_text("\n".join([*lines, '{"image_id": 8, "feature": [1.0]}']))
    with pytest.raises(SourceError, match=r"Line 8 of .* has 1 numbers, the first line has 16"):
        list(read_features(str(path)))


@pytest.mark.parametrize("spelling", ["007", "0" * 5000 + "7", 7])
def test_numeric_ids_are_normalised_in_all_files(tmp_path, spelling):
    folder = tmp_path / "d"
    for name in ("007", 7):
        write_images(folder, "valid", {name: IMAGES[7]})
        write_texts(folder, "valid", [(spelling, "红色连衣裙", [spelling])])
        spec, records = scan(folder, records="pairs")
        assert [(record.id, reasons(read(spec, records))) for record in records] == [("7:7", {})]
        _, texts = scan(folder / "valid_texts.jsonl")
        assert [record.id for record in texts] == ["7"]


def test_ids_too_long_for_a_python_int_are_kept_as_text(tmp_path):
    path = write_texts(tmp_path, "valid", [("9" * 4301, "红色连衣裙", ["8" * 4301, 7])])
    spec, records = scan(path)
    [raw] = read(spec, records).values()
    assert json.loads(raw.extra["image_ids"]) == ["8" * 4301, 7]
