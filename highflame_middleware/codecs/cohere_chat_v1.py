"""cohere-chat-v1: ``POST /v1/chat``, Cohere's first chat API: one message, its history, a stream of JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .calls import items_of, read_arguments, text_beside
from .cohere import OPAQUE, fail, read_meta, text_of
from .openai import integer, mapping, number, read_definitions, read_unknown, stop_sequences, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_CALL = frozenset({"call_id", "generation_id", "id", "name", "parameters", "type"})
_DOCUMENT = frozenset({"id"})
# What of a reply is not the model's own: the caller's side of the history, counts, and what tools are passed.
_APART = OPAQUE | {"chat_history", "conversation_id", "meta", "tool_call_delta", "tool_calls", "warnings"}
_CALLERS = frozenset({"user", "system"})
_PIECES: frozenset[str | None] = frozenset({"text-generation", "tool-calls-chunk"})


def read_call(body: Any) -> CallRead:
    """The message, its history, preambles, documents, tools and their results."""
    body = mapping(body)
    texts: list[Text] = []
    for key in ("message", "preamble", "preamble_override", "search_queries", "connectors"):
        role = "user" if key == "message" else "system"
        texts.extend(text_of(body.get(key), (key,), Stage.PROMPT, role))
    for position, message in items_of(body.get("chat_history")):
        texts.extend(_turn(message, ("chat_history", *position)))
    for position, document in items_of(body.get("documents")):
        place: Path = ("documents", *position)
        texts.extend(text_beside(document, _DOCUMENT, place, Stage.PROMPT, "document"))
    texts.extend(_results(body.get("tool_results"), ("tool_results",)))
    for key in ("tools", "response_format"):
        texts.extend(read_definitions(body.get(key), (key,)))
    return CallRead(string(body.get("model")), body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    return Params(
        max_tokens=integer(body.get("max_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("p")),
        top_k=integer(body.get("k")),
        frequency_penalty=number(body.get("frequency_penalty")),
        presence_penalty=number(body.get("presence_penalty")),
        seed=integer(body.get("seed")),
        stop_sequences=stop_sequences(body.get("stop_sequences")),
        conversation_id=string(body.get("conversation_id")),
    )


def read_reply(body: Any) -> ReplyRead:
    """What the model says, cites, searches for and calls, and its own turns of the history."""
    read = mapping(body)
    if not read.keys() & {"text", "tool_calls", "search_queries", "message"}:
        return ReplyRead(tuple(read_unknown(body)), _summary(read))
    return ReplyRead(tuple(_reply(read, ())), _summary(read))


class Reader:
    """Reads events; keeps the names of the tools whose parameters are still coming."""

    def __init__(self) -> None:
        self._tools: dict[int, str] = {}

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - lines have no names
        """Read one event: a piece of the text, something whole, or all of the reply again at the end."""
        body = mapping(data)
        if not body.keys() & {"event_type", "is_finished", "text"}:
            return EventRead(tuple(read_unknown(data)))
        ended = body.get("event_type") == "stream-end" or body.get("is_finished") is True
        said = [
            text._replace(channel=text.path) if self._growing(body, text.path) else text
            for text in _reply(body, (), told="response")
        ]
        texts = [*said, *self._delta(body.get("tool_call_delta"))]
        response = mapping(body.get("response"))
        texts.extend(_reply(response, ("response",)))
        return EventRead(tuple(texts), (), _summary(response) if ended else None, terminal=ended)

    @staticmethod
    def _growing(body: Any, path: Path) -> bool:
        # The oldest streams do not name their events.
        return path == ("text",) and (string(body.get("event_type")) in _PIECES or "event_type" not in body)

    def _delta(self, delta: Any) -> Iterator[Text]:
        place: Path = ("tool_call_delta",)
        index = integer(mapping(delta).get("index")) or 0
        if name := string(mapping(delta).get("name")):
            self._tools[index] = name
        for key in mapping(delta):
            where = (*place, key)
            if key == "parameters":
                for text in read_arguments(delta, key, place):
                    channel = None if text.structured else (*where, index)
                    yield text._replace(tool=self._tools.get(index), channel=channel)
            elif key not in _CALL:
                for text in text_of(delta[key], where, Stage.RESPONSE, "assistant"):
                    yield text._replace(channel=(*text.path, index))


def refuse(message: str) -> dict[str, Any]:
    """A reply that says no."""
    return {"response_id": "highflame", "generation_id": "highflame", "text": message, "finish_reason": "ERROR"}


def _reply(body: Any, path: Path, told: str | None = None) -> Iterator[Text]:
    known = _APART if told is None else _APART | {told}
    for key, value in body.items():
        if key not in known:
            yield from text_of(value, (*path, key), Stage.RESPONSE, "assistant")
    yield from _calls(body.get("tool_calls"), (*path, "tool_calls"))
    for position, turn in items_of(body.get("chat_history")):
        if (string(mapping(turn).get("role")) or "").lower() not in _CALLERS:
            for text in _turn(turn, (*path, "chat_history", *position)):
                yield text._replace(stage=Stage.RESPONSE) if text.stage is Stage.PROMPT else text


def _turn(turn: Any, path: Path) -> Iterator[Text]:
    role = (string(mapping(turn).get("role")) or "user").lower()
    role = "assistant" if role == "chatbot" else role
    if not isinstance(turn, dict):
        yield from text_of(turn, path, Stage.PROMPT, role)
        return
    for key, value in turn.items():
        if key == "tool_calls":
            yield from _calls(value, (*path, key))
        elif key == "tool_results":
            yield from _results(value, (*path, key))
        elif key not in OPAQUE:
            yield from text_of(value, (*path, key), Stage.PROMPT, role)


def _calls(value: Any, path: Path) -> Iterator[Text]:
    for position, call in items_of(value):
        place = (*path, *position)
        if isinstance(call, dict):
            yield from read_arguments(call, "parameters", place)
        for text in text_beside(call, _CALL, place, Stage.TOOL_CALL, "assistant"):
            yield text._replace(tool=string(mapping(call).get("name")))


def _results(value: Any, path: Path) -> Iterator[Text]:
    for position, result in items_of(value):
        place = (*path, *position)
        call = mapping(result).get("call")
        if isinstance(call, dict):
            yield from _calls(call, (*place, "call"))
        known = frozenset({"call"}) if isinstance(call, dict) else frozenset()
        for text in text_beside(result, known, place, Stage.TOOL_RESULT, "tool"):
            yield text._replace(tool=string(mapping(call).get("name")))


def _summary(body: Any) -> Summary:
    reason = string(body.get("finish_reason"))
    told = Summary(
        id=string(body.get("response_id")) or string(body.get("generation_id")),
        finish_reasons=(reason,) if reason is not None else (),
    )
    return told.updated(read_meta(body.get("meta")))


CODEC = Codec(
    name="cohere-chat-v1",
    provider="cohere",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
