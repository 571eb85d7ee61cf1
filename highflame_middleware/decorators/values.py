"""What a function takes and gives as a text that can be judged; and the value again, once that text was edited."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from ..shield.fields import plain

__all__ = ["is_text", "restored", "rendered"]


def is_text(value: Any) -> bool:
    """Whether a value is a text as it stands; any other is judged as JSON."""
    return isinstance(value, str)


def rendered(value: Any) -> str:
    """A value as the text that is judged: JSON, what JSON cannot carry written out.

    >>> rendered({"to": ["ada"], "n": 1})
    '{"n": 1, "to": ["ada"]}'
    """
    return value if isinstance(value, str) else json.dumps(_seen(value), ensure_ascii=False, sort_keys=True)


def _seen(value: Any) -> Any:
    """What is to be seen of a value: the fields of a model or dataclass, not its address in memory."""
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return plain(dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({item.name: getattr(value, item.name) for item in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(name): _seen(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_seen(item) for item in value]
    return plain(value)


def restored(value: Any, text: str) -> Any:
    """The value that an edited text stands for: only strings in it may have changed. `ValueError` where others did.

    >>> restored({"to": ("ada", 1)}, '{"to": ["[NAME]", 1]}')
    {'to': ('[NAME]', 1)}
    """
    if isinstance(value, str):
        return text
    try:
        edited = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    return _merged(value, edited)


def _merged(value: Any, edited: Any) -> Any:
    if isinstance(value, str) and isinstance(edited, str):
        return edited
    if type(value) is dict and isinstance(edited, dict):
        if {str(name) for name in value} != edited.keys() or len(value) != len(edited):
            raise ValueError("other keys")
        return {name: _merged(item, edited[str(name)]) for name, item in value.items()}
    if type(value) in (list, tuple) and isinstance(edited, list) and len(edited) == len(value):
        return type(value)(_merged(item, new) for item, new in zip(value, edited, strict=True))
    if _seen(value) != edited:
        raise ValueError("no string")
    return value
