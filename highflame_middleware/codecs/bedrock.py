"""What the formats of Amazon Bedrock share: paths, ids, the arguments of tools, usage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ..types import Stage
from .openai import integer, mapping
from .parts import Path, PathRead, Summary, Text, dump_json, leaves

__all__ = ["PADDING", "fail", "read_path", "read_rest", "read_trace", "read_usage", "structured_text"]

# Random letters beside an event's data, so that its length tells nobody what it says.
PADDING = "p"
# An id, or all of an ARN in one segment, percent-encoded; some callers leave the colons as they are.
_PATH = re.compile(r"/model/(?P<model>[^/?]+)/(?P<verb>[a-z-]+)/?(\?.*)?$")
# What a guardrail of Amazon's says of its findings that is an id or an enumeration.
_ASSESSED = frozenset(
    {
        "action",
        "appliedGuardrailDetails",
        "confidence",
        "filterStrength",
        "guardrailOrigin",
        "identifier",
        "invocationMetrics",
        "policyVersionArn",
        "promptRouter",
        "type",
    }
)
# Keys under which a body whose shape is not known holds no prose.
_IDENTITIES = frozenset({"id", "model", "object", "role", "type", PADDING})


def read_path(path: str) -> PathRead:
    """The model's id, decoded, and whether the reply is a stream.

    >>> read_path("/model/us.amazon.nova-lite-v1%3A0/converse-stream")
    PathRead(model='us.amazon.nova-lite-v1:0', stream=True)
    """
    match = _PATH.search(path)
    if match is None:
        return PathRead()
    return PathRead(unquote(match["model"]), match["verb"].endswith("-stream"))


def structured_text(value: Any, path: Path, stage: Stage, role: str, tool: str | None = None) -> Iterator[Text]:
    """An object that is one text: as JSON; where it cannot be written so, every string of it by itself."""
    if isinstance(value, str):
        # A tool is called even with nothing.
        if value or stage is Stage.TOOL_CALL:
            yield Text(path, value, stage, role, tool)
        return
    try:
        written = dump_json(value).decode()
    except (TypeError, ValueError, RecursionError):
        for place, found in leaves(value, path, frozenset()):
            if found:
                yield Text(place, found, stage, role, tool)
        return
    yield Text(path, written, stage, role, tool, is_json=True, structured=True)


def read_rest(value: Any, path: Path = ()) -> Iterator[Text]:
    """Every text of a reply, or of a stream's event, that is not in its API's shape."""
    for place, found in leaves(value, path, _IDENTITIES):
        if found:
            yield Text(place, found, Stage.RESPONSE, "assistant")


def read_trace(trace: Any, path: Path) -> Iterator[Text]:
    """What a guardrail says it saw: with the words themselves, and with what the model had said at first."""
    for place, found in leaves(trace, path, _ASSESSED):
        if found:
            yield Text(place, found, Stage.RESPONSE, "assistant")


def read_usage(usage: Any) -> Summary:
    """The tokens; those in are with the ones from a cache and into it, which Bedrock counts apart."""
    usage = mapping(usage)
    spent = integer(usage.get("inputTokens"))
    read, written = (
        _first(usage, f"cache{way}InputTokens", f"cache{way}InputTokenCount") for way in ("Read", "Write")
    )
    return Summary(
        input_tokens=spent + (read or 0) + (written or 0) if spent is not None else None,
        output_tokens=integer(usage.get("outputTokens")),
        cached_tokens=read,
        cache_written_tokens=written,
    )


def _first(usage: Any, *names: str) -> int | None:
    return next((found for name in names if (found := integer(usage.get(name))) is not None), None)


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:  # noqa: ARG001 - its exceptions have no codes
    """The exception that every stream of Bedrock knows."""
    return "validationException", {"message": message}
