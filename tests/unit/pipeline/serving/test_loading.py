"""What a server takes over from a dataset, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.curation.recorded import Recorded
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.footer import MAKERS
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import ConfigError, IdentityError
from pipeline.serving.loading import also_called, as_recorded, require_same_bits
from pipeline.serving.settings import ServedModel
from tests.fixtures.datasets import (
    an_identity,
    commit,
    embedded_rows,
    provenance,
    some_records,
    without_footer_facts,
)

EXACT = dict.fromkeys(MAKERS, "1") | {"passes": "exact: rows 1", "instructions": "AVX2", "bits": "00ff"}
VARYING = EXACT | {"passes": "varying", "bits": "none"}


def recorded(makers: dict[str, str] = VARYING, *dtypes: Any) -> Recorded:
    return Recorded("out", dtypes or ("fp32",), makers)


@pytest.mark.parametrize(
    ("asked", "made", "expected"),
    [
        ({}, recorded(), ("fp32", False)),
        ({}, recorded(EXACT, "bf16"), ("bf16", True)),
        ({"dtype": "auto"}, recorded(EXACT, "bf16"), ("bf16", True)),
        ({"exact": False}, recorded(EXACT), ("fp32", False)),
        ({"exact": False, "dtype": "bf16"}, recorded(EXACT), ("bf16", False)),
        ({"exact": True, "dtype": "fp32"}, recorded(EXACT), ("fp32", True)),
        ({}, recorded(EXACT | {"passes": "exact: rows 1,varying"}, "fp32", "bf16"), ("fp32", False)),
        ({"dtype": "bf16"}, recorded(VARYING, "fp32"), ("bf16", False)),
        ({"exact": True, "dtype": "bf16"}, Recorded("empty", (), dict.fromkeys(MAKERS, "none")), ("bf16", True)),
    ],
)
def test_what_is_not_asked_for_is_the_datasets(
    asked: dict[str, Any], made: Recorded, expected: tuple[str, bool]
) -> None:
    found = as_recorded(ServedModel(name="mine", **asked), made)
    assert (found.dtype, found.exact, found.name) == (*expected, "mine")


@pytest.mark.parametrize(
    ("asked", "made", "error", "message"),
    [
        (
            {"dtype": "bf16"},
            recorded(EXACT),
            IdentityError,
            "--dtype bf16: the vectors of out were computed in fp32 with --exact.*--no-exact",
        ),
        ({"exact": True}, recorded(), IdentityError, "not all vectors of out were computed with --exact"),
        ({"batch_size": 4}, recorded(EXACT), ConfigError, "out was made with --exact.*--no-exact.*out batch_size"),
    ],
)
def test_what_the_dataset_has_not_is_refused(
    asked: dict[str, Any], made: Recorded, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        as_recorded(ServedModel(**asked), made)


def test_a_machine_that_gives_other_bits_is_refused_with_what_differs() -> None:
    require_same_bits(recorded(EXACT), EXACT | {"torch": "2"})  # another version with the same bits
    require_same_bits(recorded(EXACT | dict.fromkeys(("resize", "pillow", "libjpeg"), "none")), EXACT)  # texts alone
    for other in ({"bits": "ff00", "instructions": "AVX512"}, {"bits": "ff00"}, {"pillow": "12.0"}):
        with pytest.raises(IdentityError, match="--no-exact") as refused:
            require_same_bits(recorded(EXACT), EXACT | other)
        for name, value in other.items():
            assert f"{name}: {EXACT[name]} there, {value} here" in str(refused.value)


def test_what_is_recorded_is_read_from_the_files(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    assert (Recorded.of(dataset).dtypes, Recorded.of(dataset).exact) == ((), False)
    rows = embedded_rows(some_records(3), dataset.identity)
    made = replace(provenance(3), compute_dtype="bfloat16", makers=EXACT)
    dataset.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), made)
    assert Recorded.of(dataset) == Recorded(dataset.uri, ("bf16",), EXACT)
    without_footer_facts(dataset, "device", "instructions", "passes", "bits")  # as earlier versions wrote it
    served = as_recorded(ServedModel(), Recorded.of(dataset))
    assert (served.dtype, served.exact) == ("bf16", False)
    commit(dataset, 2, some_records(3, 3))
    assert Recorded.of(dataset).dtypes == ("fp32", "bf16")


@pytest.mark.parametrize(("asked", "more"), [({}, set()), ({"name": "ViT-L-14"}, {"ViT-L-14"})])
def test_a_released_model_has_no_other_models_name(asked: dict[str, Any], more: set[str]) -> None:
    large = "OFA-Sys/chinese-clip-vit-large-patch14"
    assert set(also_called(large, ServedModel(**asked))) == {large, "vit-l-14"} | more
