"""Assigns roles (id, image, text, fingerprint) to a table's columns: by option, else by name in order of preference.

Names are compared without regard to case and to blanks around them. A type that a role cannot have is an error before
anything is embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import ImageError, SourceError, did_you_mean
from pipeline.images.opening import pixel_count
from pipeline.sources.extra import is_plain
from pipeline.sources.table.cells import image_of
from pipeline.sources.table.contract import TableColumns, TableFile
from pipeline.sources.table.open import open_table
from pipeline.storage import ReadPolicy
from pipeline.vocabulary import Reason

ID_NAMES = ("id", "image_id", "item_id", "product_id", "sku", "uid", "uuid", "key", "__key__")
BYTES_NAMES = (
    "image", "image_bytes", "img", "img_bytes", "bytes", "jpg", "jpeg", "png", "webp", "picture", "photo", "images",
)  # fmt: skip
URI_NAMES = (
    "image_url", "image_uri", "image_path", "image_file", "image", "img_url", "img_path", "img", "picture_url",
    "picture", "photo", "url", "uri", "path", "file", "file_name", "filename", "images", "image_urls", "image_paths",
)  # fmt: skip
TEXT_NAMES = ("text", "caption", "title", "txt", "image_text", "item_title", "product_name", "description", "captions")

#: Names that mean nothing else: if no column fits better, one of such a name is taken, and refused if it cannot be
#: what it is called.
_PLAIN_IDS, _PLAIN_IMAGES, _PLAIN_TEXTS = ("id",), ("image", "images", "image_url", "image_path", "url"), TEXT_NAMES[:2]
_PEEK_ROWS, _PEEK_IMAGES = 128, 8
_MOST_PIXELS = 100_000_000

_Kinds = Mapping[str, pa.DataType]
_Fits = Callable[[pa.DataType], bool]


def resolve_columns(table: TableFile, config: SourceConfig, uri: str) -> TableColumns:
    """The roles of a table's columns.

    Image bytes take precedence over image URIs, and earlier names in the lists above over later ones. A column of
    bytes under any other name is the image if it is the only one and its first values are images.

    Raises:
        SourceError: a column named by an option is missing or its type does not fit, there is neither an image nor a
            text, or it is unclear which column is the image.
    """
    kinds = {name: kind for name, kind in table.written.items() if name not in (config.drop_columns or ())}
    id_column = _named(config.id_column, kinds, "--id-column", uri)
    id_column = id_column or _first(ID_NAMES, kinds, _is_name) or _first(_PLAIN_IDS, kinds, _not_null)
    image = _named(config.image_column, kinds, "--image-column", uri) or _image(table, kinds, uri)
    text = _named(config.text_column, kinds, "--text-column", uri) or _text(kinds)
    fingerprint = _named(config.fingerprint_column, kinds, "--fingerprint-column", uri)
    found = TableColumns(
        id_column,
        image or _first(_PLAIN_IMAGES, kinds, _not_null),
        image is not None and not is_bytes(kinds[image]),
        text or _first(_PLAIN_TEXTS, kinds, _not_null),
        fingerprint,
    )
    if found.image is None and found.text is None:
        raise SourceError(
            f"{uri} has no column for images and none for texts; it has {', '.join(kinds) or 'no columns'}. "
            "Name one with --image-column or --text-column."
        )
    _check_types(found, kinds, uri)
    return found


def columns_of(config: SourceConfig, container: str) -> TableColumns:
    """The roles of the columns of one table file. Raises SourceError and StorageError."""
    table = open_table(container, ReadPolicy.of(config))
    try:
        return resolve_columns(table, config, container)
    finally:
        table.close()


def check_columns(columns: TableColumns, kinds: _Kinds, uri: str) -> None:
    """Raise `SourceError` unless this table has the columns found in the first one, with the same kind of image."""
    missing = [name for name in (*role_names(columns), columns.fingerprint) if name and name not in kinds]
    if missing:
        raise SourceError(
            f"{uri} has no column {', '.join(missing)}, which other tables of the source have; "
            f"it has {', '.join(kinds)}. Make the tables alike, or name columns that all have."
        )
    _check_types(columns, kinds, uri)
    if columns.image and is_bytes(kinds[columns.image]) == columns.image_is_uri:
        raise SourceError(
            f"{uri} and the first table disagree whether {columns.image} holds bytes or URIs. Make them alike."
        )


def role_names(columns: TableColumns) -> list[str]:
    """Columns with a role, which are not carried as extra columns."""
    return [name for name in (columns.id, columns.image, columns.text) if name]


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds encoded images: binary, Hugging Face's struct of `bytes` and `path`, lists of either."""
    if pa.types.is_struct(kind):
        return any(kind.field(place).name in {"bytes", "path"} for place in range(kind.num_fields))
    if _is_list(kind):
        return is_bytes(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _check_types(columns: TableColumns, kinds: _Kinds, uri: str) -> None:
    wanted: tuple[tuple[str, str | None, _Fits, str], ...] = (
        ("id", columns.id, is_plain, "texts or numbers"),
        ("image", columns.image, _is_image, "neither bytes nor URIs"),
        ("text", columns.text, lambda kind: is_plain(_element(kind)), "texts or lists of texts"),
        ("fingerprint", columns.fingerprint, is_plain, "texts, numbers or times"),
    )
    for role, name, fits, needed in wanted:
        if name and not fits(kinds[name]):
            fault = needed if needed.startswith("neither") else f"not {needed}"
            raise SourceError(
                f"The column {name} of {uri} holds {_shown(kinds[name])}, {fault}. Name another with --{role}-column, "
                "write it as text, or leave it out with --drop-column."
            )


def _image(table: TableFile, kinds: _Kinds, uri: str) -> str | None:
    by_name = _first(BYTES_NAMES, kinds, is_bytes)
    if by_name:
        return by_name
    written = _first(URI_NAMES, kinds, _is_string) or _first(URI_NAMES, kinds, _is_address)
    held = [name for name, kind in kinds.items() if is_bytes(kind)]
    if len(held) != 1:
        return written
    looks = _looks_like_images(table, held[0])
    if looks is False and not written and _plain(held[0]) in _PLAIN_IMAGES:
        raise SourceError(
            f"The column {held[0]} of {uri} holds bytes that are no images. Write addresses as text, name another with "
            "--image-column, or leave it out with --drop-column."
        )
    if looks is None and written:
        raise SourceError(
            f"{uri} has bytes in {held[0]} and addresses in {written}, and the first {_PEEK_ROWS} rows have no bytes. "
            f"Choose the images with --image-column {held[0]} or --image-column {written}."
        )
    return written if looks is False else held[0]


def _looks_like_images(table: TableFile, name: str) -> bool | None:
    """Whether one of the first values of a column is an image; None if there are no values."""
    found = list(islice(_first_values(table, name), _PEEK_IMAGES))
    return any(map(_begins_like_an_image, found)) if found else None


def _first_values(table: TableFile, name: str) -> Iterator[bytes]:
    # The contract promises an iterator, which closes its file as a generator does.
    rows: Any = table.rows(0, [name])
    with closing(rows):
        for row in islice(rows, _PEEK_ROWS):
            with suppress(ValueError):
                if data := image_of(row.value.values([name], ()).cells[name]).data:
                    yield data


def _begins_like_an_image(data: bytes) -> bool:
    """By its header: while a run is planned, no pixel is decoded, however many there are."""
    try:
        pixel_count(data, _MOST_PIXELS)
    except ImageError as error:
        return error.reason != Reason.NOT_AN_IMAGE
    return True


def _text(kinds: _Kinds) -> str | None:
    several = _first(TEXT_NAMES, kinds, _is_address)
    return _first(TEXT_NAMES, kinds, _is_string) or several


def _named(name: str | None, kinds: _Kinds, option: str, uri: str) -> str | None:
    """The column that an option names, exactly or, if only one column has it, in another case."""
    if name is None or name in kinds:
        return name
    alike = [known for known in kinds if _plain(known) == _plain(name)]
    if len(alike) == 1:
        return alike[0]
    maybe = did_you_mean(name, kinds)
    raise SourceError(f"{uri} has no column {name}; it has {', '.join(kinds)}. {maybe}Correct {option}.")


def _first(names: Iterable[str], kinds: _Kinds, fits: _Fits) -> str | None:
    by_plain = {_plain(name): name for name in reversed(list(kinds))}
    found = (by_plain[name] for name in names if name in by_plain)
    return next((name for name in found if fits(kinds[name])), None)


def _plain(name: str) -> str:
    return name.strip().lower()


def _shown(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_list(kind: pa.DataType) -> bool:
    return hasattr(kind, "value_type") and pa.types.is_nested(kind) and not pa.types.is_map(kind)


def _element(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if _is_list(kind) else kind


def _is_image(kind: pa.DataType) -> bool:
    return is_bytes(kind) or _is_address(kind) or pa.types.is_null(kind)


def _is_address(kind: pa.DataType) -> bool:
    """Texts, or lists of texts; also lists that are all empty so far."""
    return _is_string(_element(kind)) or (_is_list(kind) and pa.types.is_null(_element(kind)))


def _not_null(kind: pa.DataType) -> bool:
    return not pa.types.is_null(kind)


def _is_string(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_name(kind: pa.DataType) -> bool:
    return bool(_is_string(kind) or pa.types.is_integer(kind))
