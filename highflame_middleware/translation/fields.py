"""What the translators share: reading JSON that may be of any shape, and keeping what only one format has.

``extra`` of a value holds fields by the format that they belong to, so that a
writer puts back its own and can name those of another that it leaves out. How a
value was written (a string, or a list of one part) is its *form*: kept beside
the fields, it is nothing that could be lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..codecs.parts import dump_json

__all__ = [
    "NOTHING",
    "boolean",
    "dump",
    "foreign",
    "form_of",
    "integer",
    "keep",
    "kept",
    "load_object",
    "mapping",
    "number",
    "sequence",
    "string",
    "without",
]

NOTHING: Mapping[str, Any] = MappingProxyType({})
_FORM = "~"


def keep(name: str, fields: Mapping[str, Any] = NOTHING, *, form: Any = None) -> Mapping[str, Any]:
    """An ``extra``: the fields that only the format ``name`` has, and the form in which it wrote the value.

    >>> dict(keep("openai-chat", {"logprobs": True}, form="list"))
    {'openai-chat': {'logprobs': True}, 'openai-chat~': 'list'}
    """
    extra: dict[str, Any] = {}
    if fields:
        extra[name] = dict(fields)
    if form is not None:
        extra[name + _FORM] = form
    return extra or NOTHING


def kept(name: str, extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of the format ``name`` in an ``extra``."""
    return mapping(extra.get(name))


def form_of(name: str, extra: Mapping[str, Any]) -> Any:
    """The form in which the format ``name`` wrote a value, or nothing where another wrote it."""
    return extra.get(name + _FORM)


def foreign(name: str, extra: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of other formats than ``name`` in an ``extra``: what a writer of that format leaves out.

    Null is nothing.

    >>> foreign("gemini", keep("openai-chat", {"logprobs": True}, form="list"))
    ('logprobs',)
    """
    theirs = (fields for key, fields in extra.items() if key != name and not key.endswith(_FORM))
    found = (item for fields in theirs for item in mapping(fields).items())
    return tuple(field for field, value in found if value is not None)


def without(fields: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """An object's fields but for some."""
    known = frozenset(keys)
    return {key: value for key, value in fields.items() if key not in known}


def string(value: Any) -> str | None:
    """A string, or nothing."""
    return value if isinstance(value, str) else None


def integer(value: Any) -> int | None:
    """An integer, or nothing."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """A number as it stands, or nothing."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def boolean(value: Any) -> bool | None:
    """A truth value, or nothing."""
    return value if isinstance(value, bool) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one: what is not there has no fields."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any] | tuple[Any, ...]:
    """A JSON array, or an empty one."""
    return value if isinstance(value, list | tuple) else ()


def dump(value: Any) -> str:
    """JSON text, as a tool's arguments are written."""
    return dump_json(value).decode()


def load_object(text: str) -> dict[str, Any] | None:
    """The object that a JSON text is, or nothing where it is none: what a model writes need not be JSON."""
    try:
        value = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
