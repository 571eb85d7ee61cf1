"""openai-chat: ``POST /chat/completions``, its JSON replies and its stream of chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..types import Stage
from .calls import read_arguments
from .openai import (
    OPAQUE,
    fail,
    integer,
    mapping,
    number,
    read_definitions,
    read_unknown,
    sequence,
    stop_sequences,
    string,
    text_of,
)
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

_RESULT_ROLES = frozenset({"tool", "function"})
# A message's tool calls by key, and what stands there if they are calls indeed.
_CALLS: Mapping[str, type | tuple[type, ...]] = {"tool_calls": (list, tuple), "function_call": dict}
_CALLED = frozenset({"arguments", "input", "name"})
# Where the texts of a choice stand, whole or in pieces; some providers say them twice.
_SPOKEN = ("message", "delta", "text")


def read_call(body: Any) -> CallRead:
    """Every message, tool definition and prediction that the model will read."""
    body = mapping(body)
    texts: list[Text] = []
    for index, message in enumerate(sequence(body.get("messages"))):
        role = string(mapping(message).get("role")) or "user"
        stage = Stage.TOOL_RESULT if role in _RESULT_ROLES else Stage.PROMPT
        texts.extend(_message(message, ("messages", index), stage, role))
    # Mistral has a model fill in the middle of a text: a call without messages.
    for key in ("prompt", "suffix"):
        texts.extend(text_of(body.get(key), (key,), Stage.PROMPT, "user"))
    for key in ("tools", "functions", "response_format"):
        texts.extend(read_definitions(body.get(key), (key,)))
    texts.extend(
        text_of(mapping(body.get("prediction")).get("content"), ("prediction", "content"), Stage.PROMPT, "user")
    )
    return CallRead(string(body.get("model")), body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    kind = mapping(body.get("response_format")).get("type")
    return Params(
        max_tokens=integer(body.get("max_completion_tokens")) or integer(body.get("max_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("top_p")),
        frequency_penalty=number(body.get("frequency_penalty")),
        presence_penalty=number(body.get("presence_penalty")),
        seed=integer(body.get("seed")),
        choice_count=integer(body.get("n")),
        stop_sequences=stop_sequences(body.get("stop")),
        output_type="json" if kind in ("json_object", "json_schema") else "text" if kind == "text" else None,
        service_tier=string(body.get("service_tier")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every choice's message; also those of a listing of stored completions, or of one's messages."""
    read = mapping(body)
    if "choices" not in read and "data" not in read:
        return ReplyRead(tuple(read_unknown(body)), _summary(read))
    texts = list(_choices(read, ()))
    for index, item in enumerate(sequence(read.get("data"))):
        if "choices" in mapping(item):
            texts.extend(_choices(item, ("data", index)))
        else:
            texts.extend(_message(item, ("data", index), Stage.RESPONSE, "assistant"))
    return ReplyRead(tuple(texts), _summary(read))


class Reader:
    """Reads chunks; keeps the calls whose arguments are still coming: their names, and which is which."""

    def __init__(self) -> None:
        self._tools: dict[Channel, str] = {}
        self._calls: dict[Channel, tuple[str, int]] = {}

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - chat chunks carry no event name
        """Read one chunk: deltas of every choice, and which choices it finishes."""
        chunk = mapping(data)
        if "choices" not in chunk:
            return EventRead(tuple(read_unknown(data)))
        texts: list[Text] = []
        closes: list[Channel] = []
        for position, choice in enumerate(sequence(chunk.get("choices"))):
            choice = mapping(choice)  # noqa: PLW2901 - the same thing, known to be an object
            path: Path = ("choices", position)
            index = _index(choice, position)
            shadows = _logprobs(choice, path)
            for key in _SPOKEN:
                if (said := choice.get(key)) is not None:
                    pieces = self._pieces(said, (*path, key), (index, key))
                    texts.extend(text._replace(shadows=shadows) if shadows else text for text in pieces)
            if string(choice.get("finish_reason")):
                closes.append((index,))
        return EventRead(tuple(texts), tuple(closes), _summary(chunk))

    def _pieces(self, delta: Any, path: Path, channel: Channel) -> Iterator[Text]:
        for place, position, call, function in _calls(delta, path):
            numbered: Channel = (*channel, place[len(path)], _index(call, position))
            collected = self._collected(numbered, call, function)
            for text in _arguments(function, place):
                where = None if text.structured else (*collected, *text.path[len(place) :])
                yield text._replace(tool=self._tools.get(collected), channel=where)
        for text in _prose(delta, path, Stage.RESPONSE, "assistant"):
            yield text._replace(channel=(*channel, *text.path[len(path) :]))

    def _collected(self, numbered: Channel, call: Any, function: Any) -> Channel:
        """Where a call's arguments are collected: apart from another call's that came under the same number."""
        name, identity = string(function.get("name")), string(call.get("id"))
        known, count = self._calls.get(numbered, ("", 0))
        if name is not None and identity is not None and identity != known:
            count += 1
            self._calls[numbered] = (identity, count)
        if name is not None:
            self._tools[*numbered, count] = name
        return (*numbered, count)


