"""A prefect.yaml: what the server must not store is refused before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.deployments.file import read
from pipeline.errors import ConfigError

ENTRY = """
deployments:
  - name: prod
    entrypoint: flows.scheduled.nightly.nightly
    work_pool: {name: hanclip}
    parameters: {config: {source: {uris: ["{{ $SOURCE }}"]}, output: {uri: s3://bucket/out}}}
    schedules:
      - {slug: nightly, cron: 30 4 * * *, parameters: {filter: {dest: "{{ $DEST }}"}}}
"""


@pytest.mark.parametrize("name", ["SOURCE", "DEST"])
@pytest.mark.parametrize("uri", ["https://user:s3cret@host/a", "s3://b/a?X-Amz-Signature=s3cret"])
def test_parameters_with_a_password_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, uri: str
) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(ENTRY)
    monkeypatch.setenv("SOURCE", "s3://bucket/photos")
    monkeypatch.setenv("DEST", "s3://bucket/clean-{date}")
    assert [deployment.name for deployment in read(file, os.environ)] == ["prod"]
    monkeypatch.setenv(name, uri)
    with pytest.raises(ConfigError, match="deployment nightly/prod") as raised:
        read(file, os.environ)
    assert "give credentials in the environment instead" in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("deployments:", "deployment:", r"yaml has no list of deployments: write one"),
        ("nightly.nightly", "nightly.nihgtly", r"nihgtly/prod: there is no flow flows.*'nihgtly'\. Write MODULE"),
        ("scheduled.nightly", "nights.nightly", r"nightly/prod: .* No module named 'flows.nights'\. Write MODULE"),
        ("nightly.nightly", "nightly.check", r"check/prod: flows\.scheduled\.nightly\.check is no flow\. Write MODULE"),
        ("30 4 * * *", "30 25 * * *", r'nightly/prod: Invalid cron string: "30 25 .*"\. Correct it'),
    ],
)
def test_what_cannot_be_deployed_is_named(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(ENTRY.replace(right, wrong))
    with pytest.raises(ConfigError, match=message):
        read(file, {"SOURCE": "s3://bucket/photos", "DEST": "s3://bucket/clean-{date}"})
