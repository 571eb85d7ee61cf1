"""Making a question of what a caller gives: a request, its fields by name, or both. Pure.

Whatever is wrong with it is an `InvalidRequestError` before anything is sent.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from ..contexts import FileContext, McpContext, ModelContext, ToolContext
from ..errors import InvalidRequestError
from ..types import GuardRequest, Mode
from .wire import CONTENT_TYPES, tool_content

__all__ = ["prompt_of", "refuse_unknown", "request_of", "seconds_of", "tool_call_of"]

_LONGEST = 600.0  # seconds that a call may take


def prompt_of(content: str, given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "content": content, "content_type": "prompt", "action": "process_prompt"}


def tool_call_of(tool_name: str, arguments: Mapping[str, Any] | None, given: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(tool_name, str) or not isinstance(arguments, Mapping | None):
        raise InvalidRequestError("a tool call is a name, and a mapping of arguments by name")
    return {
        **given,
        "content": tool_content(arguments),
        "content_type": "tool_call",
        "action": "call_tool",
        "tool": ToolContext(name=tool_name, arguments=dict(arguments or {})),
    }


def request_of(request: GuardRequest | None, given: Mapping[str, Any]) -> GuardRequest:
    """The question; what is given by name counts before what a request says.

    >>> request_of(GuardRequest(content="x"), {"session_id": "s", "mode": "monitor"}).mode
    <Mode.MONITOR: 'monitor'>
    """
    if not isinstance(request, GuardRequest | None):
        raise InvalidRequestError(
            f"the request is {type(request).__name__}: give a GuardRequest, or its fields by name"
        )
    refuse_unknown(given, [item.name for item in fields(GuardRequest)], "a GuardRequest")
    found = {name: value for name, value in given.items() if value is not None}
    if request is None and not {"content", "content_type", "action"} <= found.keys():
        raise InvalidRequestError("give a GuardRequest, or content=, content_type= and action=")
    for name, read in _READERS.items():
        if name in found:
            found[name] = read(found[name])
    if request is None:
        asked = GuardRequest(**found)
    else:
        # Where the text stands follows from what it is: it is not the other's any more.
        asked = replace(request, **{**({"stage": None} if "content_type" in found else {}), **found})
    _check(asked)
    return asked


def _check(asked: GuardRequest) -> None:
    for name in ("content", "content_type", "action"):
        if not isinstance(getattr(asked, name), str):
            raise InvalidRequestError(f"{name} must be a string")
    if not asked.content:
        raise InvalidRequestError(
            "content must not be empty: Shield refuses an empty text, so do not ask about one"
        )
    if asked.content_type not in CONTENT_TYPES:
        raise InvalidRequestError(f"content_type must be one of {', '.join(CONTENT_TYPES)}")
    if not isinstance(asked.session_id, str | None):
        raise InvalidRequestError("session_id must be a string")


def seconds_of(value: Any) -> float:
    """A timeout, which every call has.

    >>> seconds_of(2)
    2.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST:
        raise InvalidRequestError(
            f"timeout={value!r} cannot be used: give seconds above 0, at most {_LONGEST:g}; every wait is bounded"
        )
    return float(value)


def refuse_unknown(given: Mapping[str, Any], known: Iterable[str], whose: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
            raise InvalidRequestError(f"{name!r} is no field of {whose}: {hint}")


def _context(kind: type[Any], value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{type(value).__name__} is no {kind.__name__}: give one, or its fields")
    try:
        return kind(**value)
    except TypeError:
        known = ", ".join(item.name for item in fields(kind))
        raise InvalidRequestError(f"these are other fields than a {kind.__name__} has: {known}") from None


def _texts(value: Any) -> tuple[str, ...]:
    found = None if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if found is None or not all(isinstance(item, str) for item in found):
        raise InvalidRequestError("contexts and detectors must be lists of strings")
    return found


def _mode(value: Any) -> Mode:
    try:
        return Mode(value)
    except ValueError:
        raise InvalidRequestError(f"mode must be one of {', '.join(Mode)}") from None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "mode": _mode,
    "contexts": _texts,
    "detectors": _texts,
    "tool": partial(_context, ToolContext),
    "model": partial(_context, ModelContext),
    "file": partial(_context, FileContext),
    "mcp": partial(_context, McpContext),
}
