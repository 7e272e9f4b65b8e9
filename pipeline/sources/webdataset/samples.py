"""Makes samples of the members of a tar, also of members that are apart or are links.

In: runs of members with one key. Out: samples, with the place of their image and text. In a plain tar the parts of a
sample may be apart (`a.jpg b.jpg a.txt b.txt`), and a link stands for the member that it points to. The URI of such a
part has its place, `tar#member@offset+bytes`, so the reader needs no index of the tar.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.records import Record
from pipeline.sources.webdataset.tar import Member

_PLACED = re.compile(r"(.*)@(\d+)\+(\d+)", re.DOTALL)
_MOST_LINKS = 8


class MemberPlace(NamedTuple):
    """Where a member is in its tar: headers and content. A link has a target instead, until it is resolved."""

    name: str
    offset: int
    size_bytes: int
    target: str | None = None

    def uri(self, tar: str) -> str:
        """The address of a member outside of its sample's span."""
        return f"{tar}#{self.name}@{self.offset}+{self.size_bytes}"


@dataclass(slots=True)
class Sample:
    """One sample: a span of the tar, in which its parts are unless they have another place."""

    key: str
    position: int
    size_bytes: int
    image: MemberPlace | None
    text: MemberPlace | None
    has_columns: bool

    def image_uri(self, tar: str) -> str | None:
        """`tar#member`, with its place if it is outside of the span."""
        if self.image is None:
            return None
        return f"{tar}#{self.image.name}" if self._holds(self.image) else self.image.uri(tar)

    def text_uri(self, tar: str) -> str | None:
        """The place of the text, if it is outside of the span."""
        return None if self.text is None or self._holds(self.text) else self.text.uri(tar)

    def _holds(self, part: MemberPlace) -> bool:
        return self.position <= part.offset < self.position + self.size_bytes


def sample_of(parts: Sequence[Member]) -> Sample | None:
    """The sample of consecutive members with one key; None if no part is an image, a text or columns."""
    image = _image_of(parts)
    text = next((part for part in parts if part.suffix == "txt"), None)
    has_columns = any(part.suffix == "json" and part.target is None for part in parts)
    if not (image or text or has_columns):
        return None
    first, last = parts[0], parts[-1]
    return Sample(first.key, first.offset, last.end - first.offset, _place(image), _place(text), has_columns)


def whole(samples: list[Sample], dangling: Callable[[str], None]) -> list[Sample]:
    """The samples of a whole plain tar, with links resolved and parts that are apart joined.

    Args:
        samples: in order.
        dangling: called with the name of each link that leads to no image or text of the tar.
    """
    linked = [sample for sample in samples if _has_link(sample)]
    if linked:
        found = {part.name: part for sample in samples for part in (sample.image, sample.text) if part}
        for sample in linked:
            sample.image = _resolved(sample.image, found, dangling)
            sample.text = _resolved(sample.text, found, dangling)
        samples = [sample for sample in samples if sample.image or sample.text or sample.has_columns]
    return list(_joined(samples)) if len({sample.key for sample in samples}) < len(samples) else samples


def apart(samples: Sequence[Sample]) -> str | None:
    """The key of a sample whose parts are not next to each other; None if there is none."""
    if len({sample.key for sample in samples}) == len(samples):
        return None
    return next((some[0].key for some in _runs(samples) if _complete_each_other(some)), None)


def elsewhere(record: Record) -> dict[str, MemberPlace]:
    """The places of the parts of a planned record that are outside of its span, by kind: `image`, `txt`."""
    places = {"image": _parsed(record.image_uri, record), "txt": _parsed(record.text_uri, record)}
    return {kind: place for kind, place in places.items() if place}


def _parsed(uri: str | None, record: Record) -> MemberPlace | None:
    """The place in a URI. No image's and no text's name ends like one."""
    placed = _PLACED.fullmatch(uri.removeprefix(f"{record.container}#")) if uri else None
    return MemberPlace(placed[1], int(placed[2]), int(placed[3])) if placed else None


def _place(part: Member | None) -> MemberPlace | None:
    return MemberPlace(part.name, part.offset, part.end - part.offset, part.target) if part else None


def _image_of(parts: Iterable[Member]) -> Member | None:
    """The member that is the image: `<key>.jpg` before `<key>.large.jpg`, the first of several."""
    plain = (part for part in parts if part.suffix in IMAGE_SUFFIXES)
    dotted = (part for part in parts if part.suffix.rpartition(".")[2] in IMAGE_SUFFIXES)
    return next(plain, None) or next(dotted, None)


def _has_link(sample: Sample) -> bool:
    return any(part is not None and part.target is not None for part in (sample.image, sample.text))


def _resolved(
    part: MemberPlace | None, found: dict[str, MemberPlace], dangling: Callable[[str], None]
) -> MemberPlace | None:
    end = part
    for _ in range(_MOST_LINKS):
        if end is None or end.target is None:
            break
        end = found.get(end.target)
    if part is not None and (end is None or end.target is not None):
        dangling(part.name)
        return None
    return end


def _joined(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Runs with one key become one sample if they complete each other; otherwise each stays one."""
    for some in _runs(samples):
        yield from [_join(some)] if _complete_each_other(some) else some


def _runs(samples: Sequence[Sample]) -> Iterable[list[Sample]]:
    """The samples by key."""
    runs: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        runs[sample.key].append(sample)
    return runs.values()


def _complete_each_other(runs: Sequence[Sample]) -> bool:
    """Whether several runs hold at most one image, one text and one set of columns."""
    if len(runs) == 1:
        return False
    images, texts = sum(run.image is not None for run in runs), sum(run.text is not None for run in runs)
    return max(images, texts, sum(run.has_columns for run in runs)) == 1


def _join(runs: Sequence[Sample]) -> Sample:
    """One sample, in whose span are the columns, which have no address of their own."""
    main = next((run for run in runs if run.has_columns), runs[0])
    image = next((run.image for run in runs if run.image), None)
    text = next((run.text for run in runs if run.text), None)
    return Sample(main.key, main.position, main.size_bytes, image, text, main.has_columns)
