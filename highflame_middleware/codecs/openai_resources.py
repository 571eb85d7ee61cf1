"""openai-resources: OpenAI's resources that have no codec of their own, read by what they have in common.

Videos, evals, decisions, hosted agents, chat sessions, searches of vector
stores: whatever string is not under the key of an id, an enumeration, an
address or a blob is taken for a text, on its way in and on its way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import OPAQUE, fail, integer, mapping, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

_PASSED = (OPAQUE - {"data"}) | {
    "b64_json",
    "client_secret",
    "etag",
    "include",
    "metadata",
    "model",
    "mode",
    "object",
    "order",
    "quality",
    "reasoning",
    "safety_identifier",
    "seconds",
    "service_tier",
    "size",
    "timezone",
    "ttl",
    "url",
    "user",
    "version",
}
# The ends of keys under which stand ids, times and the like.
_PASSED_END = re.compile(r"(_|^)(data|id|ids|at|url|urls|key|keys|token|type|tier|format|secret)$")
_RESULTS = frozenset({"output", "outputs", "result", "results"})
_OPERATIONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"/vector_stores/[^/]+/search$"), "retrieval"),
    (re.compile(r"/agents/sessions(/[^/]+/(events|turns))?$"), "invoke_agent"),
    (re.compile(r"/agents$"), "create_agent"),
    (re.compile(r"/decisions$"), "chat"),
    (re.compile(r"/videos(/edits|/extensions|/[^/]+/remix)?$"), "generate_content"),
)


def name_operation(method: str, path: str) -> str | None:
    """What a call that begins something does; looking something up has no name in the conventions."""
    if method != "POST":
        return None
    return next((name for pattern, name in _OPERATIONS if pattern.search(path)), None)


def read_call(body: Any) -> CallRead:
    """Every string that may be prose."""
    read = mapping(body)
    return CallRead(
        string(read.get("model")), read.get("stream") is True, tuple(_texts(body, Stage.PROMPT, "user"))
    )


def read_params(body: Any) -> Params:  # noqa: ARG001 - what they have is not of the conventions
    """Nothing."""
    return Params()


def read_reply(body: Any) -> ReplyRead:
    """Every string that may be prose."""
    return ReplyRead(tuple(_texts(body, Stage.RESPONSE, "assistant")), _summary(mapping(body)))


class Reader:
    """Takes what stands at the same place in successive deltas for the pieces of one text."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: a delta, or something whole, which ends all texts that came in deltas."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        texts = tuple(_texts(data, Stage.RESPONSE, "assistant"))
        if not kind.endswith(("delta", ".partial")):
            return EventRead(texts, ((),), _summary(said))
        about = (kind, *(str(said[key]) for key in sorted(said) if key.endswith(("_id", "_index"))))
        return EventRead(tuple(text._replace(channel=(*about, *text.path)) for text in texts))


def refuse(message: str) -> dict[str, Any]:
    """An object that says no."""
    return {"id": "highflame", "object": "error", "data": [], "error": {"message": message, "code": "refused"}}


def _texts(value: Any, stage: Stage, role: str) -> Iterator[Text]:
    for place, found in leaves(value, (), _PASSED):
        if found and not _PASSED_END.search(_key(place)):
            came_back = not _RESULTS.isdisjoint(place)
            yield Text(place, found, Stage.TOOL_RESULT if came_back and stage is Stage.PROMPT else stage, role)


def _key(place: Path) -> str:
    """The nearest key above a value: in a list, the list's."""
    return next((key for key in reversed(place) if isinstance(key, str)), "")


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        input_tokens=integer(usage.get("input_tokens")),
        output_tokens=integer(usage.get("output_tokens")),
    )


CODEC = Codec(
    name="openai-resources",
    provider="openai",
    operation=None,
    name_operation=name_operation,
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    media=("audio/", "image/", "video/", "application/octet-stream", "application/zip"),
)
