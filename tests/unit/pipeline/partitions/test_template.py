"""Which options make a partition another one, and which placeholders no day has."""

from __future__ import annotations

from datetime import date

import pytest

from pipeline.config import ImageConfig, ModelConfig, OutputConfig, SourceConfig, parse
from pipeline.errors import ConfigError
from pipeline.partitions import template
from pipeline.partitions.template import partitions, same_options, spec_digest

#: Options that leave the records of a partition and their values as they are, or that a dataset cannot change.
OTHERS = {
    SourceConfig: (
        *("uris", "inventory", "same_records", "whole_catalog", "max_vanished", "max_bad_containers", "http_headers"),
        *("read_timeout_s", "retry_timeout_s", "read_concurrency"),
    ),
    ImageConfig: ("signals",),
    ModelConfig: ("weights_sha256", "model_sha256", "context_length", "batch_size", "text_overflow", "compile"),
    OutputConfig: ("uri", "run_date", "shard_rows", "max_quarantine"),
}


@pytest.mark.parametrize("section", OTHERS)
def test_every_option_decides_about_a_partition_or_does_not(section: type[SourceConfig]) -> None:
    name = section.__name__.removesuffix("Config").lower()
    deciding = template._DECIDING[name] | template._DECIDING_IF_SET.get(name, set())
    assert sorted((*deciding, *OTHERS[section])) == sorted(section.model_fields)


@pytest.mark.parametrize("option", [{"unique_ids": "container"}, {"split": "test"}, {"max_text_chars": 9}])
def test_a_partition_with_other_records_is_stale(option: dict[str, object]) -> None:
    assert not same_options(spec_digest(parse({"source": option})), spec_digest(parse({})))


@pytest.mark.parametrize("form", ["%T", "%R", "%r", "%k", "%-H", "%_I", "%s"])
def test_a_day_has_no_time(form: str) -> None:
    config = parse({"source": {"uris": [f"in/{{date:{form}}}"]}})
    with pytest.raises(ConfigError, match="asks for a time of day"):
        partitions(config, [date(2026, 11, 1)])
