"""mistral-conversations: ``POST /conversations``, Mistral's agents with a memory: entries in, entries out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .calls import items_of, read_arguments
from .openai import (
    fail,
    integer,
    mapping,
    number,
    read_definitions,
    read_unknown,
    stop_sequences,
    string,
    text_of,
)
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_FRAME = frozenset(
    {
        "agent_id",
        "completed_at",
        "confirmation_status",
        "connection",
        "conversation_id",
        "created_at",
        "id",
        "model",
        "name",
        "next_agent_id",
        "object",
        "previous_agent_id",
        "role",
        "tool_call_id",
        "type",
        "usage",
    }
)
_ENDS = frozenset({"conversation.response.done", "conversation.response.error"})


def read_call(body: Any) -> CallRead:
    """The instructions, the entries, and the tool definitions."""
    body = mapping(body)
    texts = list(text_of(body.get("instructions"), ("instructions",), Stage.PROMPT, "system"))
    for position, entry in items_of(body.get("inputs")):
        texts.extend(_entry(entry, ("inputs", *position), None))
    for key in ("tools", "description", "completion_args"):
        value = {key: body[key]} if key == "description" and key in body else body.get(key)
        texts.extend(read_definitions(value, () if key == "description" else (key,)))
    model = string(body.get("model")) or string(body.get("agent_id"))
    return CallRead(model, body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    given = mapping(mapping(body).get("completion_args"))
    return Params(
        max_tokens=integer(given.get("max_tokens")),
        temperature=number(given.get("temperature")),
        top_p=number(given.get("top_p")),
        frequency_penalty=number(given.get("frequency_penalty")),
        presence_penalty=number(given.get("presence_penalty")),
        seed=integer(given.get("random_seed")),
        stop_sequences=stop_sequences(given.get("stop")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every entry of the reply, or of a conversation that is looked up."""
    read = mapping(body)
    key = next((key for key in ("outputs", "entries", "messages") if key in read), None)
    if key is None:
        described = "conversation_id" in read or "id" in read
        return ReplyRead(() if described else tuple(read_unknown(body)), _summary(read))
    texts = [
        text for position, entry in items_of(read[key]) for text in _entry(entry, (key, *position), Stage.RESPONSE)
    ]
    return ReplyRead(tuple(texts), _summary(read))


class Reader:
    """Reads events; each part of each output is one text, and so is what each call passes to its tool."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - the data names the event as well
        """Read one event."""
        body = mapping(data)
        kind = string(body.get("type"))
        if kind is None:
            return EventRead(tuple(read_unknown(data)))
        place = (integer(body.get("output_index")) or 0, integer(body.get("content_index")) or 0)
        # Several calls may be under way in one output.
        call = string(body.get("tool_call_id")) or string(body.get("id")) or ""
        texts = []
        for text in _entry(body, (), Stage.RESPONSE):
            if text.stage is not Stage.TOOL_CALL:
                texts.append(text._replace(channel=(*place, *text.path)))
            elif text.value and not text.structured:
                texts.append(text._replace(channel=(*place, call, *text.path)))
            else:
                texts.append(text)
        ended = kind in _ENDS
        summary = _summary(body) if ended or kind == "conversation.response.started" else None
        return EventRead(tuple(texts), (), summary, terminal=ended)


def refuse(message: str) -> dict[str, Any]:
    """A reply whose only output says no."""
    output = {"object": "entry", "type": "message.output", "role": "assistant", "content": message}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {
        "object": "conversation.response",
        "conversation_id": "highflame",
        "outputs": [output],
        "usage": usage,
    }


def _entry(entry: Any, path: Path, said: Stage | None) -> Iterator[Text]:
    """The texts of one entry: what is passed to a tool, what it gave, or what somebody said."""
    if not isinstance(entry, dict):
        yield from text_of(entry, path, said or Stage.PROMPT, "assistant" if said else "user")
        return
    kind, name = string(entry.get("type")) or "", string(entry.get("name"))
    role = string(entry.get("role")) or ("assistant" if said or kind == "message.output" else "user")
    called = kind.startswith(("function.call", "tool.execution"))
    for key, value in entry.items():
        place = (*path, key)
        if key == "arguments" and called:
            yield from read_arguments(entry, key, path)
        elif key in ("result", "info") or kind == "function.result":
            for text in text_of(value, place, Stage.TOOL_RESULT, "tool") if key not in _FRAME else ():
                yield text._replace(tool=name)
        elif key not in _FRAME:
            yield from text_of(value, place, said or Stage.PROMPT, role)
    if called and "arguments" not in entry and not kind.endswith(("delta", "done")):
        yield from read_arguments(entry, "arguments", path)


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    return Summary(
        id=string(body.get("conversation_id")),
        input_tokens=integer(usage.get("prompt_tokens")),
        output_tokens=integer(usage.get("completion_tokens")),
    )


CODEC = Codec(
    name="mistral-conversations",
    provider="mistral",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
