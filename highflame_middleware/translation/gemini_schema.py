"""Gemini's own dialect of schemas as JSON Schema: types in capitals, ``nullable``, counts written as texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["json_schema"]

_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_SPELLINGS: Mapping[str, str] = {
    "any_of": "anyOf",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
}
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties", "not"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def json_schema(schema: Any) -> Any:
    """JSON Schema that says the same; what is it already stays as it is.

    >>> json_schema({"type": "ARRAY", "items": {"type": "STRING", "nullable": True}, "minItems": "1"})
    {'type': 'array', 'items': {'type': ['string', 'null']}, 'minItems': 1}
    """
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for given, value in schema.items():
        key = _SPELLINGS.get(given, given)
        if key in ("nullable", "propertyOrdering"):
            continue
        out[key] = _read(key, value)
    if schema.get("nullable") is True:
        return _nullable(out)
    return out


def _read(key: str, value: Any) -> Any:
    if key == "type" and isinstance(value, str):
        return value.lower() if value.lower() in _TYPES else value
    if key in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if key == "properties" and isinstance(value, dict):
        return {name: json_schema(inner) for name, inner in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [json_schema(inner) for inner in value]
    return json_schema(value) if key in _SINGLE else value


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str):
        if "enum" in schema and isinstance(schema["enum"], list):
            schema["enum"] = [*schema["enum"], None]
        return {**schema, "type": [kind, "null"]}
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
