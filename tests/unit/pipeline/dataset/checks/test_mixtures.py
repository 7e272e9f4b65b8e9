"""`verify` notes datasets of which only a part was made with --exact, or on machines that compute other bits."""

from __future__ import annotations

from pipeline.dataset.checks.mixtures import inexact
from pipeline.dataset.footer import MAKERS, joined_makers

VARYING = dict.fromkeys(MAKERS, "1") | {"passes": "varying", "bits": "none"}
EXACT = VARYING | {"passes": "exact: rows 1", "bits": "00ff"}
EMPTY = joined_makers([])


def test_files_of_one_kind_are_not_noted() -> None:
    assert list(inexact([VARYING, EMPTY, joined_makers([{}])])) == []
    assert list(inexact([EXACT, EXACT | {"torch": "2"}, EMPTY])) == []


def test_files_that_have_other_bits_than_the_rest_are_noted() -> None:
    for other in (VARYING, joined_makers([{}]), joined_makers([EXACT, VARYING])):
        (note,) = inexact([EXACT, other, EMPTY])
        assert note.startswith("1 of 2 files were made with --exact")
    (note,) = inexact([EXACT, EXACT | {"bits": "ff00"}, EXACT])
    assert "00ff in 2, ff00 in 1" in note
