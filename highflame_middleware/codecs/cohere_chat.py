"""cohere-chat: ``POST /v2/chat``, its JSON replies and its stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .calls import items_of, read_arguments, text_beside
from .cohere import OPAQUE, fail, read_meta, text_of
from .openai import integer, mapping, number, read_definitions, read_unknown, sequence, stop_sequences, string
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_FUNCTION = frozenset({"arguments", "name"})
_CALL = frozenset({"function", "id", "type"})
_DOCUMENT = frozenset({"id"})
# Where an event says something of the message, and what of an event is about the event itself.
_DELTA: Path = ("delta", "message")
_FRAME = frozenset({"delta", "id", "index", "logprobs", "type"})
_SAID = frozenset({"finish_reason", "message", "usage"})
_ENDS = {"content-end": "content", "tool-call-end": "tool_calls"}


def read_call(body: Any) -> CallRead:
    """Every message, document and tool definition that the model will read."""
    body = mapping(body)
    texts: list[Text] = []
    for index, message in enumerate(sequence(body.get("messages"))):
        role = string(mapping(message).get("role")) or "user"
        stage = Stage.TOOL_RESULT if role == "tool" else Stage.PROMPT
        texts.extend(_message(message, ("messages", index), stage, role))
    for place, document in items_of(body.get("documents")):
        texts.extend(text_beside(document, _DOCUMENT, ("documents", *place), Stage.PROMPT, "document"))
    for key in ("tools", "response_format"):
        texts.extend(read_definitions(body.get(key), (key,)))
    return CallRead(string(body.get("model")), body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    kind = mapping(body.get("response_format")).get("type")
    return Params(
        max_tokens=integer(body.get("max_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("p")),
        top_k=integer(body.get("k")),
        frequency_penalty=number(body.get("frequency_penalty")),
        presence_penalty=number(body.get("presence_penalty")),
        seed=integer(body.get("seed")),
        stop_sequences=stop_sequences(body.get("stop_sequences")),
        output_type="json" if kind == "json_object" else "text" if kind == "text" else None,
    )


def read_reply(body: Any) -> ReplyRead:
    """The message: its content, its plan, the tools it calls, what it cites."""
    read = mapping(body)
    if "message" not in read:
        return ReplyRead(tuple(read_unknown(body)), _summary(read))
    shadows = (("logprobs",),) if read.get("logprobs") else ()
    texts = _message(read["message"], ("message",), Stage.RESPONSE, "assistant")
    return ReplyRead(tuple(text._replace(shadows=shadows) for text in texts), _summary(read))


class Reader:
    """Reads events; keeps the names of the tools whose arguments are still coming."""

    def __init__(self) -> None:
        self._tools: dict[Channel, str] = {}

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - the data names the event as well
        """Read one event: a piece of the message, or the end of one of its parts."""
        body = mapping(data)
        kind, index = string(body.get("type")), integer(body.get("index")) or 0
        if kind is None:
            return EventRead(tuple(read_unknown(data)))
        shadows = (("logprobs",),) if body.get("logprobs") else ()
        texts = [text._replace(shadows=shadows) for text in self._pieces(body, index)]
        closes: tuple[Channel, ...] = ((_ENDS[kind], index),) if kind in _ENDS else ()
        ended = kind == "message-end"
        delta = mapping(body.get("delta"))
        summary = None
        if ended or kind == "message-start":
            summary = _summary({**delta, "id": body.get("id")})
        return EventRead(tuple(texts), closes, summary, terminal=ended)

    def _pieces(self, body: Any, index: int) -> Iterator[Text]:
        message = mapping(mapping(body.get("delta")).get("message"))
        for key, value in message.items():
            place: Path = (*_DELTA, key)
            if key == "tool_calls":
                yield from self._calls(value, place, index)
            elif key == "citations":
                yield from text_of(value, place, Stage.RESPONSE, "assistant")
            elif key not in OPAQUE:
                for text in text_of(value, place, Stage.RESPONSE, "assistant"):
                    # Successive events of one part have the same index and say their pieces at the same place.
                    yield text._replace(channel=(key, index, *text.path[len(place) :]))
        yield from text_beside(body, _FRAME, (), Stage.RESPONSE, "assistant")
        yield from text_beside(body.get("delta"), _SAID, ("delta",), Stage.RESPONSE, "assistant")

    def _calls(self, value: Any, path: Path, index: int) -> Iterator[Text]:
        for position, call in items_of(value):
            numbered: Channel = ("tool_calls", index, *position)
            if name := string(mapping(mapping(call).get("function")).get("name")):
                self._tools[numbered] = name
            place: Path = (*path, *position)
            for text in _call(call, place):
                channel = None if text.structured else (*numbered, *text.path[len(place) :])
                yield text._replace(tool=self._tools.get(numbered), channel=channel)


def refuse(message: str) -> dict[str, Any]:
    """A reply whose message says no."""
    content = [{"type": "text", "text": message}]
    return {
        "id": "highflame",
        "message": {"role": "assistant", "content": content},
        "finish_reason": "ERROR",
        "usage": {},
    }


def _message(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    if not isinstance(message, dict):
        yield from text_of(message, path, stage, role)
        return
    for key, value in message.items():
        place: Path = (*path, key)
        if key == "tool_calls":
            for position, call in items_of(value):
                yield from _call(call, (*place, *position))
        elif key not in OPAQUE:
            yield from text_of(value, place, stage, role)


def _call(call: Any, path: Path) -> Iterator[Text]:
    """What one call passes to its tool; whatever else it says belongs to the call as well."""
    function, place = mapping(call).get("function"), (*path, "function")
    if isinstance(function, dict):
        yield from read_arguments(function, "arguments", place)
    name = string(mapping(function).get("name"))
    for text in text_beside(function, _FUNCTION, place, Stage.TOOL_CALL, "assistant"):
        yield text._replace(tool=name)
    for text in text_beside(call, _CALL, path, Stage.TOOL_CALL, "assistant"):
        yield text._replace(tool=name)


def _summary(body: Any) -> Summary:
    reason = string(body.get("finish_reason"))
    told = Summary(id=string(body.get("id")), finish_reasons=(reason,) if reason is not None else ())
    return told.updated(read_meta(body.get("usage")))


CODEC = Codec(
    name="cohere-chat",
    provider="cohere",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
