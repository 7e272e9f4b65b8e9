"""Flows over finished datasets on a Prefect server: forms, a night with steps, and each flow alone."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.jobs.target import TargetConfig
from flows.scheduled.curate import carry_out, nightly_steps
from flows.scheduled.pages.curate import commands, section
from pipeline.compaction.settings import CompactSettings
from pipeline.config import parse
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings, NamedRule
from pipeline.curation.sync.settings import SyncSettings
from pipeline.errors import ConfigError
from pipeline.jobs.job import StepOutcome
from pipeline.jobs.steps import DedupStep, FilterStep
from pipeline.vocabulary import Form, Rung
from tests.fixtures.pictures import write_folder

ROWS = 12
DAY = datetime(2026, 11, 21, tzinfo=UTC).date()


def run(flow, *arguments: object, **parameters: object):
    """Call a flow in this process; returns its final state."""
    return flow(*arguments, return_state=True, target=TargetConfig(poll_s=1), **parameters)


@pytest.mark.parametrize("name", ["compact", "dedup", "filter", "nightly", "sync"])
def test_the_form_of_every_flow_is_complete(name):
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(getattr(import_module(f"flows.scheduled.{name}"), name).fn).model_dump()
    fields = [*schema["properties"].items()]
    for definition in schema["definitions"].values():
        fields += definition.get("properties", {}).items()
    undescribed = [
        name for name, field in fields if not (field.get("description") or "$ref" in field or "allOf" in field)
    ]
    assert undescribed == []


def test_a_night_with_steps_and_each_flow_alone(prefect_here, local_ray, tmp_path):
    from flows.scheduled.compact import compact
    from flows.scheduled.dedup import dedup
    from flows.scheduled.filter import filter  # noqa: A004
    from flows.scheduled.nightly import nightly
    from flows.scheduled.sync import sync

    photos, out = write_folder(tmp_path / "photos", ROWS), tmp_path / "out"
    (photos / "copy.jpg").write_bytes((photos / "00003.jpg").read_bytes())
    config = parse({"source": {"uris": [str(photos)]}, "model": {"name": "demo"}, "output": {"uri": str(out)}})
    by_bytes = DedupSettings(rungs=(Rung.BYTES,))
    rules = FilterSettings(rules=(NamedRule(name="unique", sql="keep"), NamedRule(name="early", sql="id < '00008'")))

    night = run(nightly, config, dedup=by_bytes, filter=rules)
    assert (night.name, night.message) == (
        "Completed",
        "rows in 13 = 13 embedded + 0 quarantined; dedup: 13 rows = 12 kept + 1 dropped; "
        "filter: 13 rows = 8 kept + 5 dropped",
    )
    shown = prefect_here.artifacts(str(night.state_details.flow_run_id))
    assert shown["nightly-summary"]["description"] == "Complete; data complete"
    report = shown["nightly-report"]["data"]
    for line in (
        "## Dedup: complete",
        "| groups | 1 |",
        "| dropped by | bytes 1 |",
        "## Filter: complete",
        "| rows | 13 = 8 kept (62 %) + 5 dropped |",
        "| unique | `keep` | 1 | 1 |",
        "| early | `id < '00008'` | 5 | 4 |",
    ):
        assert line in report, report
    table = pq.read_table(out / "dedup" / "dedup.parquet")

    small = run(compact, str(out), CompactSettings(leave_days=0))
    assert (small.name, small.message) == ("Completed", "compact: 1 files -> 1")
    shown = prefect_here.artifacts(str(small.state_details.flow_run_id))
    assert "hanclip compact" in shown["compact-report"]["data"]

    again = run(dedup, str(out), by_bytes)
    assert (again.name, again.message) == ("Completed", "dedup: 13 rows = 12 kept + 1 dropped")
    assert pq.read_table(out / "dedup" / "dedup.parquet") == table
    kept = run(filter, str(out), FilterSettings(where="keep", dest=str(tmp_path / "clean"), form=Form.DATASET))
    assert (kept.name, kept.message) == ("Completed", "filter: 13 rows = 12 kept + 1 dropped")
    flow_run_id = str(kept.state_details.flow_run_id)
    shown = prefect_here.artifacts(flow_run_id)
    assert set(shown) >= {"filter-summary", "filter-report"}
    assert f"| dataset | 12 rows: `{tmp_path}/clean` |" in shown["filter-report"]["data"]
    assert prefect_here.flow_run(flow_run_id)["name"] == f"filter {tmp_path.name}/out"

    synced = run(sync, str(out), SyncSettings(to="lance", dest=str(tmp_path / "lance"), where="keep"))
    assert (synced.name, synced.message) == ("Completed", "sync: 12 inserted, 0 replaced, 0 deleted")
    shown = prefect_here.artifacts(str(synced.state_details.flow_run_id))
    assert "| holds | 12 rows |" in shown["sync-report"]["data"]

    wrong = run(filter, str(out), FilterSettings(where="keeep"))
    assert wrong.name == "Failed"
    assert "The rule where is wrong: there is no column keeep" in wrong.message
    empty = run(filter, str(out), FilterSettings())
    assert (empty.name, "No rule was given" in empty.message) == ("Failed", True)


def test_the_server_rejects_invalid_parameters_when_a_run_is_created(prefect_here):
    from flows.scheduled.dedup import dedup
    from flows.scheduled.filter import filter  # noqa: A004

    deployments = {flow.name: flow.to_deployment("form").apply() for flow in (dedup, filter)}

    def create(name: str, **parameters: object) -> int:
        path = f"/deployments/{deployments[name]}/create_flow_run"
        return prefect_here.answer("POST", path, {"parameters": {"out": "b", **parameters}})

    assert create("dedup", settings={"image_cosine": 2}) == create("dedup", settings={"rungs": ["smell"]}) == 409
    assert create("filter") == create("filter", settings={"tar_rows": 0}) == 409
    assert create("dedup") == create("filter", settings={"where": "keep"}) == 200
    for deployment_id in deployments.values():
        prefect_here.call("DELETE", f"/deployments/{deployment_id}")


def test_the_destination_of_kept_rows_has_the_date_of_the_night():
    tars = FilterSettings(where="keep", form=Form.TARS, dest="s3://shop/clean-{date:%Y%m}/{date}")
    steps = nightly_steps("s3://shop/vectors", DAY, CompactSettings(), DedupSettings(), tars)
    assert [step.kind for step in steps] == ["compact", "dedup", "filter"]
    assert steps[2].settings.dest == "s3://shop/clean-202611/2026-11-21"
    with pytest.raises(ConfigError, match=r"put \{date\} into it"):
        nightly_steps("s3://shop/vectors", DAY, None, None, tars.model_copy(update={"dest": "s3://shop/clean"}))
    assert nightly_steps("s3://shop/vectors", DAY, None, None, None) == ()


def test_a_vector_database_is_synced_last():
    synced = SyncSettings(to="qdrant", dest="http://qdrant:6333", where="keep")
    steps = nightly_steps("s3://shop/vectors", DAY, CompactSettings(), DedupSettings(), None, synced)
    assert [step.kind for step in steps] == ["compact", "dedup", "sync"]
    assert "hanclip sync s3://shop/vectors http://qdrant:6333 --to qdrant --where keep" in commands(steps[-1])
    with pytest.raises(ConfigError, match=r"^sync\.dest has the relative path"):
        nightly_steps("/out", DAY, None, None, None, SyncSettings(to="lance", dest="lance"))


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("against", DedupSettings(against=("/data/one", "testset"))),
        ("not_duplicates", DedupSettings(not_duplicates="pairs.csv")),
        ("dest", FilterSettings(where="keep", dest="clean-{date}")),
        ("ids", FilterSettings(ids="ids.txt")),
    ],
)
def test_flows_refuse_relative_paths_in_the_settings_of_steps(field: str, settings: DedupSettings | FilterSettings):
    both = (settings, None) if isinstance(settings, DedupSettings) else (None, settings)
    step = (DedupStep if both[0] else FilterStep)(out="/out", settings=settings)
    with pytest.raises(ConfigError, match=rf"^settings\.{field} has the relative path"):
        carry_out(step, TargetConfig())
    with pytest.raises(ConfigError, match=rf"^{step.kind}\.{field} has the relative path"):
        nightly_steps("/out", DAY, None, *both)


def test_the_commands_in_a_report_are_accepted_by_the_command_line(tmp_path: Path):
    """They parse, and fail only because the dataset does not exist."""
    import shlex

    dedup = DedupStep(out=str(tmp_path), settings=DedupSettings(rungs=(Rung.BYTES, Rung.PHASH), phash_radius=2))
    rule = NamedRule(name="size", sql="image_width >= 200 and text <> '$1 \"x\"'")
    kept = FilterStep(
        out=str(tmp_path), settings=FilterSettings(rules=(rule,), form=Form.TARS, dest="clean", tar_rows=5)
    )
    lines = "\n".join(commands(dedup).splitlines()[1:-1])
    assert shlex.split(lines.replace("\\\n", " ")) == [
        *("hanclip", "dedup", str(tmp_path), "--rung", "bytes", "--rung", "phash", "--phash-radius", "2")
    ]
    block, shell = commands(kept).split("\n\n")
    (tmp_path / "rules.yaml").write_text("\n".join(block.splitlines()[1:-1]))
    line = "\n".join(shell.splitlines()[1:-1]).replace("rules.yaml", str(tmp_path / "rules.yaml"))
    words = shlex.split(line.replace("\\\n", " "))
    result = CliRunner().invoke(app, words[1:])
    assert "no dataset" in str(result.exception) or "no dataset" in result.output, (result.exception, result.output)


def test_the_report_has_the_reason_for_a_skipped_step():
    assert section(StepOutcome("dedup", "skipped", "No run was completed.")) == (
        "## Dedup: skipped\n\nNo run was completed."
    )
