"""Shapes of bodies and answers for `/openapi.json`.

Bodies are read by hand, whatever their Content-Type, so FastAPI does not see their shapes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from pipeline.serving.border.bodies import Body

_URL = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
_TEXT = {"title": "Text", "type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
_IMAGE = {
    "title": "Image",
    "type": "object",
    "description": "An http(s) URL, a data URI, or base64. OpenAI's parts have image_url, Jina's objects image.",
    "properties": {"image": {"type": "string"}, "image_url": {"anyOf": [_URL, {"type": "string"}]}},
}
_ANY_ITEM = {"anyOf": [{"type": "string"}, _TEXT, _IMAGE]}


def _items(one: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})


def items_or(*others: dict[str, Any]) -> WithJsonSchema:
    """The schema of a text, an image or one of `others`, or a list of them."""
    return _items({"anyOf": [*_ANY_ITEM["anyOf"], *others]})


#: An item or a list of them; plain strings are texts.
AnyItems = Annotated[Any, _items(_ANY_ITEM)]
#: The same; plain strings are addresses of images.
ImageItems = Annotated[Any, _items({"anyOf": [{"type": "string"}, _IMAGE]})]
TextItems = Annotated[Any, _items({"anyOf": [{"type": "string"}, _TEXT]})]
OneItem = Annotated[Any, WithJsonSchema(_ANY_ITEM)]
OneImage = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, _IMAGE]})]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class ErrorDetail(_Answer):
    """What is wrong, and the cure."""

    message: str
    type: str
    param: str | None = Field(default=None, description="The field or item, such as input[3].")
    code: str | None = Field(default=None, description="One word for programs, such as not_an_image.")


class ErrorObject(_Answer):
    """OpenAI's error object."""

    error: ErrorDetail


class ModelObject(_Answer):
    """A model, with what its vectors follow from."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    hanclip: dict[str, Any]


class ModelList(_Answer):
    """The models of this server."""

    object: str = "list"
    data: list[ModelObject]


class Usage(_Answer):
    """Tokens of texts, number of images, and of texts of which only a part was read."""

    prompt_tokens: int
    total_tokens: int
    images: int
    texts_cut: int


def answers(model: type[BaseModel]) -> dict[str, Any]:
    """Keywords of a route that answers with `model`."""
    return {
        "response_model": None,
        "responses": {200: {"model": model}, "4XX": {"model": ErrorObject}, "5XX": {"model": ErrorObject}},
    }


def with_keys(tree: dict[str, Any], open_paths: Iterable[str]) -> dict[str, Any]:
    """The description of a server, changed to that of one that asks for keys everywhere but at `open_paths`."""
    tree["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    tree["security"] = [{"key": []}]
    for path in open_paths:
        for route in tree["paths"][path].values():
            route["security"] = []
    return tree


def _inlined(body: type[Body]) -> Any:
    """The schema of a body with its ignored fields, and without references, which FastAPI would not resolve."""
    schema = body.model_json_schema()
    schema["properties"] |= {name: {"description": "Changes nothing here."} for name in sorted(body.ignored)}
    parts = schema.pop("$defs", {})

    def resolved(tree: Any) -> Any:
        if isinstance(tree, dict):
            whole = parts[tree["$ref"].rpartition("/")[2]] if "$ref" in tree else tree
            return {name: resolved(value) for name, value in whole.items()}
        return [resolved(value) for value in tree] if isinstance(tree, list) else tree

    return resolved(schema)


def exchange(body: type[Body], model: type[BaseModel]) -> dict[str, Any]:
    """Keywords of a route that takes `body` and answers with `model`."""
    content = {"application/json": {"schema": _inlined(body)}}
    return {**answers(model), "openapi_extra": {"requestBody": {"required": True, "content": content}}}
