"""Describes the HTTP API: routes, bodies and answers.

In: `/openapi.json` of an application with every route, over a dataset without rows and without a model. Out: a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from actors.serving.application import searching
from docs.generate.markdown import code, page, paragraphs, prose, table
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.serving.access.gate import Gate
from pipeline.serving.access.rates import KeyRates
from pipeline.serving.app import create_app
from pipeline.serving.contract import Encoder, ModelCard
from pipeline.serving.settings import ServeSettings

PATH = "reference/api.md"
_DIM = 8
Schema = Mapping[str, Any]


def api_pages() -> dict[str, str]:
    """The page by its path on the site."""
    tree = openapi()
    routes = [
        part
        for path, methods in tree["paths"].items()
        for method, route in methods.items()
        for part in _route(f"{method.upper()} {path}", route, tree)
    ]
    lead = (
        "Routes, bodies and answers, as `GET /openapi.json` of a server has them. [The API](../serve.md) explains "
        "items, access, limits and errors."
    )
    return {PATH: page("HTTP API", lead, *routes)}


def openapi() -> dict[str, Any]:
    """The document of a server with a dataset, so that it has every route."""
    unmade = Identity(
        model="",
        revision=None,
        weights_sha256="",
        preprocessing="",
        dim=_DIM,
        has_images=True,
        has_texts=True,
        shard_rows=512,
    )
    settings = ServeSettings()
    with TemporaryDirectory() as folder:
        dataset = Dataset.open_or_create(str(Path(folder) / "out"), unmade)
        search = searching(dataset, settings.search.model_copy(update={"clip_back": True}))
        encoder = cast(Encoder, None)  # routes are described, and nothing is encoded
        app = create_app(encoder, ModelCard("", 0, {}, _DIM, 1), settings, Gate(None, KeyRates(None)), more=(search,))
    return app.openapi()


def _route(name: str, route: Schema, tree: Schema) -> Iterator[str]:
    yield f"## {code(name)}"
    yield paragraphs(route.get("description", route.get("summary", "")))
    if parameters := route.get("parameters"):
        yield "Parameters:"
        rows = [
            _field(one["name"], one["schema"] | _about(one), tree, one.get("required", False)) for one in parameters
        ]
        yield table(["parameter", "value"], rows)
    if body := route.get("requestBody"):
        yield "Body:"
        yield _fields(body["content"]["application/json"]["schema"], tree)
    answer = route["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
    if answer and (answered := _fields(answer, tree)):
        yield "Answer:"
        yield answered


def _about(parameter: Schema) -> dict[str, Any]:
    return {"description": parameter["description"]} if "description" in parameter else {}


def _fields(schema: Schema, tree: Schema) -> str:
    """A table of an object's fields; of a list those of its elements; nothing for other values."""
    schema = _found(schema, tree)
    if schema.get("type") == "array":
        schema = _found(schema["items"], tree)
    required = schema.get("required", ())
    rows = [_field(name, one, tree, name in required) for name, one in schema.get("properties", {}).items()]
    return table(["field", "value"], rows) if rows else ""


def _field(name: str, schema: Schema, tree: Schema, required: bool) -> list[str]:
    value = _value(schema, tree)
    if "default" in schema and schema["default"] not in (None, [], {}):
        value += f"; default {code(schema['default'])}"
    meaning = prose(schema.get("description", ""))
    return [code(name) + (" (required)" if required else ""), f"{meaning} ({value})" if meaning else value]


def _found(schema: Schema, tree: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    return cast(Schema, tree["components"]["schemas"][schema["$ref"].rpartition("/")[2]])


def _value(schema: Schema, tree: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        found = _found(schema, tree)
        return _object(found, tree) if "properties" in found else _value(found, tree)
    if "anyOf" in schema:
        parts = [_value(one, tree) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "enum" in schema:
        return " or ".join(map(code, schema["enum"]))
    if "const" in schema:
        return code(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_value(schema.get('items', {}), tree)}"
    if schema.get("type") == "object":
        return _object(schema, tree)
    return prose(str(schema.get("type", "any")))


def _object(schema: Schema, tree: Schema) -> str:
    """An object, with the names of its fields."""
    names = ", ".join(map(code, schema.get("properties", {})))
    return f"object of {names}" if names else "object"
