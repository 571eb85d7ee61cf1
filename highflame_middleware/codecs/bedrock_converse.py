"""bedrock-converse: Bedrock's ``Converse`` and ``ConverseStream``, and ``CountTokens``, which takes the same input.

Nova's own bodies are in this format as well: its stream has the name of each
event inside the event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..types import Stage
from .bedrock import PADDING, fail, read_path, read_rest, read_trace, read_usage, structured_text
from .openai import integer, mapping, number, read_definitions, sequence, stop_sequences, string
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

# Keys whose strings are ids, enumerations or encoded blobs, never prose.
_OPAQUE = frozenset(
    {
        "bytes",
        "cachePoint",
        "format",
        "name",
        "qualifiers",
        "redactedContent",
        "role",
        "s3Location",
        "serverName",
        "signature",
        "status",
        "toolUseId",
        "type",
        PADDING,
    }
)
# A document is called something, and the model is told.
_DOCUMENT = _OPAQUE - {"name"}
# Keys of a reply that hold no prose.
_SAID_OF_IT = frozenset({"metrics", "performanceConfig", "serviceTier", "stopReason", "usage", PADDING})


def read_call(body: Any) -> CallRead:
    """The messages, the system prompt, the tools' descriptions, and whatever else the model will read."""
    body = mapping(body)
    counted = mapping(body.get("input"))
    texts = list(_call(body, ()))
    texts.extend(_call(mapping(counted.get("converse")), ("input", "converse")))
    texts.extend(_prompts(mapping(counted.get("invokeModel")), ("input", "invokeModel")))
    return CallRead(None, stream=False, texts=tuple(texts))


def _call(body: Any, path: Path) -> Iterator[Text]:
    for index, message in enumerate(sequence(body.get("messages"))):
        yield from _message(message, (*path, "messages", index), Stage.PROMPT, "user")
    yield from _blocks(body.get("system"), (*path, "system"), Stage.PROMPT, "system")
    for key in ("toolConfig", "outputConfig"):
        yield from read_definitions(body.get(key), (*path, key))
    place = ("textFormat", "structure", "jsonSchema", "schema")
    schema: Any = body.get("outputConfig")
    for key in place:
        schema = mapping(schema).get(key)
    if isinstance(schema, str) and schema:
        where = (*path, "outputConfig", *place)
        yield Text(where, schema, Stage.PROMPT, "tool_definition", is_json=True)
    yield from _prompts(body.get("promptVariables"), (*path, "promptVariables"))
    extra = "additionalModelRequestFields"
    yield from _prompts(body.get(extra), (*path, extra), _OPAQUE)


def _prompts(value: Any, path: Path, opaque: frozenset[str] = frozenset()) -> Iterator[Text]:
    for place, found in leaves(value, path, opaque):
        # What is to be counted may be a body in Base64: then nothing of it can be told here.
        if found and place[-2:] != ("invokeModel", "body"):
            yield Text(place, found, Stage.PROMPT, "user")


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    config = mapping(body.get("inferenceConfig"))
    kind = mapping(mapping(body.get("outputConfig")).get("textFormat")).get("type")
    return Params(
        max_tokens=integer(config.get("maxTokens")),
        temperature=number(config.get("temperature")),
        top_p=number(config.get("topP")),
        stop_sequences=stop_sequences(config.get("stopSequences")),
        output_type="json" if kind == "json_schema" else None,
        service_tier=string(mapping(body.get("serviceTier")).get("type")),
    )


def read_reply(body: Any) -> ReplyRead:
    """The message, what a guardrail of Amazon's says about it, and whatever stands beside them."""
    read = mapping(body)
    if "output" not in read:
        return ReplyRead(tuple(read_rest(body)), _summary(read))
    texts: list[Text] = []
    for key, value in read.items():
        if key == "output" and isinstance(value, dict):
            for part, said in value.items():
                texts.extend(_message(said, (key, part), Stage.RESPONSE, "assistant"))
        elif key == "trace":
            texts.extend(read_trace(value, (key,)))
        elif key not in _SAID_OF_IT:
            texts.extend(read_rest(value, (key,)))
    return ReplyRead(tuple(texts), _summary(read))


