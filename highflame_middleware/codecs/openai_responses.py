"""openai-responses: ``POST /responses`` and its kin, items in and items out, streamed as named events.

A stream says everything twice or more: in deltas, in ``*.done``, in the item
and in the final response. All of these are read, so that all can be edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import OPAQUE, integer, mapping, number, read_definitions, sequence, string
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, dump_json, leaves

__all__ = ["CODEC"]

# What the model passes to a tool, and what a tool gives back, by the key it stands under in an item.
_CALL_KEYS = frozenset({"arguments", "input", "action", "code", "queries", "operation", "commands"})
_RESULT_KEYS = frozenset({"output", "outputs", "results", "error"})
_JSON_KEYS = frozenset({"arguments"})
_UNREAD = OPAQUE | {"logprobs"}
_BLOB_ITEMS = frozenset({"image_generation_call", "compaction"})

# Stream families whose deltas are not the reply's text: the field that their ``done`` event repeats, and the stage.
_FAMILIES: dict[str, tuple[str, Stage]] = {
    "output_text": ("text", Stage.RESPONSE),
    "refusal": ("refusal", Stage.RESPONSE),
    "reasoning_text": ("text", Stage.RESPONSE),
    "reasoning_summary_text": ("text", Stage.RESPONSE),
    "audio.transcript": ("transcript", Stage.RESPONSE),
    "function_call_arguments": ("arguments", Stage.TOOL_CALL),
    "mcp_call_arguments": ("arguments", Stage.TOOL_CALL),
    "mcp_call.arguments": ("arguments", Stage.TOOL_CALL),
    "custom_tool_call_input": ("input", Stage.TOOL_CALL),
    "code_interpreter_call_code": ("code", Stage.TOOL_CALL),
}
_BLOB_FAMILIES = frozenset({"audio"})
_ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})


def read_call(body: Any) -> CallRead:
    """The instructions, every input item, prompt variables and tool definitions."""
    body = mapping(body)
    texts: list[Text] = []
    for key, role in (("instructions", "system"), ("input", "user")):
        texts.extend(_items(body.get(key), (key,), Stage.PROMPT, role))
    variables = mapping(body.get("prompt")).get("variables")
    texts.extend(_leaves(variables, ("prompt", "variables"), Stage.PROMPT, "user"))
    for key in ("tools", "text"):
        texts.extend(read_definitions(body.get(key), (key,)))
    return CallRead(string(body.get("model")), body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    kind = mapping(mapping(body.get("text")).get("format")).get("type")
    conversation = body.get("conversation")
    return Params(
        max_tokens=integer(body.get("max_output_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("top_p")),
        output_type="json" if kind in ("json_object", "json_schema") else "text" if kind == "text" else None,
        conversation_id=string(conversation) or string(mapping(conversation).get("id")),
        service_tier=string(body.get("service_tier")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every output item; also those of a listing, as ``/responses/{id}/input_items`` answers."""
    body = mapping(body)
    texts: list[Text] = []
    for key in ("output", "data"):
        texts.extend(_items(body.get(key), (key,), Stage.RESPONSE, "assistant"))
    return ReplyRead(tuple(texts), _summary(body))


