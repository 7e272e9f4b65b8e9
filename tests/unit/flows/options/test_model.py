"""Command-line options of pydantic models: values survive a round trip as arguments, and errors name the option."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows.backfill.request import BackfillRequest
from flows.cli.curation.classify import CLASSIFY
from flows.cli.curation.evaluate import EVALUATE
from flows.cli.curation.similarity import SIMILARITY
from flows.jobs.target import TargetConfig
from flows.options.backfill import BACKFILL
from flows.options.curation import DEDUP, EXPORT, FILTER
from flows.options.keywords import options
from flows.options.model import ModelOptions
from flows.options.run import RUN
from flows.options.target import TARGET
from pipeline.config import parse
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.evaluate.request import EvaluateRequest
from pipeline.curation.export.options import ExportOptions
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.similarity.request import SimilarityRequest
from pipeline.errors import ConfigError
from pipeline.vocabulary import Form, Keep, Rung

ALL = (RUN, TARGET, BACKFILL, DEDUP, EXPORT, FILTER, CLASSIFY, EVALUATE, SIMILARITY)
VALUES = [
    (RUN, parse({"source": {"limit": 3, "extra_columns": ["a", "b"]}, "model": {"compile": True, "name": "demo"}})),
    (RUN, parse({"output": {"run_date": "2024-02-29"}, "cluster": {"gpus_per_embedder": 0.5}})),
    (TARGET, TargetConfig(backend="ray", address="http://head:8265", timeout_s=5)),
    (BACKFILL, BackfillRequest(partitions=("a", "b"), limit=3, fail_fast=True, order="newest")),
    (DEDUP, DedupSettings(rungs=(Rung.BYTES, Rung.NEAR_TEXT), phash_radius=2, keep=Keep.LARGEST)),
    (EXPORT, ExportOptions(vectors="both", columns=("text",), rows_per_file=5, number_ids=True)),
    (FILTER, FilterSettings(where="keep", form=Form.TARS, tar_rows=3)),
    (EVALUATE, EvaluateRequest(sample=5, direction="text-to-image", compare=True, set_name="muge")),
    (SIMILARITY, SimilarityRequest(text=("红", "蓝"), top=3, dtype="bf16")),
]


def received(made: ModelOptions[Any], words: list[str]) -> dict[str, Any]:
    """The arguments that a command with these options receives for the command line `words`."""
    found: list[dict[str, Any]] = []
    app = typer.Typer()

    @app.command()
    @options(made)
    def command(**options: Any) -> None:
        found.append(options)

    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize(("made", "value"), VALUES)
def test_a_value_survives_a_round_trip_through_arguments(made: ModelOptions[Any], value: object) -> None:
    words = made.words(value)
    assert words
    assert made.parsed(received(made, words)) == value


@pytest.mark.parametrize("made", ALL)
def test_every_field_has_a_description_and_a_unique_flag(made: ModelOptions[Any]) -> None:
    flags = [option.flag for option in made.fields()]
    assert len(set(flags)) == len(flags)
    assert all(option.info.description for option in made.fields())
    paths = {option.path for option in made.without("nothing").fields()}
    assert {*made.names} <= paths
    assert {path for path in made.metavars if isinstance(path, str)} <= paths


def test_an_error_names_the_option_and_the_help() -> None:
    with pytest.raises(ConfigError) as caught:
        DEDUP.validated({"rungs": ["pixel"], "phash_radius": 99})
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0].strip() for line in lines[1:3]] == ["--rung", "--phash-radius"]
    assert lines[-1] == "See `hanclip dedup --help`."


def test_without_arguments_the_model_sets_the_defaults() -> None:
    assert EXPORT.parsed(received(EXPORT, [])).model_fields_set == set()
    assert RUN.given(received(RUN, ["--no-compile"])) == {"model": {"compile": False}}


def test_options_can_be_restricted_to_some_fields() -> None:
    assert [option.path for option in RUN.only("image", "output.run_date").fields()] == [
        "image.max_pixels",
        "image.accept_truncated",
        "image.signals",
        "output.run_date",
    ]
    assert [option.panel for option in RUN.only("cluster.address").fields()] == ["Cluster"]
