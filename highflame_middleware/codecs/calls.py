"""What several makers' formats share of tool calls and of values in shapes of the caller's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import mapping, string
from .parts import Path, Text, dump_json, leaves

__all__ = ["items_of", "read_arguments", "text_beside"]


def items_of(value: Any) -> Iterator[tuple[Path, Any]]:
    """The items of an array with their places; a value that is none is its own only item."""
    if isinstance(value, list | tuple):
        yield from (((index,), item) for index, item in enumerate(value))
    elif value is not None:
        yield (), value


def text_beside(value: Any, known: frozenset[str], path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """Every text of an object but under some keys of its own; of anything else, every text."""
    kept = {key: child for key, child in value.items() if key not in known} if isinstance(value, dict) else value
    for place, found in leaves(kept, path, frozenset()):
        if found:
            yield Text(place, found, stage, role)


def read_arguments(holder: Any, key: str, path: Path) -> Iterator[Text]:
    """What is passed to a tool: JSON in a string, or standing in the body itself; nothing is an empty text."""
    holder = mapping(holder)
    value, place, tool = holder.get(key), (*path, key), string(holder.get("name"))
    if isinstance(value, str) or value is None:
        yield Text(place, value or "", Stage.TOOL_CALL, "assistant", tool, is_json=True)
        return
    try:
        written = dump_json(value).decode()
    except (TypeError, ValueError, RecursionError):
        for deep, found in leaves(value, place, frozenset()):
            yield Text(deep, found, Stage.TOOL_CALL, "assistant", tool)
    else:
        yield Text(place, written, Stage.TOOL_CALL, "assistant", tool, is_json=True, structured=True)
