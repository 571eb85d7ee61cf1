"""bedrock-agents: Bedrock's agents, flows and knowledge bases, and its guardrails asked by themselves.

Dozens of operations in as many shapes; so every string is read but ids,
addresses, enumerations and blobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .bedrock import PADDING, fail, structured_text
from .openai import mapping, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

# Ends of the names of keys that hold ids and the like, and names that do.
_IDS = ("Id", "Arn", "Version", "Uri", "Type", "Time", "Timestamp", "Token")
_OPAQUE = frozenset(
    {
        "action",
        "arn",
        "byteContent",
        "bytes",
        "confidence",
        "filterStrength",
        "foundationModel",
        "httpMethod",
        "id",
        "mediaType",
        "outputScope",
        "qualifiers",
        "role",
        "source",
        "status",
        "type",
        PADDING,
    }
)
# An agent's own text comes under a key of blobs; in its events it is text by the time that it is read.
_CHUNK = "chunk"
_SPOKEN = ("bytes",)
_CHUNKED = frozenset({"bytes", "attribution"})
# What is passed to a tool, in an event that hands a tool's call to the caller, and in a trace of an agent.
_ARGUMENTS = frozenset({"parameters", "requestBody", "invocationInput", "codeInterpreterInvocationInput"})
_RESULTS = frozenset({"returnControlInvocationResults", "observation", "actionGroupInvocationOutput"})


def read_call(body: Any) -> CallRead:
    """Every text, and what tools of the caller's have answered."""
    return CallRead(None, stream=False, texts=tuple(_texts(body, Stage.PROMPT, "user")))


def read_params(body: Any) -> Params:
    """The session, for telemetry."""
    return Params(conversation_id=string(mapping(body).get("sessionId")))


def read_reply(body: Any) -> ReplyRead:
    """Every text."""
    return ReplyRead(tuple(_texts(body, Stage.RESPONSE, "assistant")), Summary())


class Reader:
    """Takes an agent's own words for pieces of one text, and every other text for whole."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event."""
        if event == _CHUNK and _CHUNKED.isdisjoint(mapping(data)):
            return EventRead(tuple(_spoken(data)))
        texts = list(_texts(data, Stage.RESPONSE, "assistant"))
        if event == _CHUNK and (spoken := string(mapping(data).get("bytes"))) is not None:
            texts.append(Text(_SPOKEN, spoken, Stage.RESPONSE, "assistant", channel=(_CHUNK, *_SPOKEN)))
        streamed = event in ("output", "flowOutputEvent", "optimizedPromptEvent")
        if streamed:
            texts = [text._replace(channel=(event or "", *text.path)) for text in texts if not text.structured]
        return EventRead(tuple(texts))


def _spoken(data: Any) -> Iterator[Text]:
    """An agent's own words: a text, or where they happen to be JSON all texts in it."""
    for place, found in leaves(data, (), frozenset()):
        if found:
            yield Text(place, found, Stage.RESPONSE, "assistant", channel=(_CHUNK, *(place or _SPOKEN)))


def refuse(message: str) -> dict[str, Any]:
    """A reply that says no in the place of every operation that has one."""
    return {
        "output": {"text": message},
        "outputs": [{"text": message}],
        "action": "GUARDRAIL_INTERVENED",
        "guardrailAction": "INTERVENED",
        "assessments": [],
        "usage": {},
        "citations": [],
        "retrievalResults": [],
        "sessionId": "highflame",
    }


def _texts(body: Any, stage: Stage, role: str) -> Iterator[Text]:
    """What is passed to a tool is one text; elsewhere every string is one."""
    stack: list[tuple[Path, Any, Stage, str]] = [((), body, stage, role)]
    while stack:
        path, node, at, who = stack.pop()
        if isinstance(node, str):
            if node:
                yield Text(path, node, at, who)
        elif isinstance(node, dict):
            for key, value in node.items():
                if not isinstance(key, str) or _is_opaque(key, value):
                    continue
                if key in _ARGUMENTS and isinstance(value, dict | list) and at is Stage.RESPONSE:
                    yield from structured_text(value, (*path, key), Stage.TOOL_CALL, "assistant", _tool(node))
                elif key in _RESULTS:
                    stack.append(((*path, key), value, Stage.TOOL_RESULT, "tool"))
                else:
                    stack.append(((*path, key), value, at, who))
        elif isinstance(node, list | tuple):
            stack.extend(((*path, index), value, at, who) for index, value in enumerate(node))


def _is_opaque(key: str, value: Any) -> bool:
    """Whether a key's string is none to read; below such a key there may be some."""
    return isinstance(value, str) and (key in _OPAQUE or key.endswith(_IDS))


def _tool(node: Any) -> str | None:
    return string(node.get("function")) or string(node.get("actionGroup")) or string(node.get("actionGroupName"))


CODEC = Codec(
    name="bedrock-agents",
    provider="bedrock",
    operation="invoke_agent",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
