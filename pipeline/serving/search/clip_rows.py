"""Rows as clip-retrieval's clients read them: with numbers as ids, and with its names for what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.serving.embedding import Embedded
from pipeline.serving.errors import ApiError, ErrorCode
from pipeline.serving.search.asked import AskedSearch
from pipeline.serving.search.numbers import NumberedIds
from pipeline.serving.search.scope import answer_columns
from pipeline.serving.search.searching import Searching

_IMAGE_URI, _TEXT = "image_uri", "text"
#: Columns of the source that these clients know by name.
_KNOWN = ("NSFW",)


class ClipRows:
    """The rows of a dataset. May be used by several threads."""

    def __init__(self, searching: Searching) -> None:
        self._searching, self._numbered = searching, NumberedIds(searching.dataset)
        there = answer_columns(searching.dataset)
        self._columns = [name for name in (_TEXT, _IMAGE_URI, *_KNOWN) if name in there]

    def nearest(self, asked: AskedSearch, embedded: Sequence[Embedded], described: int) -> list[dict[str, Any]]:
        """The rows that a search finds; of the first `described` also what is known of them.

        Raises:
            ApiError, StorageError, RunError: as `Searching.find`.
        """
        [hits] = self._found(asked, embedded)
        ids = [str(hit["id"]) for hit in hits]
        about = self._about(ids[:described])
        rows = zip(self._numbered.numbers(ids), ids, hits, strict=True)
        return [{**about.get(id_, {}), "id": number, "similarity": hit["similarity"]} for number, id_, hit in rows]

    def _found(self, asked: AskedSearch, embedded: Sequence[Embedded]) -> list[list[dict[str, Any]]]:
        """What is found; with its duplicates if nothing is known of them, since these clients cannot know."""
        try:
            return self._searching.find(asked, embedded).hits
        except ApiError as error:
            if error.code != ErrorCode.NO_GROUPS:
                raise
            wanted = asked.wanted.model_copy(update={"one_per_group": False})
            return self._searching.find(replace(asked, wanted=wanted), embedded).hits

    def metadata(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """What is known of the rows with these numbers, without those that are not there.

        Raises:
            StorageError, RunError: something cannot be read.
        """
        ids = self._searching.read(lambda _: self._numbered.ids(numbers))
        about = self._about(list(dict.fromkeys(ids.values())))
        rows = ((number, about.get(ids.get(number, ""))) for number in numbers)
        return [{"id": number, "metadata": known} for number, known in rows if known is not None]

    def _about(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is known of rows, by id."""
        found = self._searching.read(lambda opened: opened.rows.columns_of(ids, self._columns)) if ids else {}
        return {id_: _shown(row) for id_, row in found.items()}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row by clip-retrieval's names; what it lacks is left out."""
    uri = row.get(_IMAGE_URI)
    # A browser shows what is behind a URL, but not a member of an archive.
    place = "url" if str(uri).startswith(("http://", "https://")) and "#" not in str(uri) else "image_path"
    values = {
        "caption": row.get(_TEXT),
        place: uri,
        **{name: row.get(name) for name in _KNOWN},
        "hanclip_id": row["id"],
    }
    return {name: value for name, value in values.items() if value is not None}
