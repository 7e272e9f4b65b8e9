"""RunConfig: one frozen pydantic tree for YAML files, the command line and Prefect parameters.

Values are parsed here once and trusted inside. This is the only home of defaults and of help texts, which the command
line takes from these fields. Credentials have no field on purpose: they come from the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from pipeline.credentials import HEADER_WITHOUT_CREDENTIALS, WITHOUT_CREDENTIALS, refuse_credentials
from pipeline.credentials.headers import header_lines
from pipeline.errors import ConfigError
from pipeline.validation import AutoOrNumber, Options, excludes, validated
from pipeline.vocabulary import Captions, Dtype, Signal, SourceKind, TextOverflow, UniqueIds, signals_of
from pipeline.yaml_text import KeyPath, YamlText

DEFAULT_MODEL = "OFA-Sys/chinese-clip-vit-base-patch16"

#: Prefect stores the parameters of a run before the flow can refuse them, but checks the JSON schema before that.
_ADDRESS: JsonDict = {"pattern": WITHOUT_CREDENTIALS}
_ADDRESSES: JsonDict = {"items": {"type": "string", **_ADDRESS}}
_HEADERS: JsonDict = {"items": {"type": "string", "pattern": HEADER_WITHOUT_CREDENTIALS}}

PLAIN = AfterValidator(lambda address: address and refuse_credentials(address))  # no password, no signature
_WITHOUT_SECRETS = AfterValidator(lambda lines: tuple(header_lines(lines)))
_SIGNALS = AfterValidator(lambda names: names and signals_of(names))
EXACT_ALONE = excludes("batch_size", "compile", why="exact fixes the passes")
_ALL_PLAIN = AfterValidator(lambda addresses: tuple(map(refuse_credentials, addresses)))


class _Section(Options):
    # Errors leave inputs out, since a refused URL may carry a password.
    model_config = ConfigDict(hide_input_in_errors=True)


class SourceConfig(_Section):
    """Where records come from."""

    uris: Annotated[tuple[str, ...], _ALL_PLAIN] = Field(
        default=(), description="Folders, tars, tables; local paths, URLs, globs.", json_schema_extra=_ADDRESSES
    )
    format: Literal["auto", SourceKind] = Field(
        default="auto", description="How to read the source; auto looks at what it finds."
    )
    inventory: Annotated[str | None, PLAIN] = Field(
        default=None, description="List a bucket from this S3 Inventory: its manifest.json, or the folder of several."
    )
    split: str | None = Field(
        default=None, min_length=1, description="Chinese-CLIP data: the split to take, such as valid."
    )
    records: Literal["auto", "images", "texts", "pairs"] = Field(
        default="auto", description="Chinese-CLIP data: what a record is; auto is images, if there are any."
    )
    id_column: str | None = Field(default=None, description="Table column with the record's id.")
    image_column: str | None = Field(default=None, description="Table column with image bytes or image URIs.")
    text_column: str | None = Field(default=None, description="Table column with the text.")
    fingerprint_column: str | None = Field(
        default=None, description="Table column that changes when the image does (an etag, a time of change)."
    )
    extra_columns: tuple[str, ...] | None = Field(
        default=None, description="Other columns to carry through; all of them unless named."
    )
    drop_columns: tuple[str, ...] | None = Field(
        default=None, description="Columns to leave out, as if the source did not have them."
    )
    captions: Captions = Field(
        default="first",
        description="Several captions of an image: take the first, join them, or make a record of each (id#0, id#1).",
    )
    unique_ids: UniqueIds | None = Field(
        default=None,
        description="Make ids unique: container puts the name of the tar or table in front of each id, row puts name "
        "and row behind repeated ids.",
    )
    id_prefix: str | None = Field(
        default=None, min_length=1, description="Put this in front of each id: it tells the sources in one OUT apart."
    )
    same_records: bool = Field(default=False, description="Replace rows of other sources in OUT with equal ids.")
    limit: int | None = Field(default=None, ge=1, description="Take the first N records only.")
    whole_catalog: Annotated[bool, excludes("limit", why="the first N records are not the whole catalog")] = Field(
        default=False,
        description="The source is the whole catalog: ids that it no longer holds are recorded as gone.",
    )
    max_vanished: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="With a whole catalog: refuse to record a larger share of the ids as gone in one run.",
    )
    max_bad_containers: float = Field(
        default=0.5, ge=0, le=1, description="Refuse a source if a larger share of its tars or tables cannot be read."
    )
    max_image_bytes: int = Field(default=64 * 2**20, ge=1, description="Larger encoded images are quarantined unread.")
    max_text_chars: int = Field(
        default=1_000_000, ge=1, description="Records with a text of more characters are quarantined."
    )
    read_timeout_s: float = Field(default=30.0, gt=0, description="Deadline of one read attempt.")
    retry_timeout_s: float = Field(
        default=90.0, ge=0, description="How long a failing read of the source, or commit, is retried; listings: 90 s."
    )
    read_concurrency: int = Field(default=32, ge=1, description="Reads in flight per decoder.")
    allow_private_hosts: bool = Field(
        default=False, description="Let http(s) image URLs in tables point to private and loopback addresses."
    )
    http_headers: Annotated[tuple[str, ...], _WITHOUT_SECRETS] = Field(
        default=(),
        description="Header of http(s) requests, such as 'Referer: https://shop.example/'; a secret comes from the "
        "environment: 'Authorization: env:TOKEN', for one host 'Cookie@img.example: env:COOKIE'.",
        json_schema_extra=_HEADERS,
    )
    respect_robots_tag: bool = Field(
        default=False,
        description="Quarantine images of tables whose server sends X-Robots-Tag: noai, noimageai, noindex, "
        "noimageindex or none.",
    )

    @model_validator(mode="after")
    def _kept_or_dropped(self) -> Self:
        named = (self.id_column, self.image_column, self.text_column, self.fingerprint_column)
        both = sorted(set(self.drop_columns or ()) & {*named, *(self.extra_columns or ())} - {None})
        if both:
            raise ValueError(f"drop_columns has {', '.join(map(str, both))}, which another option names: remove one")
        return self


class ImageConfig(_Section):
    """Limits on images, and what is measured of them. The model fixes how they become pixels."""

    max_pixels: int = Field(default=100_000_000, ge=1, description="Images with more pixels are quarantined undecoded.")
    accept_truncated: bool = Field(
        default=False, description="Embed what decodes of a JPEG that ends too early; its missing part is grey."
    )
    signals: Annotated[tuple[str, ...] | None, _SIGNALS] = Field(
        default=None,
        description=f"Measure of each image, for filters: {', '.join(Signal)}, or all; if not given, what OUT has.",
    )


class ModelConfig(_Section):
    """Which model, and how it computes."""

    name: Annotated[str, PLAIN] = Field(
        default=DEFAULT_MODEL,
        description="Name (vit-b-16, rn50, ...), hub id, folder, weights file, URL, modelscope:ORG/NAME, or 'demo'.",
        json_schema_extra=_ADDRESS,
    )
    revision: str | None = Field(default=None, description="Hub commit, branch or tag.")
    weights_sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="Refuse weights with any other digest."
    )
    model_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Refuse a model with any other digest of all that feeds its vectors; `model show` prints it.",
    )
    context_length: int | None = Field(
        default=None,
        ge=3,
        le=512,
        description="Tokens of a text, as it was tuned; the model's own if not given, or 52.",
    )
    dtype: Dtype = Field(default="auto", description="Arithmetic: auto is bf16 where the hardware has it, else fp32.")
    batch_size: int | None = Field(default=None, ge=1, description="Records per forward pass; chosen if not given.")
    text_overflow: TextOverflow = Field(
        default="truncate",
        description="A text of more tokens than the model takes: cut it, average its windows, or put it in quarantine.",
    )
    compile: bool = Field(default=False, description="Run the towers through torch.compile.")
    exact: Annotated[bool, EXACT_ALONE] = Field(
        default=False,
        description="Give a record the same bits whatever shares its pass, here and in `hanclip serve`, by passes of "
        "one shape, which cost more time.",
    )


class OutputConfig(_Section):
    """What is written, and where to."""

    uri: Annotated[str, PLAIN] = Field(
        default="", description="Folder of the output dataset; local path or URL.", json_schema_extra=_ADDRESS
    )
    embedding_dtype: Literal["float32", "float16"] = Field(default="float32", description="Element type of vectors.")
    run_date: date | None = Field(default=None, description="Partition of this run's output; today (UTC) if not given.")
    shard_rows: int | None = Field(
        default=None,
        ge=256,
        le=8192,
        description="Aim at this many records a shard; chosen from the number of records to do.",
    )
    max_quarantine: float = Field(
        default=0.05, ge=0, le=1, description="Exit 3 when a larger share of the records is in quarantine."
    )


class ClusterConfig(_Section):
    """Which Ray cluster, and how many actors on it."""

    address: Annotated[str | None, PLAIN] = Field(
        default=None, description="Address of a Ray cluster; a local one starts if not given."
    )
    decoders: AutoOrNumber = Field(default="auto", description="CPU actors that read and decode; auto follows the run.")
    embedders: AutoOrNumber = Field(default="auto", description="Actors that run the model; auto follows the cluster.")
    gpus_per_embedder: float | None = Field(
        default=None, ge=0, description="GPUs each embedder asks for: 1 if the cluster has any, else 0."
    )
    inflight_bytes: int | None = Field(
        default=None, ge=2**20, description="Decoded pixels in flight; 30 % of Ray's object store if not given."
    )
    placement_timeout_s: float = Field(
        default=900.0, gt=0, description="Fail if the cluster has had no place for the actors for this long."
    )
    grace_s: float = Field(default=25.0, ge=0, description="Time to finish open shards after SIGTERM.")


class RunConfig(_Section):
    """One run: what `--print-config` writes and `--config` reads."""

    source: SourceConfig = Field(default_factory=SourceConfig)
    image: ImageConfig = Field(default_factory=ImageConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    output: OutputConfig = Field(default_factory=OutputConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)

    def to_yaml(self) -> str:
        """The whole tree as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse(tree: object, label: Callable[[KeyPath], str] = ".".join, name: str = "The configuration") -> RunConfig:
    """Validate a tree of plain values; a `ConfigError` names it by `name`, and every wrong key as `label` calls it."""
    return validated(RunConfig, tree, f"{name} is not valid", label=label)


def parse_text(file: YamlText) -> RunConfig:
    """Validate a file; a `ConfigError` names every wrong key with its line."""
    return parse(sections(file), file.label)


def sections(file: YamlText) -> dict[str, object]:
    """The sections of a configuration file, for `parse`. Raises ConfigError if it holds something else."""
    if not isinstance(file.tree, dict):
        raise ConfigError(f"{file.label(())} holds no mapping of sections. Write a valid one with --print-config.")
    return file.tree
