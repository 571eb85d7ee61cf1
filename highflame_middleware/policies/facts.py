"""The facts of one text as Cedar's context for one action: what it does not know is left out, faults are told."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..guard.rules import Fact, Subject, canonical
from .schema import Action, Schema

__all__ = ["Told", "told"]

_MAX_TEXT = 65_536
_MAX_ITEMS = 1_000
_LARGEST = 2**63
_CONTENT = {
    Action.PROCESS_PROMPT: "prompt",
    Action.PROCESS_RESPONSE: "response",
    Action.CALL_TOOL: "tool_call",
    Action.READ_FILE: "file",
    Action.WRITE_FILE: "file",
    Action.CONNECT_SERVER: "tool_call",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What Cedar is told, what it is not because the action knows no such fact, and what is wrong with the rest."""

    context: dict[str, Any] = field(repr=False)
    ignored: tuple[str, ...]
    faults: tuple[str, ...]


def told(facts: Mapping[str, Fact], action: Action, subject: Subject, schema: Schema) -> Told:
    """Facts in the form that the schema wants of them. A fault names the fact, never its value."""
    kinds = schema.facts[action]
    given: dict[str, Any] = {
        "request_id": os.urandom(16).hex(),
        "timestamp": time.time_ns() // 1_000_000,
        "direction": "output" if action is Action.PROCESS_RESPONSE else "input",
        "content_type": _CONTENT[action],
        "detector_count": len(facts),
    }
    if subject.agent_id:
        given["agent_id"] = subject.agent_id
    read = canonical(facts)
    context = {key: value for key, value in {**given, **read}.items() if key in kinds}
    faults = [f"{key} {fault}" for key, value in context.items() if (fault := _fault(value, kinds[key].type))]
    return Told(
        {key: list(value) if isinstance(value, tuple) else value for key, value in context.items()},
        tuple(sorted(key for key in read if key not in kinds and key not in given)),
        tuple(faults),
    )


def _fault(value: object, wanted: type | None) -> str:
    if wanted is None:
        return "is a record in the schema, and cannot be told"
    if type(value) is not wanted:
        return f"is {type(value).__name__} where the schema has {wanted.__name__}"
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, tuple):
        if len(value) > _MAX_ITEMS:
            return f"holds more than {_MAX_ITEMS} items"
        if not all(type(item) is str for item in value):
            return "holds something else than strings"
        return next((fault for item in value if (fault := _text_fault(item))), "")
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return "is a number that does not fit into 64 bits"
    return ""


def _text_fault(text: str) -> str:
    if len(text) > _MAX_TEXT:
        return f"is longer than {_MAX_TEXT} characters"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "is no valid Unicode"
    return ""
