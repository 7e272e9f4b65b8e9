"""Encodes and decodes the `hanclip.*` metadata in Parquet footers: facts by name, as text."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIX = "hanclip."


def encode_footer(facts: Mapping[str, object]) -> dict[str, str]:
    """Footer metadata that holds `facts`."""
    return {_PREFIX + name: str(value) for name, value in facts.items()}


def decode_footer(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """The facts in the metadata of a Parquet file or an Arrow schema; entries of other software are left out."""
    own = {key.decode(): value for key, value in (metadata or {}).items() if key.startswith(_PREFIX.encode())}
    return {key.removeprefix(_PREFIX): value.decode() for key, value in own.items()}
