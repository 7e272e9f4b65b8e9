"""Says which files of a dataset may have been made from other pixels than the rest, or have other bits.

In: the makers of each file's rows, from its footer. Out: notes for people. Pixels that differ by one level, and vectors
that differ by rounding, are no corruption, and nothing in a file shows whether they do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pipeline.dataset.footer import UNKNOWN, are_exact, maker_values
from pipeline.images.preprocessing import deciding

_LABELS = {"resize": "The resize", "pillow": "Pillow's major version", "libjpeg": "libjpeg-turbo"}
_CURE = " To have one kind of pixels, embed the catalog again with another OUT."
_OPEN = (
    "made before hanclip fixed the order of the resize's passes, which then depended on the version of Pillow: up to a "
    "fifth of the values of tall pictures differ by one level since Pillow 13 (cosines of vectors by about 1e-6)."
)


def mixtures(makers: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """One note for each maker of pixels that differs between files; one if files do not name the rule of the resize."""
    files: dict[str, Counter[str]] = defaultdict(Counter)
    for one in makers:
        for name, joined in deciding(one).items():
            files[name].update(maker_values(joined))
    for name, found in files.items():
        if name == "resize" and found[UNKNOWN]:
            yield f"{found[UNKNOWN]:,} of {len(makers):,} files: {_OPEN}{_CURE if len(found) > 1 else ''}"
        known = sorted(value for value in found if value != UNKNOWN)
        if len(known) > 1:
            counts = ", ".join(f"{value} in {found[value]:,}" for value in known)
            yield f"{_LABELS[name]} differs between files: {counts}. Their pixels may differ by a few levels.{_CURE}"


def inexact(makers: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """A note if some files were made with --exact and others not, and one if machines computed other bits."""
    computed = [one for one in makers if maker_values(one["passes"])]
    exact = [one for one in computed if are_exact(one)]
    if exact and len(exact) < len(computed):
        yield (
            f"{len(exact):,} of {len(computed):,} files were made with --exact: vectors of the others may have other "
            "last bits. To have one kind, embed the catalog with --exact into another OUT."
        )
    bits = Counter(one["bits"] for one in exact)
    if len(bits) > 1:
        counts = ", ".join(f"{value} in {bits[value]:,}" for value in sorted(bits))
        yield (
            f"Machines that compute other bits made files with --exact: {counts}. Their footers name processors and "
            "versions. To have one kind, embed the catalog on machines of one kind into another OUT."
        )
