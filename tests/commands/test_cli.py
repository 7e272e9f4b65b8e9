"""Test the command line end to end: help, options and configuration, files, errors, exit codes."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from datetime import date
from operator import attrgetter
from pathlib import Path

import pytest
import typer.main
import yaml

from flows.cli import main
from flows.cli.app import app
from flows.options.run import RUN
from pipeline import __version__
from pipeline.config import RunConfig

COMMANDS = [name for name, command in typer.main.get_command(app).commands.items() if not hasattr(command, "commands")]

#: A non-default value for every option of `embed`: as typed, and as the configuration must hold it.
GIVEN: dict[str, tuple[list[str], object]] = {
    "format": (["--format", "table"], "table"),
    "inventory": (["--inventory", "s3://reports/shop/daily"], "s3://reports/shop/daily"),
    "split": (["--split", "valid"], "valid"),
    "records": (["--records", "pairs"], "pairs"),
    "id_column": (["--id-column", "sku"], "sku"),
    "image_column": (["--image-column", "url"], "url"),
    "text_column": (["--text-column", "标题"], "标题"),
    "fingerprint_column": (["--fingerprint-column", "etag"], "etag"),
    "extra_column": (["--extra-column", "a", "--extra-column", "b"], ("a", "b")),
    "drop_column": (["--drop-column", "c", "--drop-column", "d"], ("c", "d")),
    "captions": (["--captions", "rows"], "rows"),
    "unique_ids": (["--unique-ids", "row"], "row"),
    "id_prefix": (["--id-prefix", "shop-a/"], "shop-a/"),
    "same_records": (["--same-records"], True),
    "limit": (["--limit", "7"], 7),
    "whole_catalog": (["--whole-catalog"], True),
    "max_vanished": (["--max-vanished", "0.5"], 0.5),
    "max_bad_containers": (["--max-bad-containers", "0.1"], 0.1),
    "max_image_bytes": (["--max-image-bytes", "1000"], 1000),
    "max_text_chars": (["--max-text-chars", "500"], 500),
    "read_timeout_s": (["--read-timeout-s", "1.5"], 1.5),
    "retry_timeout_s": (["--retry-timeout-s", "0"], 0.0),
    "read_concurrency": (["--read-concurrency", "4"], 4),
    "allow_private_hosts": (["--allow-private-hosts"], True),
    "http_header": (["--http-header", "Referer: https://a.example/"], ("Referer: https://a.example/",)),
    "respect_robots_tag": (["--respect-robots-tag"], True),
    "max_pixels": (["--max-pixels", "10"], 10),
    "accept_truncated": (["--accept-truncated"], True),
    "signals": (["--signals", "sharpness,entropy"], ("sharpness", "entropy")),
    "model": (["--model", "demo"], "demo"),
    "revision": (["--revision", "abc"], "abc"),
    "weights_sha256": (["--weights-sha256", "0" * 64], "0" * 64),
    "model_sha256": (["--model-sha256", "0" * 64], "0" * 64),
    "context_length": (["--context-length", "128"], 128),
    "dtype": (["--dtype", "fp32"], "fp32"),
    "batch_size": (["--batch-size", "3"], 3),
    "text_overflow": (["--text-overflow", "mean-of-windows"], "mean-of-windows"),
    "compile": (["--compile"], True),
    "exact": (["--exact"], True),
    "embedding_dtype": (["--embedding-dtype", "float16"], "float16"),
    "run_date": (["--run-date", "2024-02-29"], date(2024, 2, 29)),
    "shard_rows": (["--shard-rows", "512"], 512),
    "max_quarantine": (["--max-quarantine", "1"], 1.0),
    "address": (["--address", "127.0.0.1:6379"], "127.0.0.1:6379"),
    "decoders": (["--decoders", "2"], 2),
    "embedders": (["--embedders", "2"], 2),
    "gpus_per_embedder": (["--gpus-per-embedder", "0.5"], 0.5),
    "inflight_bytes": (["--inflight-bytes", "2000000"], 2_000_000),
    "placement_timeout_s": (["--placement-timeout-s", "60"], 60.0),
    "grace_s": (["--grace-s", "3"], 3.0),
}


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide terminal without colours, so that each help text stays on one line."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    monkeypatch.setenv("NO_COLOR", "1")


def hanclip(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


def printed(capfd: pytest.CaptureFixture[str], *argv: str) -> RunConfig:
    """The configuration that `embed --print-config` prints."""
    code, out, err = hanclip(capfd, "embed", *argv, "--print-config")
    assert (code, err) == (0, "")
    return RunConfig.model_validate(yaml.safe_load(out))


def test_version(capfd):
    assert hanclip(capfd, "--version") == (0, f"hanclip {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(capfd, command):
    code, out, _ = hanclip(capfd, command, "--help")
    assert code == 0
    assert f"hanclip {command} " in out.split("Examples")[1]
    assert command in hanclip(capfd, "--help")[1]


def test_no_command_prints_the_help_and_is_a_usage_error(capfd):
    code, out, err = hanclip(capfd)
    assert code == 2
    assert "embed" in out + err


def test_every_configuration_field_is_an_option_or_an_argument():
    leaves = {f"{section}.{field}" for section, fields in RunConfig().model_dump().items() for field in fields}
    assert {option.path for option in RUN.fields()} | {"source.uris", "output.uri"} == leaves
    assert [option.name for option in RUN.fields()] == list(GIVEN)


def test_help_states_each_fields_description_and_default(capfd):
    _, out, _ = hanclip(capfd, "embed", "--help")
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("│ --")}
    for option in RUN.fields():
        assert option.info.description in lines[option.flag]
        if option.info.default not in (None, ()) and not isinstance(option.info.default, bool):
            assert f"[default: {option.info.default}]" in lines[option.flag]


def test_no_options_give_the_default_configuration(capfd):
    assert printed(capfd) == RunConfig()


@pytest.mark.parametrize("left_out", [("limit", "exact"), ("whole_catalog", "batch_size", "compile")])
def test_every_option_sets_its_field_and_survives_a_yaml_round_trip(capfd, tmp_path, left_out):
    """In two halves, as some options exclude others."""
    defaults = {option.name: ([], option.info.default) for option in RUN.fields()}
    given = GIVEN | {name: defaults[name] for name in left_out}
    argv = [word for words, _ in given.values() for word in words]
    config = printed(capfd, "源/", "b.tar", "s3://bucket/out", *argv)
    assert config.source.uris == ("源/", "b.tar")
    assert config.output.uri == "s3://bucket/out"
    for option in RUN.fields():
        assert attrgetter(option.path)(config) == given[option.name][1], option.flag
    (tmp_path / "run.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert printed(capfd, "--config", str(tmp_path / "run.yaml")) == config


def test_precedence_is_command_line_then_yaml_then_default(capfd, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("source: {uris: [a], limit: 5, id_column: sku}\nmodel: {compile: true}\noutput: {uri: o}\n")
    config = printed(capfd, "--config", str(file), "--limit", "9")
    assert (config.source.limit, config.source.id_column, config.source.text_column) == (9, "sku", None)
    assert config.source.uris == ("a",)
    assert config.model.compile is True
    config = printed(capfd, "x", "y", "out", "--config", str(file), "--no-compile")
    assert (config.source.uris, config.output.uri, config.model.compile) == (("x", "y"), "out", False)


def test_an_empty_section_of_a_yaml_file_keeps_the_defaults(capfd, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("source:\nmodel: {dtype: fp32}\n")
    assert printed(capfd, "a", "o", "--config", str(file)).model.dtype == "fp32"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: {id_colum: sku}", "source.id_colum: no such key; did you mean id_column?"),
        ("modle: {}", "modle: no such key; did you mean model?"),
        ("image: {zzz: 1}", "image.zzz: no such key; there are max_pixels"),
        ("model: {exact: true, batch_size: 4}", "model.exact: exact fixes the passes: leave out batch_size or exact"),
        ("model: {dtype: fp8}", "model.dtype: Input should be 'auto', 'bf16', 'fp16' or 'fp32'"),
        ("source: 3", "source: "),
        ("- a\n- b", "holds no mapping of sections. Write a valid one with --print-config."),
        ("a: [", "run.yaml, line 1, column 5: this is not YAML: "),
        ("source:\n  limit: 3\n  id_column sku\nmodel: {}", "run.yaml, line 4, column 1: this is not YAML: "),
        ("model: {name: demo}\nsource:\n  limit: 3\n  id_colum: sku", "run.yaml, line 4: source.id_colum: no such key"),
        ("source:\n  extra_columns:\n  - a\n  - 7", "run.yaml, line 4: source.extra_columns.1: "),
        ("source:\n  limit: 3\nmodel:\n  dtype: fp8\n  batch_size: 0", "run.yaml, line 5: model.batch_size: "),
        ("source: {limit: 3}\nmodel: {name: s3://user:secret@host/o}", "run.yaml, line 2: model.name: a URL carries"),
        ("source:\n  limit: 3\n  limit: 4", "run.yaml, line 3: source.limit is there twice, first in line 2"),
        ('{"source": {\n "limit": 0}}', "run.yaml, line 2: source.limit: "),
        ("output: {run_date: 2026-02-30}", "run.yaml: this is not YAML: day is out of range"),
        ("a: b\n源: \x07", "run.yaml, line 2: this is not YAML: special characters are not"),
    ],
)
def test_an_invalid_yaml_file_is_a_usage_error_that_names_the_key(capfd, tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    code, out, err = hanclip(capfd, "embed", "a", "o", "--config", str(file))
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["embed", "--lim", "3"], "No such option: --lim"),
        (["embed", "a", "o", "--limit", "0"], "--limit"),
        (["embed", "a", "o", "--dtype", "fp8"], "--dtype"),
        (["embed", "a", "o", "--run-date", "yesterday"], "output.run_date: "),
        (["embed", "only-one"], "Only one path was given: only-one. Give at least one source"),
        (["embed"], "hanclip embed SOURCE... OUT"),
        (["embed", "a", "o", "--config", "/no/such.yaml"], "Cannot read /no/such.yaml: No such file or directory"),
        (["embed", "a", "o", "--text-column", "t", "--drop-column", "t"], "drop_columns has t, which another option"),
        (["embed", "a", "o", "--prices", "prices.yaml"], "add --dry-run"),
        (["retry", "no-such-folder"], "There is no dataset at no-such-folder"),
        (["retry", "out", "--reason", "tired"], "'--reason': 'tired' is not one of"),
        (["verify"], "OUT"),
        (["report", "out", "--to", "no-such/page.html"], "no-such for page.html: make it, or correct the path"),
        (["report", "out", "--to", "/"], "/ is a folder: name a file in it"),
        (["search", "out", "x", "--html", "no-such/page.html"], "no-such for page.html: make it"),
        (["classify", "a", "--labels", "l", "--truth", "t", "--report", "none/r.json"], "none for r.json: make it"),
        (["classify", "a", "--labels", "l", "--elevater", "none/e.json", "--dataset-name", "e"], "none for e.json"),
        (["sync", "out", "no-such/points.db", "--to", "milvus"], "no-such for points.db: make it"),
        (["keys", "add", "no-such/keys.txt", "shop"], "no-such/keys.txt cannot be written: No such file or directory"),
        (["nonsense"], "nonsense"),
    ],
)
def test_usage_errors_exit_2_with_a_message_and_no_traceback(capfd, argv, message):
    code, out, err = hanclip(capfd, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_the_terminal_breaks_the_lines_of_the_help():
    helps = {name: command.help or "" for name, command in typer.main.get_command(app).commands.items()}
    paragraphs = {name: inspect.cleandoc(text).split("\n\n") for name, text in helps.items()}
    assert len(paragraphs["serve"]) == 3
    assert not {name for name, texts in paragraphs.items() if any("\n" in text for text in texts)}


def test_a_failure_is_a_json_line(capfd):
    code, out, err = hanclip(capfd, "status", "no-such-folder", "--json")
    assert (code, json.loads(out)) == (2, {"event": "error", "message": err[7:].strip(), "exit_code": 2})


@pytest.mark.parametrize("paths", [("https://u:hunter2@h/a.tar", "o"), ("a", "s3://key:hunter2@bucket/o")])
def test_a_password_in_a_url_is_refused_and_never_printed(paths):
    command = [str(Path(sys.executable).parent / "hanclip"), "embed", *paths, "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "give credentials in the environment instead" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
