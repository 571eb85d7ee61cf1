"""openai-responses: ``POST /responses`` and its kin, items in and items out, streamed as named events.

Over a websocket the events are the same, and what is sent is the body of a call, once more and once more;
several responses may then be on their way at once, each in a lane that ``stream_id`` names.

A stream says everything twice or more: in deltas, in ``*.done``, in the item
and in the final response. All of these are read, so that all can be edited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..types import Stage
from .openai import OPAQUE, integer, mapping, number, read_definitions, read_unknown, string
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

# What the model passes to a tool, and what a tool gives back, by the key it stands under in an item.
_CALL_KEYS = frozenset({"arguments", "input", "action", "code", "queries", "operation", "commands"})
_RESULT_KEYS = frozenset({"output", "outputs", "results", "error"})
_JSON_KEYS = frozenset({"arguments"})
_FREE_KEYS = frozenset({"arguments", "input"})
_UNREAD = OPAQUE | {"logprobs"}
_BLOB_ITEMS = frozenset({"image_generation_call", "compaction"})

# Stream families whose deltas are not the reply's text: the field that their ``done`` event repeats, and the stage.
_FAMILIES: Mapping[str, tuple[str, Stage]] = {
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
    "apply_patch_call_operation_diff": ("diff", Stage.TOOL_CALL),
    "shell_call_command": ("command", Stage.TOOL_CALL),
    "shell_call_output_content": ("output", Stage.TOOL_RESULT),
}
_NUMBERS = ("content_index", "summary_index", "command_index")
_BLOB_FAMILIES = frozenset({"audio"})
# Events that name items which are still to be filled.
_STARTINGS = frozenset(
    {"response.output_item.added", "response.created", "response.queued", "response.in_progress"}
)
_ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})


def read_call(body: Any) -> CallRead:
    """The instructions, every input item, prompt variables and tool definitions."""
    body = mapping(body)
    texts: list[Text] = []
    for key, role in (("instructions", "system"), ("input", "user"), ("items", "user"), ("item", "user")):
        texts.extend(_items(body.get(key), (key,), Stage.PROMPT, role))
    # The caller has named the variables: what looks like a key of this API's is none.
    for name, value in mapping(mapping(body.get("prompt")).get("variables")).items():
        texts.extend(_leaves(value, ("prompt", "variables", name), Stage.PROMPT, "user"))
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
    read = mapping(body)
    if "output" not in read and "data" not in read:
        return ReplyRead(tuple(read_unknown(body)), _summary(read))
    texts: list[Text] = []
    for key in ("output", "output_text", "data"):
        texts.extend(_items(read.get(key), (key,), Stage.RESPONSE, "assistant"))
    return ReplyRead(tuple(texts), _summary(read))


class Reader:
    """Reads the events of a stream; keeps the name of each tool whose call is still being written."""

    def __init__(self) -> None:
        self._tools: dict[tuple[str | None, str | int], str | None] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: a delta, the end of a text, a whole item, or the response so far."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        read = self._read(data, said, kind)
        if (lane := string(said.get("stream_id"))) is None:
            return read
        if read.terminal:
            self._tools = {key: tool for key, tool in self._tools.items() if key[0] != lane}
        texts = (
            text if text.channel is None else text._replace(channel=(lane, *text.channel)) for text in read.texts
        )
        closes = ((lane,),) if read.terminal else tuple((lane, *channel) for channel in read.closes)
        return EventRead(tuple(texts), closes, read.summary)

    def _read(self, data: Any, said: Any, kind: str) -> EventRead:
        if kind.endswith(".delta"):
            return EventRead(texts=tuple(self._delta(said, kind)))
        if not kind.startswith("response."):
            return EventRead(tuple(read_unknown(data)), terminal=kind in _ENDINGS)
        closes: list[Channel] = []
        if kind.endswith(".done"):
            closes.append((_item_key(said),) if "item" in said else _channel(said, kind))
        summary = _summary(said["response"]) if isinstance(said.get("response"), dict) else None
        return EventRead(tuple(self._repeated(said, kind)), tuple(closes), summary, terminal=kind in _ENDINGS)

    def _delta(self, data: Any, kind: str) -> Iterator[Text]:
        family = _family(kind)
        if family in _BLOB_FAMILIES:
            return
        channel = _channel(data, kind)
        for text in self._spoken(data, "delta", family):
            yield text._replace(channel=(*channel, *text.path[1:]))

    def _repeated(self, data: Any, kind: str) -> Iterator[Text]:
        item = mapping(data.get("item"))
        if item:
            self._tools[string(data.get("stream_id")), _item_key(data)] = _tool(item)
        yield from _item(item, ("item",), Stage.RESPONSE, "assistant", whole=kind not in _STARTINGS)
        for key in ("output", "output_text"):
            said = mapping(data.get("response")).get(key)
            yield from _items(said, ("response", key), Stage.RESPONSE, "assistant", whole=kind not in _STARTINGS)
        for key in ("part", "annotation"):
            yield from _leaves(data.get(key), (key,), Stage.RESPONSE, "assistant")
        yield from self._spoken(data, _field(_family(kind))[0], _family(kind))

    def _spoken(self, data: Any, key: str, family: str) -> Iterator[Text]:
        """What an event says of one text of an item: more of it, or all of it again."""
        field, stage = _field(family)
        shadows: tuple[Path, ...] = (("logprobs",),) if data.get("logprobs") else ()
        role = "tool" if stage is Stage.TOOL_RESULT else "assistant"
        tool = self._tools.get((string(data.get("stream_id")), _item_key(data)))
        for place, value in leaves(data.get(key), (key,), _UNREAD):
            if value:
                yield Text(place, value, stage, role, tool, None, field in _JSON_KEYS, shadows)


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


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:
    """The stream event that this API ends with on an error."""
    said = {"code": code, "message": message, "param": None}
    # The API has the words beside the type; the SDK raises only what stands under "error".
    return "error", {"type": "error", **said, "sequence_number": 0, "error": {"type": "highflame_error", **said}}


def name_operation(method: str, path: str) -> str | None:
    """To look a response up is to fetch it; the rest is part of a conversation."""
    fetched = method == "GET" and "/responses/" in path and not path.endswith("/input_items")
    return "fetch_response" if fetched else "chat"


def _family(kind: str) -> str:
    """``response.output_text.delta`` is about ``output_text``."""
    return kind.removeprefix("response.").rpartition(".")[0]


def _field(family: str) -> tuple[str, Stage]:
    """Under which key an event of this family says a text whole, and where that text stands."""
    return _FAMILIES.get(family) or ("text", Stage.TOOL_CALL if "_call" in family else Stage.RESPONSE)


def _channel(data: Any, kind: str) -> Channel:
    """Which text an event is about: the item, the kind of text, and its number in the item."""
    numbers = (integer(data.get(key)) for key in _NUMBERS)
    return (_item_key(data), _family(kind), next((found for found in numbers if found is not None), 0))


def _item_key(data: Any) -> str | int:
    """Which item an event is about: its place in the output, by which the clients collect, or else its id."""
    place = integer(data.get("output_index"))
    if place is not None:
        return place
    return string(data.get("item_id")) or string(mapping(data.get("item")).get("id")) or 0


def _tool(item: Any) -> str | None:
    """The tool that an item calls or answers for: its name, or for the built-in ones its type."""
    kind = string(item.get("type"))
    return string(item.get("name")) or (kind if kind not in ("message", "reasoning") else None)


def _items(value: Any, path: Path, stage: Stage, role: str, *, whole: bool = True) -> Iterator[Text]:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _item(item, (*path, index), stage, role, whole=whole)
    else:
        yield from _item(value, path, stage, role, whole=whole)


def _item(item: Any, path: Path, stage: Stage, role: str, *, whole: bool = True) -> Iterator[Text]:
    """Every text of one item, the stage told by the key it stands under; unknown items are read whole.

    A tool that is called with nothing has an empty text: it is called all the same, once the item is ``whole``.
    """
    if not isinstance(item, dict):
        yield from _leaves(item, path, stage, role)
        return
    kind = string(item.get("type")) or "message"
    called = False
    for text in _item_texts(item, kind, path, stage, role):
        called = called or text.stage is Stage.TOOL_CALL
        yield text
    if whole and not called and kind.endswith("_call"):
        yield Text((*path, "arguments"), "", Stage.TOOL_CALL, "assistant", _tool(item))


def _item_texts(item: Any, kind: str, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    if kind in _BLOB_ITEMS:
        return
    role = string(item.get("role")) or ("assistant" if kind == "reasoning" else role)
    tool = _tool(item)
    for key, value in item.items():
        if key in OPAQUE:
            continue
        if key in _CALL_KEYS:
            yield from _arguments(value, (*path, key), tool)
        elif key in _RESULT_KEYS:
            yield from _leaves(value, (*path, key), Stage.TOOL_RESULT, "tool", tool)
        elif key == "tools":
            yield from read_definitions(value, (*path, key))
        else:
            yield from _leaves(value, (*path, key), stage, role)


def _arguments(value: Any, path: Path, tool: str | None) -> Iterator[Text]:
    """What is passed to a tool; of arguments every key is the tool's, and none is this API's."""
    opaque = frozenset[str]() if path[-1] in _FREE_KEYS else _UNREAD
    for place, found in leaves(value, path, opaque):
        if found:
            is_json = place == path and path[-1] in _JSON_KEYS
            yield Text(place, found, Stage.TOOL_CALL, "assistant", tool, None, is_json)


def _leaves(value: Any, path: Path, stage: Stage, role: str, tool: str | None = None) -> Iterator[Text]:
    for place, found in leaves(value, path, _UNREAD):
        if found:
            yield Text(place, found, stage, role, tool, shadows=_logprobs(value, path, place))


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
    provider="openai",
    operation="chat",
    name_operation=name_operation,
    api_type="responses",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    telling=re.compile(rb'"response": ?\{'),
)