class Reader:
    """Reads the events of a stream; keeps the name of each tool whose call is still being written."""

    def __init__(self) -> None:
        self._tools: dict[str | int, str] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: a delta, the end of a text, a whole item, or the response so far."""
        data = mapping(data)
        kind = string(data.get("type")) or event or ""
        if kind.endswith(".delta"):
            return EventRead(texts=tuple(self._delta(data, kind)))
        texts = list(self._repeated(data, kind))
        closes: list[Channel] = []
        if kind.endswith(".done"):
            closes.append((_item_key(data),) if "item" in data else self._channel(data, kind))
        summary = _summary(mapping(data["response"])) if isinstance(data.get("response"), dict) else None
        return EventRead(tuple(texts), tuple(closes), summary, terminal=kind in _ENDINGS)

    def _delta(self, data: Any, kind: str) -> Iterator[Text]:
        family = _family(kind)
        if family in _BLOB_FAMILIES:
            return
        field, stage = _FAMILIES.get(family, ("text", Stage.RESPONSE))
        channel = self._channel(data, kind)
        shadows: tuple[Path, ...] = (("logprobs",),) if data.get("logprobs") else ()
        for place, value in leaves(data.get("delta"), ("delta",), OPAQUE):
            if value:
                where = (*channel, *place[1:])
                tool = self._tools.get(channel[0])
                yield Text(place, value, stage, "assistant", tool, where, field in _JSON_KEYS, shadows)

    def _repeated(self, data: Any, kind: str) -> Iterator[Text]:
        item = mapping(data.get("item"))
        if tool := _tool(item):
            self._tools[_item_key(data)] = tool
        yield from _items([item] if item else None, (), Stage.RESPONSE, "assistant", at=("item",))
        yield from _items(
            mapping(data.get("response")).get("output"), ("response", "output"), Stage.RESPONSE, "assistant"
        )
        for key in ("part", "annotation"):
            yield from _leaves(data.get(key), (key,), Stage.RESPONSE, "assistant")
        if kind.endswith(".done"):
            field, stage = _FAMILIES.get(_family(kind), ("text", Stage.RESPONSE))
            if value := string(data.get(field)):
                shadows: tuple[Path, ...] = (("logprobs",),) if data.get("logprobs") else ()
                tool = self._tools.get(self._channel(data, kind)[0])
                yield Text((field,), value, stage, "assistant", tool, None, field in _JSON_KEYS, shadows)

    @staticmethod
    def _channel(data: Any, kind: str) -> Channel:
        """Which text an event is about: the item, the kind of text, and its number in the item."""
        number_in_item = integer(data.get("content_index")) or integer(data.get("summary_index")) or 0
        return (_item_key(data), _family(kind), number_in_item)


def refuse(message: str) -> dict[str, Any]:
    """A completed response whose only output is a refusal."""
    content = {"type": "refusal", "refusal": message}
    item = {
        "id": "msg_highflame",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }
    return {
        "id": "resp_highflame",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": "",
        "output": [item],
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
    }


def fail(message: str, code: str) -> bytes:
    """The stream event that this API ends with on an error."""
    data = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 0}
    return b"event: error\ndata: " + dump_json(data) + b"\n\n"


def _family(kind: str) -> str:
    """``response.output_text.delta`` is about ``output_text``."""
    return kind.removeprefix("response.").rpartition(".")[0]


def _item_key(data: Any) -> str | int:
    """Which item an event is about: its id, or, from providers that send none, its place in the output."""
    identity = string(data.get("item_id")) or string(mapping(data.get("item")).get("id"))
    return identity if identity is not None else integer(data.get("output_index")) or 0


def _tool(item: Any) -> str | None:
    """The tool that an item calls or answers for: its name, or for the built-in ones its type."""
    kind = string(item.get("type"))
    return string(item.get("name")) or (kind if kind not in ("message", "reasoning") else None)


def _items(value: Any, path: Path, stage: Stage, role: str, at: Path | None = None) -> Iterator[Text]:
    if isinstance(value, str):
        if value:
            yield Text(path, value, stage, role)
        return
    for index, item in enumerate(sequence(value)):
        place: Path = at if at is not None else (*path, index)
        if isinstance(item, str):
            if item:
                yield Text(place, item, stage, role)
        else:
            yield from _item(mapping(item), place, stage, role)


def _item(item: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """Every text of one item, the stage told by the key it stands under; unknown items are read whole."""
    kind = str(item.get("type") or "message")
    if kind in _BLOB_ITEMS:
        return
    role = str(item.get("role") or ("assistant" if kind == "reasoning" else role))
    tool = _tool(item)
    for key, value in item.items():
        if key in OPAQUE:
            continue
        if key in _CALL_KEYS:
            yield from _leaves(value, (*path, key), Stage.TOOL_CALL, "assistant", tool, is_json=key in _JSON_KEYS)
        elif key in _RESULT_KEYS:
            yield from _leaves(value, (*path, key), Stage.TOOL_RESULT, "tool", tool)
        elif key == "tools":
            yield from read_definitions(value, (*path, key))
        else:
            yield from _leaves(value, (*path, key), stage, role)


def _leaves(
    value: Any, path: Path, stage: Stage, role: str, tool: str | None = None, *, is_json: bool = False
) -> Iterator[Text]:
    for place, found in leaves(value, path, _UNREAD):
        if found:
            yield Text(
                place, found, stage, role, tool, None, is_json and place == path, _logprobs(value, path, place)
            )


def _logprobs(value: Any, path: Path, place: Path) -> tuple[Path, ...]:
    """The log probabilities beside a content part's text, which spell the text out again."""
    node = value
    for key in place[len(path) : -1]:
        node = node[key]
    return ((*place[:-1], "logprobs"),) if isinstance(node, dict) and node.get("logprobs") else ()


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    status = string(body.get("status"))
    reason = string(mapping(body.get("incomplete_details")).get("reason"))
    finished = status in ("completed", "incomplete", "failed", "cancelled")
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=(reason or str(status),) if finished else (),
        input_tokens=integer(usage.get("input_tokens")),
        output_tokens=integer(usage.get("output_tokens")),
        cached_tokens=integer(mapping(usage.get("input_tokens_details")).get("cached_tokens")),
        reasoning_tokens=integer(mapping(usage.get("output_tokens_details")).get("reasoning_tokens")),
        service_tier=string(body.get("service_tier")),
    )


CODEC = Codec(
    name="openai-responses",
    operation="chat",
    api_type="responses",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
