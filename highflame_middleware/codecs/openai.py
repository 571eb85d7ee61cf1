"""What the OpenAI formats share: tool definitions, parameters, errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..types import Stage
from .parts import Path, Text, leaves

__all__ = [
    "IDENTITIES",
    "OPAQUE",
    "error_body",
    "fail",
    "integer",
    "mapping",
    "number",
    "read_definitions",
    "read_unknown",
    "sequence",
    "stop_sequences",
    "string",
    "text_of",
]

# Keys whose strings are ids, enumerations, addresses or encoded blobs, never prose.
OPAQUE = frozenset(
    {
        "approval_request_id",
        "call_id",
        "container_id",
        "data",
        "detail",
        "document_url",
        "encrypted_content",
        "execution",
        "file_data",
        "file_id",
        "file_url",
        "filename",
        "format",
        "id",
        "image_url",
        "input_audio",
        "item_id",
        "mime_type",
        "name",
        "namespace",
        "object",
        "phase",
        "role",
        "server_label",
        "signature",
        "status",
        "thought_signature",
        "tool_call_id",
        "type",
    }
)
# The same for a body whose shape is not known, where hardly any key is beyond doubt.
IDENTITIES = frozenset({"id", "model", "object", "role", "type"})


def string(value: Any) -> str | None:
    """A string that is not empty, or nothing."""
    return value if isinstance(value, str) and value else None


def integer(value: Any) -> int | None:
    """An integer, or nothing."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """A number, or nothing."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one: what is not there has no fields."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any] | tuple[Any, ...]:
    """A JSON array, or an empty one."""
    return value if isinstance(value, list | tuple) else ()


def stop_sequences(value: Any) -> tuple[str, ...]:
    """The ``stop`` parameter: one string or several."""
    return (value,) if isinstance(value, str) else tuple(item for item in sequence(value) if isinstance(item, str))


def text_of(value: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """Every text below a value: a string, content parts, or a shape this library has never seen."""
    if isinstance(value, str):
        # As nearly all are.
        if value:
            yield Text(path, value, stage, role)
        return
    for place, found in leaves(value, path, OPAQUE):
        if found:
            yield Text(place, found, stage, role)


def read_unknown(value: Any) -> Iterator[Text]:
    """Every text of a reply, or of a stream's event, that is not in its API's shape."""
    for place, found in leaves(value, (), IDENTITIES):
        if found:
            yield Text(place, found, Stage.RESPONSE, "assistant")


def read_definitions(value: Any, path: Path) -> Iterator[Text]:
    """The descriptions in tool definitions and JSON schemas: text that the model reads as instruction."""
    for place, found in leaves(value, path, frozenset()):
        if found and place[-1] in ("description", "server_description"):
            yield Text(place, found, Stage.PROMPT, "tool_definition")


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": "highflame_error", "param": None, "code": code}}


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:
    """A stream event that the OpenAI clients raise as an error; no ``[DONE]`` follows it."""
    return None, error_body(message, code)