def refuse(message: str) -> dict[str, Any]:
    """A completion whose only choice is a refusal."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": message},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return {"id": "chatcmpl-highflame", "object": "chat.completion", "created": 0, "model": "", "choices": [choice]}


def _choices(body: Any, path: Path) -> Iterator[Text]:
    for index, choice in enumerate(sequence(body.get("choices"))):
        place: Path = (*path, "choices", index)
        shadows = _logprobs(choice, place)
        for key in _SPOKEN:
            for text in _message(mapping(choice).get(key), (*place, key), Stage.RESPONSE, "assistant"):
                yield text._replace(shadows=shadows)


def _message(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    for place, _, _, function in _calls(message, path):
        yield from _arguments(function, place)
    yield from _prose(message, path, stage, role)


def _prose(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """A message but for the tools that it calls; all of it where it is no object."""
    if not isinstance(message, dict):
        yield from text_of(message, path, stage, role)
        return
    for key, value in message.items():
        called = isinstance(value, _CALLS[key]) if key in _CALLS else key in OPAQUE
        if not called:
            yield from text_of(value, (*path, key), stage, role)


def _calls(message: Any, path: Path) -> Iterator[tuple[Path, int, Any, Any]]:
    """The tools that a message calls: where each function stands, which call it is, the call, the function."""
    message = mapping(message)
    for position, call in enumerate(sequence(message.get("tool_calls"))):
        place: Path = (*path, "tool_calls", position)
        keys = [key for key, value in mapping(call).items() if not _CALLED.isdisjoint(mapping(value))]
        for key in keys:
            yield (*place, key), position, call, call[key]
        if not keys:
            yield place, position, mapping(call), mapping(call)
    if isinstance(function := message.get("function_call"), dict):
        yield (*path, "function_call"), 0, {}, function


def _arguments(function: Any, path: Path) -> Iterator[Text]:
    """What the model passes to a tool: JSON in a string, a custom tool's free input, or a shape never seen.

    Nothing at all is an empty text: the tool is called all the same.
    """
    name = string(function.get("name"))
    found = False
    for key, value in function.items():
        if key == "arguments" and isinstance(value, dict | list):
            # Some providers write them as they are.
            found = True
            yield from read_arguments(function, key, path)
        elif key not in OPAQUE:
            is_json = key == "arguments" and isinstance(value, str)
            for place, text in leaves(value, (*path, key), frozenset()):
                if text:
                    found = True
                    yield Text(place, text, Stage.TOOL_CALL, "assistant", name, None, is_json)
    if name is not None and not found:
        key = "input" if "input" in function else "arguments"
        yield Text((*path, key), "", Stage.TOOL_CALL, "assistant", name, None, key == "arguments")


def _index(numbered: Any, position: int) -> int:
    """The number that a choice or call gives itself, or its place where it gives none."""
    given = integer(mapping(numbered).get("index"))
    return position if given is None else given


def _logprobs(choice: Any, path: Path) -> tuple[Path, ...]:
    return ((*path, "logprobs"),) if mapping(choice).get("logprobs") else ()


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    choices = [mapping(choice) for choice in sequence(body.get("choices"))]
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=tuple(reason for choice in choices if (reason := string(choice.get("finish_reason")))),
        input_tokens=integer(usage.get("prompt_tokens")),
        output_tokens=integer(usage.get("completion_tokens")),
        cached_tokens=integer(mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=integer(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        service_tier=string(body.get("service_tier")),
        system_fingerprint=string(body.get("system_fingerprint")),
    )


CODEC = Codec(
    name="openai-chat",
    provider="openai",
    operation="chat",
    api_type="chat_completions",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    telling=re.compile(rb'"finish_reason": ?"|"usage": ?\{|\[DONE\]'),
)
