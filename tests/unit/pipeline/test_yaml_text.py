"""YAML and JSON text: errors have the file, the line and the key, wherever the text comes from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from actors.driver import main
from pipeline.errors import ConfigError
from pipeline.yaml_text import YamlText, load_documents, load_unique, read_yaml


def test_each_key_has_its_line_and_a_missing_one_that_of_its_section():
    text = YamlText("run.yaml", "source:\n  uris:\n  - a\n  - b\nmodel: {name: demo,\n  dtype: fp32}\n")
    assert text.tree == {"source": {"uris": ["a", "b"]}, "model": {"name": "demo", "dtype": "fp32"}}
    lines = {
        ("source", "uris", "1"): "run.yaml, line 4: source.uris.1",
        ("model", "dtype"): "run.yaml, line 6: model.dtype",
        ("source", "limit"): "run.yaml, line 1: source.limit",
        ("output", "uri"): "run.yaml: output.uri",
        (): "run.yaml",
    }
    assert {path: text.label(path) for path in lines} == lines


def test_an_alias_has_the_line_of_its_anchor_and_may_contain_itself():
    text = YamlText("x", "a: &one\n  b: 1\nc: *one\nd: &two [*two]")
    assert text.label(("c", "b")) == "x, line 2: c.b"
    assert text.label(("d", "0", "0")) == "x, line 4: d.0.0"
    assert YamlText("x", "").tree is None


def test_text_that_is_not_utf_8_is_reported_with_its_line(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_bytes("source:\n  id_column: 货号".encode("gb18030"))
    with pytest.raises(ConfigError, match=r"run.yaml, line 2: this is not UTF-8\. Convert"):
        read_yaml(file, "")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", '{"source": {\n "uris": ["/x"],\n "limt": 3}}', "run.json, line 3: source.limt: no such key"),
        ("run.yaml", "source:\n  limt: 3", "run.yaml, line 2: source.limt: no such key; did you mean limit?"),
        ("run.json", "[1]", "run.json holds no mapping of sections"),
        ("run.json", '{"source": ', "run.json, line 1"),
    ],
)
def test_the_driver_names_the_line_of_an_error_in_a_saved_run(tmp_path: Path, capsys, name, text, message):
    (tmp_path / name).write_text(text)
    assert main([str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err


def test_yaml_of_other_programs_has_each_key_once() -> None:
    assert load_unique("a: &x {b: 1}\nc: {<<: *x, b: 2}") == {"a": {"b": 1}, "c": {"b": 2}}
    with pytest.raises(yaml.MarkedYAMLError, match="b is there twice, first in line 2"):
        load_unique("a:\n  b: 1\n  'b': 2\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("b: &b {x: 0}\nbase: {deep: &a {<<: *b, x: 1}}\nc: {<<: *a}", 2),
        ("b: &b {x: 0}\nd: &d {y: 0}\nc: {<<: [*b, *d], x: 1, y: 2}", 3),
        ("b: &b {x: 0}\nd: &d {x: 1}\nc: {<<: *b, <<: *d}", 2),
    ],
)
def test_keys_that_a_merge_brings_may_be_there_again(text: str, line: int) -> None:
    assert load_unique(text) == YamlText("run.yaml", text).tree == yaml.safe_load(text)
    assert YamlText("run.yaml", text).label(("c", "x")) == f"run.yaml, line {line}: c.x"
    for twice in ("&e {x: 0, x: 1}", "{<<: *b, y: 1, y: 2}"):
        with pytest.raises(ConfigError, match=r"line 4: e\.. is there twice"):
            YamlText("run.yaml", f"{text}\ne: {twice}")
        with pytest.raises(yaml.MarkedYAMLError, match="is there twice"):
            load_unique(f"{text}\ne: {twice}")


NINE = ", ".join(["*{0}"] * 9)
LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{n}: &a{n} [{NINE.format(f'a{n - 1}')}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (LAUGHS, r"line \d+: its aliases \(\*name\) repeat more than 100,000 values: use fewer of them\."),
        (LAUGHS.replace("[", "{x: [").replace("]", "]}"), "repeat more than 100,000 values"),
        (f"a: &a [{'x, ' * 400}]\nb: [{'*a, ' * 400}]", "repeat more than 100,000 values"),
        (re.sub(r"\[(.*)\]", r"{<<: [\1]}", LAUGHS).replace("{<<: [ha]}", "{k: 1}"), "100,000"),
        (f"{LAUGHS}? *a8\n: 1", "a key is a list or a mapping: write a name, or quotes around"),
        (f"{LAUGHS}? *a8\n: 1\n? *a8\n: 1", "a key is a list or a mapping"),
    ],
    ids=["lists", "mappings", "squared", "merges", "key", "keys"],
)
def test_a_short_text_that_stands_for_more_than_memory_holds_is_refused(text: str, refused: str) -> None:
    with pytest.raises(ConfigError, match=refused):
        YamlText("run.yaml", text)
    with pytest.raises(ConfigError, match=r"The template t\.yaml is not accepted: line \d+: "):
        load_documents("The template t.yaml", text)


def test_aliases_of_an_ordinary_size_stay_and_so_does_a_long_text_without_any() -> None:
    assert len(load_unique(f"a: &a [{'x, ' * 90}]\nb: [{'*a, ' * 900}]")["b"]) == 900
    assert len(load_documents("t", "- 1\n" * 300 + "---\n- 2\n")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {b: 1, b: 2}", r"^t is not accepted: line 1: b is there twice, first in line 1: remove one of them\.$"),
        ("a: [", "t is not YAML: line 1: "),
        ("a: 2026-02-30", "t is not YAML: day is out of range"),
        ("[" * 600, "t is nested too deeply"),
    ],
)
def test_a_text_of_another_program_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_documents("t", text)
