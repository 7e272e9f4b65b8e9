"""Assigns roles (id, image, text, fingerprint) to a table's columns: by option, else by name in order of preference."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.sources.table.contract import TableColumns
from pipeline.sources.table.open import open_table
from pipeline.storage import ReadPolicy

ID_NAMES = ("id", "image_id", "item_id", "product_id", "sku", "uid", "uuid", "key", "__key__")
BYTES_NAMES = ("image", "image_bytes", "img", "img_bytes", "bytes", "jpg", "jpeg", "png", "webp", "picture", "photo")
URI_NAMES = (
    "image_url", "image_uri", "image_path", "image_file", "image", "img_url", "img_path", "img", "picture_url",
    "picture", "photo", "url", "uri", "path", "file", "file_name", "filename",
)  # fmt: skip
TEXT_NAMES = ("text", "caption", "title", "txt", "image_text", "item_title", "product_name", "description")


def resolve_columns(schema: pa.Schema, config: SourceConfig, uri: str) -> TableColumns:
    """The roles of a table's columns.

    Image bytes take precedence over image URIs, and earlier names in the lists above over later ones. The only binary
    column is the image, whatever its name.

    Raises:
        SourceError: a column named by an option is missing, or there is neither an image nor a text.
    """
    kinds = {column.name: column.type for column in schema}
    id_column = _named(config.id_column, kinds, "--id-column", uri) or _first(ID_NAMES, kinds, _is_name)
    image = _named(config.image_column, kinds, "--image-column", uri) or _image(kinds)
    text = _named(config.text_column, kinds, "--text-column", uri) or _first(TEXT_NAMES, kinds, _is_string)
    fingerprint = _named(config.fingerprint_column, kinds, "--fingerprint-column", uri)
    if image is None and text is None:
        raise SourceError(
            f"{uri} has no column for images and none for texts; it has {', '.join(kinds) or 'no columns'}. "
            "Name one with --image-column or --text-column."
        )
    if image and not (is_bytes(kinds[image]) or _is_string(kinds[image])):
        raise SourceError(
            f"The column {image} of {uri} holds {kinds[image]}, neither bytes nor URIs. "
            "Name another with --image-column."
        )
    return TableColumns(id_column, image, image is not None and not is_bytes(kinds[image]), text, fingerprint)


def columns_of(config: SourceConfig, container: str) -> TableColumns:
    """The roles of the columns of one table file. Raises SourceError and StorageError."""
    table = open_table(container, ReadPolicy.of(config))
    try:
        return resolve_columns(table.schema, config, container)
    finally:
        table.close()


def check_columns(columns: TableColumns, schema: pa.Schema, uri: str) -> None:
    """Raise `SourceError` unless this table has the columns found in the first one, with the same kind of image."""
    missing = [name for name in (*role_names(columns), columns.fingerprint) if name and name not in schema.names]
    if missing:
        raise SourceError(
            f"{uri} has no column {', '.join(missing)}, which other tables of the source have; "
            f"it has {', '.join(schema.names)}. Make the tables alike, or name columns that all have."
        )
    if columns.image and is_bytes(schema.field(columns.image).type) == columns.image_is_uri:
        raise SourceError(
            f"{uri} and the first table disagree whether {columns.image} holds bytes or URIs. Make them alike."
        )


def role_names(columns: TableColumns) -> list[str]:
    """Columns with a role, which are not carried as extra columns."""
    return [name for name in (columns.id, columns.image, columns.text) if name]


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds encoded images: binary, or Hugging Face's struct with `bytes`."""
    if pa.types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _image(kinds: dict[str, pa.DataType]) -> str | None:
    held = [name for name, kind in kinds.items() if is_bytes(kind)]
    only = held[0] if len(held) == 1 else None
    return _first(BYTES_NAMES, kinds, is_bytes) or only or _first(URI_NAMES, kinds, _is_string)


def _named(name: str | None, kinds: dict[str, pa.DataType], option: str, uri: str) -> str | None:
    if name is not None and name not in kinds:
        raise SourceError(f"{uri} has no column {name}; it has {', '.join(kinds)}. Correct {option}.")
    return name


def _first(names: Iterable[str], kinds: dict[str, pa.DataType], fits: Callable[[pa.DataType], bool]) -> str | None:
    lower = {name.lower(): name for name in reversed(kinds)}
    found = (lower[name] for name in names if name in lower)
    return next((name for name in found if fits(kinds[name])), None)


def _is_string(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_name(kind: pa.DataType) -> bool:
    return bool(_is_string(kind) or pa.types.is_integer(kind))
