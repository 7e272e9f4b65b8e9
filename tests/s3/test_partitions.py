"""Partitions of a source template, their manifests, and which of them are due."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.options.backfill import BACKFILL
from pipeline import storage
from pipeline.config import RunConfig, parse
from pipeline.errors import ConfigError, StorageError
from pipeline.partitions.dates import dates, latest
from pipeline.partitions.due import ASKED, FAILED, INPUT, NEVER, PLACE, SPEC, UNKNOWN, Verdict, due, judge
from pipeline.partitions.evidence import never_found, vanished
from pipeline.partitions.manifests import PartitionState, read_state, read_states, state_uri, write_state
from pipeline.partitions.template import (
    Partition,
    fill,
    input_digest,
    partitions,
    same_options,
    same_places,
    spec_digest,
)
from pipeline.sources.places.nearby import describe
from pipeline.vocabulary import Order, Reprocess
from tests.fixtures.servers.s3 import S3Server
from tests.fixtures.servers.web import Site
from tests.fixtures.sources import put

DAYS = st.dates(date(1990, 1, 1), date(2090, 1, 1))


def a_config(*uris: str, **sections: dict[str, object]) -> RunConfig:
    return parse({"source": {"uris": uris}, "output": {"uri": "/out"}, **sections})


@given(DAYS, st.integers(0, 400), st.sampled_from(["day", "week", "month"]))
def test_dates_are_all_of_the_range_and_latest_are_its_end(start: date, days: int, every: str) -> None:
    end = start + timedelta(days=days)
    found = dates(start, end, every)  # type: ignore[arg-type]
    assert found == sorted(set(found))
    assert found[0] <= start <= end
    if every == "month":
        assert {(day.year, day.month) for day in found} == {
            ((start + timedelta(days=n)).year, (start + timedelta(days=n)).month) for n in range(days + 1)
        }
    else:
        assert len(found) == days // (7 if every == "week" else 1) + 1
    newest = latest(len(found), end, every)  # type: ignore[arg-type]
    assert len(newest) == len(found)
    assert every == "week" or newest == found


def test_each_partition_is_a_separate_run() -> None:
    config = a_config("s3://b/dt={date}/{000..003}.tar", "s3://b/{date:%Y/%m/%d}/*.tar", "s3://b/{key}/x")
    first, second = partitions(config, ["2026-11-01", date(2026, 11, 2), "2026-11-01"])
    assert first.config.source.uris == (
        "s3://b/dt=2026-11-01/{000..003}.tar",
        "s3://b/2026/11/01/*.tar",
        "s3://b/2026-11-01/x",
    )
    assert (first.key, first.config.output.run_date) == ("2026-11-01", date(2026, 11, 1))
    assert second.key == "2026-11-02"
    assert parse(first.config.model_dump(mode="json")) == first.config


def test_a_partition_key_need_not_be_a_date() -> None:
    [part] = partitions(a_config("shops/{key}/items.csv"), ["shop-1"])
    assert part.config.source.uris == ("shops/shop-1/items.csv",)
    assert part.config.output.run_date is None


@pytest.mark.parametrize(
    ("uri", "key", "message"),
    [
        ("s3://b/all/*.tar", "2026-11-01", "neither {date} nor {key}"),
        ("s3://b/{date:%Y%m%d%H}/*.tar", "2026-11-01", "asks for a time of day"),
        ("s3://b/{date}/*.tar", "shop-1", "'shop-1' is not a date"),
        ("s3://b/{date}/*.tar", "2026-02-30", "2026-02-30 is not a calendar date"),
        ("s3://b/{key}/*.tar", "../../etc", "cannot name a partition"),
        ("s3://b/{key}/*.tar", "a,b", "cannot name a partition"),
    ],
)
def test_an_invalid_template_or_key_is_refused(uri: str, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r".*") as caught:
        partitions(a_config(uri), [key])
    assert message in str(caught.value)


@given(st.text(), DAYS)
def test_keys_and_templates_never_leave_their_folder(text: str, day: date) -> None:
    try:
        [part] = partitions(a_config("/in/{key}/x"), [text])
    except ConfigError:
        return
    assert os.path.dirname(state_uri("/out", part.key)) == "/out/_partitions"
    assert fill("a/{date}/{date:%d.%m.%Y}", day) == f"a/{day}/{day:%d.%m.%Y}"


@pytest.mark.parametrize("store", ["disk", "bucket"])
def test_manifests_are_read_as_they_were_written(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    out = str(tmp_path / "out") if store == "disk" else f"{request.getfixturevalue('s3').bucket()}/out"
    assert (read_states(out), read_state(out, "a")) == ({}, None)
    first = PartitionState("a", "done", "1" * 16, "2" * 16, 10, 8, 2, "run", "job", 1.5, "", "2026-11-21T00:00:00Z")
    second = PartitionState("b", "failed", message="坏了")
    for state in (second, first, first):
        write_state(out, state)
    assert read_states(out) == {"a": first, "b": second}
    assert read_state(out, "b") == second
    storage.overwrite(state_uri(out, "b"), b"{}")
    with pytest.raises(StorageError, match=r"b\.json is damaged .* delete it"):
        read_states(out)


def test_the_spec_covers_the_options_that_determine_the_rows() -> None:
    [base] = partitions(a_config("/in/{date}"), ["2026-11-01"])
    same = parse(
        {
            "source": {"uris": ["/x"], "read_concurrency": 3},
            "model": {"batch_size": 7, "weights_sha256": "0" * 64},
            "cluster": {"decoders": 2},
        }
    )
    assert same_options(spec_digest(same), spec_digest(base.config))
    assert not same_places(spec_digest(same), spec_digest(base.config))
    for option in ({"image": {"accept_truncated": True}}, {"model": {"exact": True}}):
        assert not same_options(spec_digest(parse(option)), spec_digest(base.config))
    for section, values in {
        "source": {"text_column": "title"},
        "image": {"max_pixels": 5},
        "model": {"revision": "v2"},
        "output": {"embedding_dtype": "float16"},
    }.items():
        assert not same_options(spec_digest(parse({section: values})), spec_digest(base.config))


def test_the_input_is_what_the_source_lists(tmp_path: Path) -> None:
    put(tmp_path, {"in/a.jpg": b"a", "in/b/c.jpg": b"c"})
    folder, files, nothing = (input_digest(a_config(f"{tmp_path}/{uri}")) for uri in ("in", "in/**/*.jpg", "none"))
    assert len({folder, nothing, ""}) == 3
    assert folder == files
    assert input_digest(a_config(f"{tmp_path}/none/*.tar")) == nothing
    os.utime(tmp_path / "in/a.jpg", (1, 1))
    assert input_digest(a_config(f"{tmp_path}/in")) != folder


def test_files_that_a_run_writes_into_its_source_are_not_input(tmp_path: Path) -> None:
    put(tmp_path, {"in/a.jpg": b"a"})
    config = a_config(f"{tmp_path}/in", output={"uri": f"{tmp_path}/in/out"})
    before = input_digest(config)
    put(tmp_path, {"in/out/embeddings/x.parquet": b"x", "in/out/_runs/1/a.jpg": b"y"})
    assert input_digest(config) == before
    put(tmp_path, {"in/b.jpg": b"b"})
    assert input_digest(config) != before


def test_the_input_in_a_bucket_changes_with_an_object(s3: S3Server) -> None:
    base = f"{s3.bucket()}/dt=1"
    storage.create(f"{base}/a.jpg", b"a")
    before = {input_digest(a_config(uri)) for uri in (base, f"{base}/*.jpg", f"{base}/a.jpg")}
    storage.overwrite(f"{base}/a.jpg", b"b")
    after = {input_digest(a_config(uri)) for uri in (base, f"{base}/*.jpg", f"{base}/a.jpg")}
    assert (len(before), len(after), len(before | after)) == (1, 1, 2)


def test_the_input_is_unknown_if_a_web_server_reports_no_version(site: Site) -> None:
    site.files["/items.csv"] = b"id,text"
    assert input_digest(a_config(site.url("/items.csv"))) == ""
    assert input_digest(a_config(site.url("/status/404"))) == input_digest(a_config("/none"))
    assert input_digest(a_config(site.url("/status/403"))) == ""


FACTS = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["done", "failed", "empty"]), st.booleans(), st.sampled_from(["same", "other", ""])),
)
REPROCESS: list[Reprocess] = ["failed", "missing", "stale", "all"]


def verdicts_of(facts: list[tuple[str, bool, str] | None], reprocess: Reprocess) -> list[Verdict]:
    parts = [Partition(f"{n:03d}", a_config(f"/in/{n}")) for n in range(len(facts))]
    states = {
        part.key: PartitionState(part.key, fact[0], spec_digest(part.config) if fact[1] else "", fact[2])  # type: ignore[arg-type]
        for part, fact in zip(parts, facts, strict=True)
        if fact
    }
    return judge(parts, states, reprocess, lambda _: "same")


@given(st.lists(FACTS, max_size=12), st.sampled_from(["oldest", "newest"]), st.one_of(st.none(), st.integers(1, 12)))
def test_each_reprocess_mode_includes_the_previous_one(
    facts: list[tuple[str, bool, str] | None], order: Order, limit: int | None
) -> None:
    keys = [{verdict.key for verdict in verdicts_of(facts, mode) if verdict.why} for mode in REPROCESS]
    assert keys[0] <= keys[1] <= keys[2] <= keys[3]
    assert len(keys[3]) == len(facts)
    assert keys[0] == {f"{n:03d}" for n, fact in enumerate(facts) if fact and fact[0] == "failed"}
    every = verdicts_of(facts, "all")
    assert [verdict.key for verdict in every] == sorted(keys[3])
    chosen = [verdict.key for verdict in due(every, order, limit)]
    assert chosen == sorted(keys[3], reverse=order == "newest")[:limit]


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        (None, ["", NEVER, NEVER, NEVER]),
        (("failed", True, "same"), [FAILED, FAILED, FAILED, FAILED]),
        (("done", True, "same"), ["", "", "", ASKED]),
        (("done", True, "other"), ["", "", INPUT, ASKED]),
        (("done", False, "same"), ["", "", SPEC, ASKED]),
        (("done", True, ""), ["", "", UNKNOWN, ASKED]),
        (("empty", True, "same"), ["", "", "", ASKED]),
        (("empty", True, "other"), ["", INPUT, INPUT, ASKED]),
        (("empty", False, "same"), ["", SPEC, SPEC, ASKED]),
    ],
)
def test_why_a_partition_is_due(fact: tuple[str, bool, str] | None, why: list[str]) -> None:
    assert [verdicts_of([fact], mode)[0].why for mode in REPROCESS] == why


@pytest.mark.parametrize(
    ("finished_at", "now", "why"),
    [
        ("2026-11-01T04:30:00Z", "more", INPUT),
        ("2026-11-02T04:30:00+00:00", "more", INPUT),
        ("2026-11-01T04:30:00Z", "same", ""),
        ("2026-11-03T04:30:00Z", "more", ""),
        ("", "more", ""),
    ],
)
def test_a_day_that_was_not_over_is_compared(finished_at: str, now: str, why: str) -> None:
    [day] = partitions(a_config("/in/{date}"), ["2026-11-01"])
    state = PartitionState(day.key, "done", spec_digest(day.config), "same", finished_at=finished_at)
    assert judge([day], {day.key: state}, "missing", lambda _: now)[0].why == why


def test_in_a_bucket_a_folder_exists_if_an_object_is_below_it(s3: S3Server) -> None:
    bucket = s3.bucket()
    for day in ("2026-01-01", "2026-01-02"):
        storage.create(f"{bucket}/days/dt={day}/a.jpg", b"x")
    assert vanished([f"{bucket}/days/dt={{date}}/"]) == ""
    assert vanished([f"{bucket}/{{date:%Y}}/*.tar"]) == ""
    assert f"{bucket}/dayz, does not exist" in vanished([f"{bucket}/dayz/dt={{date}}/"])
    assert "does not exist" in vanished(["s3://no-such-bucket-anywhere/{date}/"])
    assert describe(f"{bucket}/dayz/dt=2026-01-03/*.tar") == (
        f"Looked for {bucket}/dayz/dt=2026-01-03/*.tar; the nearest folder that exists is {bucket}, which holds days. "
        f"Did you mean {bucket}/days?"
    )
    assert describe(f"{bucket}/days") == f"{bucket}/days exists and holds 2 .jpg."
    assert describe("s3://no-such-bucket-anywhere/x") == ""


def test_evidence_in_a_bucket_belongs_to_its_template(s3: S3Server) -> None:
    bucket = s3.bucket()
    config = parse({"source": {"uris": [f"{bucket}/dt={{date}}/"]}, "output": {"uri": f"{bucket}/out"}})
    parts = partitions(config, ["2026-11-01", "2026-11-02"])
    assert "no files for 2026-11-02 and 1 more partitions" in never_found(config, parts)
    [old] = partitions(config, ["2026-01-01"])
    write_state(f"{bucket}/out", PartitionState(old.key, "done", spec_digest(old.config), rows=3))
    assert never_found(config, parts) == ""
    other = config.model_copy(update={"source": config.source.model_copy(update={"uris": (f"{bucket}/dt-{{date}}/",)})})
    assert "Nothing was ever found at" in never_found(other, partitions(other, ["2026-11-01"]))


def test_another_source_is_not_done() -> None:
    [first], [second] = (partitions(a_config(uri), ["2026-11-01"]) for uri in ("/in/{date}", "/more/{date}"))
    state = PartitionState(first.key, "done", spec_digest(first.config), "same")
    for spec, why in ((state.spec, PLACE), (state.spec[:16], "")):
        verdict = judge([second], {first.key: replace(state, spec=spec)}, "missing", lambda _: "same")[0]
        assert verdict.why == why


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing says which partitions"),
        ({"start": "2026-11-02", "end": "2026-11-01"}, "start 2026-11-02 is after end 2026-11-01"),
        ({"start": "2026-11-02", "latest": 3}, "start and latest exclude each other"),
        ({"partitions": ["a"], "every": "week"}, "end and every belong to start or latest"),
        ({"end": "2026-11-02"}, "nothing says which partitions"),
        ({"latest": 0}, "latest: Input should be greater than or equal to 1"),
        ({"latest": 1, "reprocess": "some"}, "reprocess: Input should be 'failed', 'missing', 'stale' or 'all'"),
        ({"start": "yesterday"}, "start: Input should be a valid date"),
    ],
)
def test_contradictory_requests_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BACKFILL.validated(values)
    assert message in str(caught.value)


def test_a_range_without_an_end_stops_the_day_before() -> None:
    today, days = date(2026, 11, 21), [date(2026, 11, 19), date(2026, 11, 20)]
    for ways in ({"latest": 2}, {"start": "2026-11-19"}):
        fixed = BACKFILL.validated(ways).until(today)
        assert fixed.chosen_keys() == fixed.until(date(2026, 12, 1)).chosen_keys() == days
    with pytest.raises(ConfigError, match="after yesterday"):
        BACKFILL.validated({"start": "2026-11-21"}).until(today).chosen_keys()
    assert BACKFILL.validated({"partitions": ["a"]}).until(today).chosen_keys() == ("a",)
