"""Applying a modify: the verdict's redactions on the text they were made for."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..types import GuardResponse, RedactionEntry

__all__ = ["apply_entries", "apply_modify"]


def apply_entries(content: str, entries: Iterable[RedactionEntry]) -> str | None:
    """``content`` with each entry's span replaced; nothing where the entries overlap or lie outside it.

    >>> entry = RedactionEntry(type="digit", start_pos=2, end_pos=3, replacement="#")
    >>> apply_entries("no1", [entry]), apply_entries("no", [entry])
    ('no#', None)
    """
    out: list[str] = []
    at = 0
    for entry in sorted(entries, key=lambda entry: (entry.start_pos, entry.end_pos)):
        if entry.start_pos < at or entry.end_pos < entry.start_pos or entry.end_pos > len(content):
            return None
        out += (content[at : entry.start_pos], entry.replacement)
        at = entry.end_pos
    return "".join((*out, content[at:]))


def apply_modify(content: str, response: GuardResponse, *, is_json: bool) -> str | None:
    """The text that a modify asks for, or nothing where it cannot be had.

    Tool arguments that were JSON must be JSON of the same kind afterwards, an object
    as a rule: a tool must not be called with arguments that it cannot read.
    """
    changed = response.redacted_content
    if changed is None and response.redaction_entries:
        changed = apply_entries(content, response.redaction_entries)
    if changed is None or (is_json and (kind := _kind(content)) is not None and _kind(changed) is not kind):
        return None
    return changed


def _kind(text: str) -> type | None:
    """What a JSON text is: an object, a list, a string…; nothing for one that is not JSON."""
    try:
        return type(json.loads(text))
    except (ValueError, RecursionError):
        return None
