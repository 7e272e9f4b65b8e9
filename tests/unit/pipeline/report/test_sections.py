"""Test sections of a report whose rows must agree with their totals: what filters dropped, and the quarantine."""

from __future__ import annotations

from pathlib import Path

from pipeline.curation.filter.filtering import filtering, tables_folder, write_tables
from pipeline.curation.filter.rules import FilterRule
from pipeline.dataset.checks.status import status
from pipeline.dataset.dataset import Dataset
from pipeline.phases import ignore
from pipeline.report.material import Material
from pipeline.report.sections.kept import kept
from pipeline.report.sections.quarantine import quarantine
from tests.fixtures.catalogs import Catalog, skus
from tests.fixtures.datasets import an_identity, carry_out, commit, some_records


def test_every_rule_of_a_filter_is_counted_and_the_first_have_pictures(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    records = some_records(20)
    commit(dataset, 1, records)
    rules = [FilterRule(f"not {record.id}", f"id <> '{record.id}'") for record in records[:12]]
    with filtering(dataset.uri, rules, None, ignore) as (filtered, work):
        write_tables(tables_folder(dataset.uri, "default"), filtered, work)
    with Material(dataset.uri, ignore) as material:
        [found] = kept(material)
    assert [rule.name for rule in found.rules] == [rule.name for rule in rules]
    assert (found.kept, sum(rule.first for rule in found.rules)) == (8, 12)
    assert [len(rule.rows) for rule in found.rules] == [1] * 8 + [0] * 4


def test_examples_of_the_quarantine_are_records_that_are_in_it_now(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    fixed, broken, good = skus(3)
    catalog.write("part-0", [fixed, broken, good])
    carry_out(catalog.plan(), dict.fromkeys([fixed, broken], "truncated"))
    catalog.write("part-0", [fixed, broken, good], changed=[fixed])
    carry_out(catalog.plan())
    with Material(str(catalog.out), ignore) as material:
        [reason] = quarantine(material, status(str(catalog.out)))
    assert (reason.count, [one.id for one in reason.examples]) == (1, [broken])
