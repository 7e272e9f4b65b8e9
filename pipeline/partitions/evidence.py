"""Decides whether partitions without files are normal or a wrong address.

One day without files is normal. A template that never led to any file is a failure, and so is one whose folder has
disappeared. Files that were found before are remembered in the dataset: by the manifests of partitions, and by the
configuration of the newest run, which is stored only once its source had records.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, UsageError
from pipeline.partitions.manifests import PartitionState, newest_states
from pipeline.partitions.template import PLACEHOLDER, Partition, partitions, same_places, spec_digest
from pipeline.sources.places.nearby import describe, folder_exists


def vanished(template: Sequence[str]) -> str:
    """Why a template cannot have partitions: the folder above its placeholders does not exist. Empty if it does.

    Raises:
        StorageError: the store does not answer.
    """
    gone = next((folder for folder in map(storage.fixed_folder, template) if not folder_exists(folder)), "")
    if not gone:
        return ""
    return (
        f"The folder of all partitions, {storage.printable(gone)}, does not exist: correct the address or restore it."
    )


def never_found(template: RunConfig, empty: Sequence[Partition]) -> str:
    """Why partitions that are all `empty` are a failure; empty if the template led to files before.

    Args:
        template: the configuration with placeholders in its addresses.
        empty: the partitions without files, at least one.

    Raises:
        StorageError: the dataset cannot be read.
    """
    out = template.output.uri
    if any(_led_to_files(state, template) for state in newest_states(out)) or _planned(template):
        return ""
    newest = max(empty, key=lambda partition: partition.key)
    others = f" and {len(empty) - 1:,} more partitions" if len(empty) > 1 else ""
    about = " ".join(filter(None, map(describe, newest.config.source.uris)))
    return (
        f"Nothing was ever found at {', '.join(map(storage.printable, template.source.uris))}: no files for "
        f"{newest.key}{others}, and no earlier run of {storage.printable(out)} found any. {about} Correct the address; "
        "once it has led to files, partitions without files are normal."
    )


def _led_to_files(state: PartitionState, template: RunConfig) -> bool:
    """Whether the last run of a partition found files at its address by this template."""
    if state.status != "done" and not state.rows:
        return False
    try:
        [partition] = partitions(template, [state.key])
    except ConfigError:
        return False  # the key of another kind of template
    return same_places(state.spec, spec_digest(partition.config))


def _planned(template: RunConfig) -> bool:
    """Whether the newest run of the dataset read addresses of this template."""
    from pipeline.dataset.history import latest_config  # keeps a backfill light: it brings Arrow's datasets

    try:
        found = latest_config(template.output.uri).source.uris
    except UsageError:
        return False
    wanted = template.source.uris
    return len(found) == len(wanted) and all(map(_is_filled, wanted, found))


def _is_filled(template: str, uri: str) -> bool:
    fixed = PLACEHOLDER.sub("\0", storage.normalise(template)).split("\0")
    return re.fullmatch(".+".join(map(re.escape, fixed)), storage.normalise(uri)) is not None
