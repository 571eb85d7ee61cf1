"""What Cohere's formats share: which keys hold no prose, usage, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import integer, mapping
from .parts import Path, Summary, Text, leaves

__all__ = ["OPAQUE", "fail", "read_meta", "text_of"]

# Keys whose strings are ids, enumerations or encoded images. Documents have keys of the caller's own: few are safe.
OPAQUE = frozenset(
    {
        "citation_quality",
        "document_ids",
        "event_type",
        "finish_reason",
        "generation_id",
        "id",
        "image_url",
        "response_id",
        "role",
        "tool_call_id",
        "type",
    }
)


def text_of(value: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """Every text below a value."""
    for place, found in leaves(value, path, OPAQUE):
        if found:
            yield Text(place, found, stage, role)


def read_meta(meta: Any) -> Summary:
    """Usage: the tokens that the model has read and written, before those that are billed."""
    meta = mapping(meta)
    tokens, billed = mapping(meta.get("tokens")), mapping(meta.get("billed_units"))

    def count(name: str) -> int | None:
        read = integer(tokens.get(name))
        return integer(billed.get(name)) if read is None else read

    cached = meta.get("cached_tokens", tokens.get("cached_tokens"))
    return Summary(
        input_tokens=count("input_tokens"), output_tokens=count("output_tokens"), cached_tokens=integer(cached)
    )


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:
    """An event of a stream that says that it has failed."""
    return None, {"event_type": "stream-error", "type": "error", "code": code, "message": message}