class Reader:
    """Reads the events of a stream; keeps the name of each tool whose call is still being written."""

    def __init__(self) -> None:
        self._tools: dict[int, str | None] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: the beginning, a piece or the end of a block, or what is said of the message."""
        if event in _EVENTS:
            return self._event(event, data, ())
        said = mapping(data)
        reads = [self._event(key, value, (key,)) for key, value in said.items() if key in _EVENTS]
        beside = {key: value for key, value in said.items() if key not in _EVENTS} if reads else data
        return EventRead(
            texts=(*(text for read in reads for text in read.texts), *_pieces(beside, (), (event or "",))),
            closes=tuple(prefix for read in reads for prefix in read.closes),
            summary=next((read.summary for read in reads if read.summary is not None), None),
            terminal=any(read.terminal for read in reads),
        )

    def _event(self, kind: str, data: Any, path: Path) -> EventRead:
        said = mapping(data)
        index = integer(said.get("contentBlockIndex")) or 0
        texts: list[Text] = []
        rest = {} if isinstance(data, dict) else data
        for key, value in said.items():
            if key == _BLOCKS.get(kind) and isinstance(value, dict):
                texts.extend(self._block(value, (*path, key), index))
            elif key == "trace":
                texts.extend(read_trace(value, (*path, key)))
            elif key not in _SAID_OF_IT:
                rest[key] = value
        texts.extend(_pieces(rest, path, (kind,)))
        closes: tuple[Channel, ...] = ((index,),) if kind == "contentBlockStop" else ()
        if kind == "messageStop":
            # All texts are over; what they cost is still to come.
            closes = ((),)
        return EventRead(tuple(texts), closes, _summary(said), terminal=kind == "metadata")

    def _block(self, block: Any, path: Path, index: int) -> Iterator[Text]:
        for key, value in block.items():
            if key == "toolUse":
                if isinstance(value, dict) and "name" in value:
                    self._tools[index] = string(value["name"])
                    # The tool is called even with nothing.
                    if not value.get("input"):
                        yield self._argument(Text((*path, key, "input"), "", Stage.TOOL_CALL), index)
                for place, found in leaves(value, (*path, key), _OPAQUE):
                    if found:
                        yield self._argument(Text(place, found, Stage.TOOL_CALL), index, place[len(path) + 1 :])
            else:
                stage, role = _RESULT if key == "toolResult" else (Stage.RESPONSE, "assistant")
                for place, found in leaves(value, (*path, key), _OPAQUE):
                    if found:
                        yield Text(place, found, stage, role, channel=(index, *place[len(path) :]))

    def _argument(self, text: Text, index: int, place: Path = ("input",)) -> Text:
        return text._replace(
            role="assistant",
            tool=self._tools.get(index),
            channel=(index, "toolUse", *place),
            is_json=place == ("input",),
        )


_RESULT = (Stage.TOOL_RESULT, "tool")
# Under which key an event has a part of a content block.
_BLOCKS: Mapping[str, str] = {"contentBlockStart": "start", "contentBlockDelta": "delta"}
_EVENTS = frozenset(
    {"contentBlockDelta", "contentBlockStart", "contentBlockStop", "messageStart", "messageStop", "metadata"}
)


def _pieces(data: Any, path: Path, channel: Path) -> Iterator[Text]:
    """What an event of no known shape says, taken for pieces of texts that go on at the same places."""
    for text in read_rest(data, path):
        yield text._replace(channel=(*channel, *text.path))


def refuse(message: str) -> dict[str, Any]:
    """A message that says no, as when a guardrail of Amazon's stepped in."""
    said = {"role": "assistant", "content": [{"text": message}]}
    return {
        "output": {"message": said},
        "stopReason": "guardrail_intervened",
        "usage": {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0},
        "metrics": {"latencyMs": 0},
    }


def _message(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    if not isinstance(message, dict):
        yield from _leaves(message, path, stage, role)
        return
    role = string(message.get("role")) or role
    for key, value in message.items():
        if key == "content":
            yield from _blocks(value, (*path, key), stage, role)
        elif key not in _OPAQUE:
            yield from _leaves(value, (*path, key), stage, role)


def _blocks(value: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    if not isinstance(value, list | tuple):
        yield from _leaves(value, path, stage, role)
        return
    for index, block in enumerate(value):
        place = (*path, index)
        if isinstance(block, dict):
            for key, part in block.items():
                yield from _part(key, part, (*place, key), stage, role)
        else:
            yield from _leaves(block, place, stage, role)


def _part(key: str, part: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """One member of a content block, which is its kind: text, a call, a result, a document, or one never seen."""
    if key == "toolUse" and isinstance(part, dict):
        tool = string(part.get("name"))
        yield from structured_text(part.get("input", ""), (*path, "input"), Stage.TOOL_CALL, "assistant", tool)
        others = {name: value for name, value in part.items() if name != "input"}
        yield from _leaves(others, path, Stage.TOOL_CALL, "assistant")
    elif key == "toolResult":
        yield from _result(part, path)
    elif key == "json":
        yield from structured_text(part, path, stage, role)
    elif key == "document":
        yield from _leaves(part, path, stage, role, _DOCUMENT)
    elif key not in _OPAQUE:
        yield from _leaves(part, path, stage, role)


def _result(part: Any, path: Path) -> Iterator[Text]:
    if not isinstance(part, dict):
        yield from _leaves(part, path, *_RESULT)
        return
    for key, value in part.items():
        if key == "content":
            yield from _blocks(value, (*path, key), *_RESULT)
        elif key not in _OPAQUE:
            yield from _leaves(value, (*path, key), *_RESULT)


def _leaves(value: Any, path: Path, stage: Stage, role: str, opaque: frozenset[str] = _OPAQUE) -> Iterator[Text]:
    for place, found in leaves(value, path, opaque):
        if found:
            yield Text(place, found, stage, role)


def _summary(body: Mapping[str, Any]) -> Summary:
    reason = string(body.get("stopReason"))
    return replace(
        read_usage(body.get("usage")),
        finish_reasons=(reason,) if reason is not None else (),
        service_tier=string(mapping(body.get("serviceTier")).get("type")),
    )


CODEC = Codec(
    name="bedrock-converse",
    provider="bedrock",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    read_path=read_path,
    telling=re.compile(rb"messageStop|metadata|[Ee]xception"),
)
