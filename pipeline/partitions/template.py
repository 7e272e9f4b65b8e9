"""Expands a source template into partitions, usually days, and computes digests of their options and input.

In: a `RunConfig` with `{date}`, `{date:%Y/%m/%d}` or `{key}` in its source addresses, and keys. Out: one `Partition`
per key, which is a separate run, and two digests of what it is made from, computed without opening an object. Manifests
(`pipeline.partitions.manifests`) store them, `pipeline.partitions.due` compares them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, SourceError, StorageError
from pipeline.sources.places.addresses import addresses, entries

PLACEHOLDER = re.compile(r"\{(date|key)(?::([^{}]*))?\}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,127}")
_BELOW_A_DAY = re.compile(r"%[-_0^#]?[HIMSTRXcfklprs]")
#: The options that decide the rows of a partition; timeouts and the number of actors do not.
_DECIDING: dict[str, set[str]] = {
    "source": {
        "format",
        "id_column",
        "image_column",
        "text_column",
        "fingerprint_column",
        "extra_columns",
        "limit",
        "max_image_bytes",
        "allow_private_hosts",
    },
    "image": {"max_pixels"},
    "model": {"name", "revision", "dtype"},
    "output": {"embedding_dtype"},
}
#: Options that came later: left out at their default, so that digests of earlier partitions stay the same.
_DECIDING_IF_SET: dict[str, set[str]] = {
    "source": {
        "drop_columns",
        "captions",
        "id_prefix",
        "unique_ids",
        "split",
        "records",
        "max_text_chars",
        "respect_robots_tag",
    },
    "image": {"accept_truncated"},
    "model": {"exact"},
}


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: its key, which is a valid file name, and the configuration of its run."""

    key: str
    config: RunConfig


def partitions(config: RunConfig, keys: Iterable[date | str]) -> list[Partition]:
    """One partition per key, in order, each key once.

    Args:
        config: the run, with a placeholder in every source address.
        keys: dates, or values of `{key}`; a value like 2026-11-01 is a date.

    Raises:
        ConfigError: an address has no placeholder, a date format is wrong, or a key is no file name or no date.
    """
    _check_template(config.source.uris)
    return [_partition(config, key) for key in dict.fromkeys(map(_parsed, keys))]


def fill(template: str, key: date | str) -> str:
    """`template` with its placeholders filled in; other braces (`{000..009}`) are left for the listing to expand."""

    def value(found: re.Match[str]) -> str:
        if found[1] == "key":
            return _name(key)
        if not isinstance(key, date):
            raise ConfigError(f"{key!r} is not a date, but {template} needs one: write {{key}}, or YYYY-MM-DD.")
        return key.strftime(found[2]) if found[2] else key.isoformat()

    return PLACEHOLDER.sub(value, template)


def _partition(config: RunConfig, key: date | str) -> Partition:
    uris = tuple(fill(uri, key) for uri in config.source.uris)
    # Partitions are parts of one source: an id that a later one repeats is a newer state of the record.
    source = config.source.model_copy(update={"uris": uris, "same_records": True})
    changes: dict[str, object] = {"source": source}
    if isinstance(key, date):
        changes["output"] = config.output.model_copy(update={"run_date": key})
    return Partition(_name(key), config.model_copy(update=changes))


def _parsed(key: date | str) -> date | str:
    if isinstance(key, date):
        return key
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", key):
        try:
            return date.fromisoformat(key)
        except ValueError as error:
            raise ConfigError(f"{key} is not a calendar date ({error}): correct it.") from error
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{key!r} cannot name a partition: use letters, digits and . _ = + -, 128 at most.")
    return key


def _name(key: date | str) -> str:
    return key.isoformat() if isinstance(key, date) else key


def _check_template(uris: Sequence[str]) -> None:
    for uri in uris:
        found = list(PLACEHOLDER.finditer(uri))
        if not found:
            raise ConfigError(
                f"{uri} has neither {{date}} nor {{key}}, so every partition would read the same: write for example "
                "s3://bucket/dt={date}/*.tar, or use hanclip embed."
            )
        wrong = [match[0] for match in found if match[2] is not None and _BELOW_A_DAY.search(match[2])]
        if wrong:
            raise ConfigError(f"{wrong[0]} in {uri} asks for a time of day, but partitions are days: remove it.")


def spec_digest(config: RunConfig) -> str:
    """Digest of a partition's options: 16 hex digits over those that decide its rows, `-`, 8 over its addresses."""
    tree = config.model_dump(mode="json", include=_DECIDING)
    for section, values in config.model_dump(mode="json", include=_DECIDING_IF_SET, exclude_defaults=True).items():
        tree[section] |= values
    places = [storage.normalise(uri) for uri in config.source.uris]
    return f"{_digest(tree)[:16]}-{_digest(places)[:8]}"


def same_options(one: str, other: str) -> bool:
    """Whether two spec digests have the same options, whatever their addresses."""
    return one.partition("-")[0] == other.partition("-")[0]


def same_places(one: str, other: str) -> bool:
    """Whether two spec digests have the same addresses; true if either has none."""
    first, second = one.partition("-")[2], other.partition("-")[2]
    return not (first and second) or first == second


def _digest(tree: object) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def input_digest(config: RunConfig) -> str:
    """16 hex digits over the source's objects (address, size, and etag or modification time); none is opened.

    A source without objects has a digest too. Images that a table refers to are not covered, since planning does not
    look at them either. Empty if the store fails, or does not report changes (a web server without etags and dates):
    then it is unknown whether the input changed, and the run itself reports the problem.
    """
    total = 0  # A sum is independent of the order, so the listing is never held in memory.
    try:
        for info in _objects(config.source.uris, config.output.uri):
            if info.fingerprint.endswith("-"):
                return ""
            entry = f"{info.uri}\0{info.size_bytes}\0{info.fingerprint}".encode("utf-8", "surrogatepass")
            total += int.from_bytes(hashlib.sha256(entry).digest()[:16])
    except StorageError:
        return ""
    return f"{total % 2**128:032x}"[:16]


def _objects(uris: Sequence[str], out: str) -> Iterator[storage.ObjectInfo]:
    """The objects at the addresses, without those that hanclip wrote."""
    found: dict[str, None] = {}
    for uri in uris:
        with suppress(SourceError):  # the pattern matches nothing
            found.update((address, None) for _, address in addresses([uri], out))
    for address in found:
        with suppress(SourceError):  # there is nothing at the address
            yield from entries(address, out)
