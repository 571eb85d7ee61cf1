"""Reading JSON objects: strictly what a caller sends us, tolerantly what a service answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from json import JSONDecodeError, dumps, loads
from typing import Any, Literal

from ..errors import InvalidRequestError, InvalidResponseError

__all__ = [
    "Field",
    "dump",
    "flag_of",
    "list_of",
    "load",
    "number_of",
    "plain",
    "read_strictly",
    "table_of",
    "text_of",
    "texts_of",
    "unknown",
    "whole_of",
    "written",
]

Kind = Literal["text", "whole", "number", "flag", "texts", "table"]

_HALVES = re.compile("[\ud800-\udfff]")
_DEPTH = 64  # levels of what a caller puts into a request; what is deeper is sent as a string
_MOST = 2**63 - 1  # what Shield's integers hold


def dump(value: Any) -> bytes:
    """JSON as it is sent: halves of surrogate pairs, which UTF-8 does not have, become U+FFFD."""
    return _HALVES.sub("\ufffd", dumps(value, ensure_ascii=False, allow_nan=False)).encode()


def load(content: bytes) -> Any:
    """What JSON says; an `InvalidResponseError` for what is none, without a word of it."""
    try:
        return loads(content)
    except (JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise InvalidResponseError("Shield's answer is not JSON") from None


def plain(value: Any, depth: int = _DEPTH) -> Any:
    """A caller's value as JSON can carry it: what it cannot carry is written out, as its ``str``."""
    if value is None or isinstance(value, bool | str):
        return value if type(value) in (bool, str) or value is None else str(value)
    if isinstance(value, int):
        return int(value) if -_MOST <= value <= _MOST else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if depth <= 0:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {str(name): plain(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth - 1) for item in value]
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a caller's object whose __str__ raises is still only an argument
        return f"<{type(value).__name__}>"


def written(value: Any, *, omit: Iterable[str] = ()) -> dict[str, Any]:
    """A frozen value as Shield wants it: without what is null or empty.

    >>> from highflame_middleware.types import ModelContext
    >>> written(ModelContext(model="m", temperature=0.0))
    {'model': 'm', 'temperature': 0.0}
    """
    out: dict[str, Any] = {}
    for item in fields(value):
        found = getattr(value, item.name)
        if item.name in omit or found is None or (isinstance(found, tuple | Mapping) and not found):
            continue
        out[item.name] = plain(found)
    return out


# --- what a caller sends -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """What a field of a request must be. ``at_most`` bounds a number, or the items of a list."""

    kind: Kind
    required: bool = False
    one_of: tuple[str, ...] = ()
    at_most: float = _MOST


_TYPES: Mapping[Kind, tuple[type, ...]] = {
    "whole": (int,),
    "number": (int, float),
    "flag": (bool,),
    "table": (dict,),
}
_NAMES: Mapping[Kind, str] = {
    "text": "a string",
    "whole": "a whole number",
    "number": "a number",
    "flag": "true or false",
    "texts": "a list of strings",
    "table": "an object",
}


def read_strictly(payload: Mapping[str, Any], table: Mapping[str, Field], where: str = "") -> dict[str, Any]:
    """The fields of the table that a payload has; an `InvalidRequestError` names the first that is wrong."""
    found = {}
    for name, field in table.items():
        value, place = payload.get(name), f"{where}.{name}" if where else name
        if value is None:
            if field.required:
                raise InvalidRequestError(f"validation failed: {place} is required")
            continue
        found[name] = _checked(value, field, place)
    return found


def _checked(value: Any, field: Field, place: str) -> Any:
    kind, wrong = field.kind, InvalidRequestError(f"validation failed: {place} must be {_NAMES[field.kind]}")
    if kind == "text":
        if not isinstance(value, str):
            raise wrong
        if field.one_of and value not in field.one_of:
            raise InvalidRequestError(f"validation failed: {place} must be one of {', '.join(field.one_of)}")
        if field.required and not value:
            raise InvalidRequestError(f"validation failed: {place} must not be empty")
        return value
    if kind == "texts":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong
        if len(value) > field.at_most:
            raise InvalidRequestError(f"validation failed: {place} has more than {field.at_most:g} items")
        return tuple(value)
    if isinstance(value, bool) is not (kind == "flag") or not isinstance(value, _TYPES[kind]):
        raise wrong
    if isinstance(value, int | float) and not abs(value) <= field.at_most:  # NaN is not either
        raise InvalidRequestError(f"validation failed: {place} must be at most {field.at_most:g}")
    return value


# --- what a service answers --------------------------------------------------------------------------------------


def text_of(value: Any) -> str | None:
    """A string, or nothing."""
    return value if isinstance(value, str) else None


def number_of(value: Any) -> float | None:
    """A number that is one, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def whole_of(value: Any) -> int | None:
    """A number without its fraction, or nothing."""
    found = number_of(value)
    return None if found is None else int(found)


def flag_of(value: Any) -> bool:
    """Whether a flag is set."""
    return value is True


def texts_of(value: Any) -> tuple[str, ...]:
    """The strings of a list."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def table_of(value: Any) -> dict[str, Any]:
    """An object; empty for what is none."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def unknown(payload: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The fields that have no name here."""
    return {name: value for name, value in payload.items() if name not in set(known)}
