"""`hanclip model ...`: describe and convert models.

In: names as `--model` takes them. Out: tables or JSON lines on stdout. Only a conversion loads torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.terminal.json_lines import write_json
from flows.terminal.model_parts import settings
from flows.terminal.panels import panel
from flows.terminal.whole import print_table
from pipeline import units
from pipeline.config import ModelConfig
from pipeline.model.architecture import ResNet
from pipeline.model.card import Card, card
from pipeline.model.memory import BYTES, batch_bytes, default_rows
from pipeline.model.released import VARIANTS

_DTYPES = ("fp32", "bf16")


def show_list(as_json: bool) -> None:
    """Print the released models."""
    cards = [card(variant.name) for variant in VARIANTS]
    if as_json:
        for one in cards:
            write_json("model", _tree(one))
        return
    table = Table("name", "hub id", "image", "vector", "parameters", "weights", "here", box=None, pad_edge=False)
    for one in cards:
        image, size = f"{one.sizes.image_size} x {one.sizes.image_size}", units.size(one.parameters * BYTES["fp32"])
        here = "yes" if one.weights else "no"
        table.add_row(one.name, one.hub_id, image, str(one.sizes.dim), _millions(one.parameters), size, here)
    print_table(table)


def show(name: str, revision: str | None, context_length: int | None, as_json: bool) -> None:
    """Print one model."""
    one = card(name, revision, context_length)
    if as_json:
        write_json("model", _tree(one))
    else:
        print_table(panel(Text(name), _facts(one)))


def convert(source: ModelConfig, out: str, dry_run: bool, as_json: bool) -> None:
    """Write a model as a folder; `dry_run` only checks."""
    # keeps `model list` and `model show` light: these load torch
    from pipeline.model.checkpoints import resolve
    from pipeline.model.convert import check_source, check_target
    from pipeline.model.convert import convert as write

    folder = check_target(out)
    name = source.name
    with Console(stderr=True).status(Text(f"Reading {name}")):
        spec = resolve(source)
        check_source(spec)
        one = card(name, source.revision, source.context_length)
    if dry_run:
        sha256, size = None, one.parameters * BYTES["fp32"]
    else:
        with Console(stderr=True).status(Text(f"Converting {name} to {out}")):
            made = write(spec, folder)
        sha256, size = made.weights_sha256, (folder / made.weights_file).stat().st_size
    if as_json:
        about = {"source_sha256": spec.weights_sha256, "folder": str(folder), "weights_sha256": sha256}
        write_json("convert", {"dry_run": dry_run, "source": name, **about, "size_bytes": size, **_sizes(one)})
        return
    title = "plan (nothing was written)" if dry_run else "converted"
    lines = [*_towers(one), ("folder", f"{folder} ({units.size(size)}, float32)")]
    lines += [] if dry_run else [("sha256", sha256), ("next", f"hanclip embed photos/ out/ --model {out}")]
    print_table(panel(title, lines))


def _tree(one: Card) -> dict[str, Any]:
    """The card as plain values."""
    weights = asdict(one.weights) if one.weights else None
    memory = [
        {"dtype": dtype, "weights_bytes": one.parameters * BYTES[dtype], "batch_rows": rows, "batch_bytes": needed}
        for dtype, rows, needed in _memory(one)
    ]
    about = {"name": one.name, "hub_id": one.hub_id, "logit_scale": one.logit_scale}
    return {**about, **_sizes(one), "memory": memory, "weights": weights, "missing": one.missing}


def _sizes(one: Card) -> dict[str, Any]:
    return {
        "dim": one.sizes.dim,
        "image_size": one.sizes.image_size,
        "image_tokens": one.sizes.image_tokens,
        "context_length": one.context_length,
        "image_parameters": one.image_parameters,
        "text_parameters": one.text_parameters,
        "parameters": one.parameters,
        "config": one.sizes.config(),
    }


def _facts(one: Card) -> Iterator[tuple[str, object]]:
    if one.hub_id:
        yield "hub id", one.hub_id
    yield from _towers(one)
    yield "logit scale", "unknown until the model is loaded" if one.logit_scale is None else f"{one.logit_scale:.4g}"
    for dtype, rows, needed in _memory(one):
        weights = one.parameters * BYTES[dtype]
        each = f"{units.size(weights)} + {units.size(needed)} for a batch of {rows}"
        yield f"memory, {dtype}", f"{units.size(weights + needed)} = {each}"
    if one.weights is None:
        yield "weights", one.missing
        return
    held = one.weights
    at = f", commit {held.revision}" if held.revision else ""
    yield "weights", f"{held.path} ({units.size(held.size_bytes)}, {held.dtype}{at})"
    yield "sha256", held.sha256
    origin = "the released models'" if held.vocabulary_is_standard else "not the released models'"
    yield "vocabulary", f"{held.vocabulary} ({origin})"
    if held.adapter:
        yield "adapter", f"{held.adapter}, merged"
    yield from settings(held.parts)
    yield "model sha256", f"{held.model_sha256}, over all that feeds its vectors"


def _towers(one: Card) -> Iterator[tuple[str, object]]:
    sizes, text = one.sizes, one.sizes.text
    if isinstance(sizes.image, ResNet):
        tower = f"ResNet of {'+'.join(map(str, sizes.image.stages))} blocks"
    else:
        tower = f"ViT, {sizes.image.layers} layers, width {sizes.image.width}, {sizes.image.heads} heads"
    pixels = f"{sizes.image_size} x {sizes.image_size} pixels"
    yield "vector", f"{sizes.dim} numbers"
    yield "images", f"{tower}, {pixels}, {sizes.image_tokens} tokens, {_millions(one.image_parameters)} parameters"
    bert = f"BERT, {text.layers} layers, width {text.width}, {text.heads} heads"
    yield "texts", f"{bert}, {one.context_length} tokens, {_millions(one.text_parameters)} parameters"
    yield "parameters", f"{one.parameters:,}"


def _memory(one: Card) -> Iterator[tuple[str, int, int]]:
    """Dtype, batch size in images, and bytes per batch: on a CPU, then on a GPU."""
    for dtype, on_gpu in zip(_DTYPES, (False, True), strict=True):
        rows = default_rows(one.sizes.image_size, on_gpu)
        yield dtype, rows, batch_bytes(one.sizes, rows, dtype, one.context_length)


def _millions(count: int) -> str:
    return f"{count / 1e6:,.0f} M" if count >= 1e7 else f"{count / 1e6:,.1f} M"
