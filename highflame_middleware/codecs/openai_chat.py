"""openai-chat: ``POST /chat/completions``, its JSON replies and its stream of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import (
    OPAQUE,
    error_event,
    integer,
    mapping,
    number,
    read_definitions,
    sequence,
    stop_sequences,
    string,
    text_of,
)
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_RESULT_ROLES = frozenset({"tool", "function"})
_CALL_KEYS = frozenset({"tool_calls", "function_call"})


def read_call(body: Any) -> CallRead:
    """Every message, tool definition and prediction that the model will read."""
    body = mapping(body)
    texts: list[Text] = []
    for index, message in enumerate(sequence(body.get("messages"))):
        role = str(mapping(message).get("role") or "user")
        stage = Stage.TOOL_RESULT if role in _RESULT_ROLES else Stage.PROMPT
        texts.extend(_message(message, ("messages", index), stage, role))
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
    """Every choice's message."""
    body = mapping(body)
    texts: list[Text] = []
    for index, choice in enumerate(sequence(body.get("choices"))):
        path: Path = ("choices", index)
        shadows = _logprobs(choice, path)
        for text in _message(mapping(choice).get("message"), (*path, "message"), Stage.RESPONSE, "assistant"):
            texts.append(text._replace(shadows=shadows))
    return ReplyRead(tuple(texts), _summary(body))


class Reader:
    """Reads chunks; keeps the names of the tools whose arguments are still coming."""

    def __init__(self) -> None:
        self._tools: dict[Channel, str] = {}

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - chat chunks carry no event name
        """Read one chunk: deltas of every choice, and which choices it finishes."""
        data = mapping(data)
        texts: list[Text] = []
        closes: list[Channel] = []
        for position, choice in enumerate(sequence(data.get("choices"))):
            choice = mapping(choice)  # noqa: PLW2901 - the same thing, known to be an object
            path: Path = ("choices", position)
            index = integer(choice.get("index")) or 0
            shadows = _logprobs(choice, path)
            for text in self._deltas(mapping(choice.get("delta")), (*path, "delta"), index):
                texts.append(text._replace(shadows=shadows))
            if choice.get("finish_reason") is not None:
                closes.append((index,))
        summary = _summary(data) if data else None
        return EventRead(tuple(texts), tuple(closes), summary)

    def _deltas(self, delta: Any, path: Path, index: int) -> Iterator[Text]:
        for position, call in enumerate(sequence(delta.get("tool_calls"))):
            channel: Channel = (index, "tool_calls", integer(mapping(call).get("index")) or 0)
            for key in ("function", "custom"):
                yield from self._arguments(mapping(call).get(key), (*path, "tool_calls", position, key), channel)
        yield from self._arguments(delta.get("function_call"), (*path, "function_call"), (index, "function_call"))
        for key, value in delta.items():
            if key not in OPAQUE and key not in _CALL_KEYS:
                for text in text_of(value, (*path, key), Stage.RESPONSE, "assistant"):
                    yield text._replace(channel=(index, *text.path[len(path) :]))

    def _arguments(self, function: Any, path: Path, channel: Channel) -> Iterator[Text]:
        if name := string(mapping(function).get("name")):
            self._tools[channel] = name
        for text in _arguments(function, path):
            yield text._replace(tool=self._tools.get(channel), channel=channel)


def refuse(message: str) -> dict[str, Any]:
    """A completion whose only choice is a refusal."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": message},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return {"id": "chatcmpl-highflame", "object": "chat.completion", "created": 0, "model": "", "choices": [choice]}


def _message(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    message = mapping(message)
    for position, call in enumerate(sequence(message.get("tool_calls"))):
        for key in ("function", "custom"):
            yield from _arguments(mapping(call).get(key), (*path, "tool_calls", position, key))
    yield from _arguments(message.get("function_call"), (*path, "function_call"))
    for key, value in message.items():
        if key not in OPAQUE and key not in _CALL_KEYS:
            yield from text_of(value, (*path, key), stage, role)


def _arguments(function: Any, path: Path) -> Iterator[Text]:
    """What the model passes to a tool: a function's JSON arguments, or a custom tool's free input."""
    function = mapping(function)
    for key, is_json in (("arguments", True), ("input", False)):
        if value := string(function.get(key)):
            yield Text(
                (*path, key), value, Stage.TOOL_CALL, "assistant", string(function.get("name")), None, is_json
            )


def _logprobs(choice: Any, path: Path) -> tuple[Path, ...]:
    return ((*path, "logprobs"),) if mapping(choice).get("logprobs") else ()


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    choices = [mapping(choice) for choice in sequence(body.get("choices"))]
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=tuple(str(choice["finish_reason"]) for choice in choices if choice.get("finish_reason")),
        input_tokens=integer(usage.get("prompt_tokens")),
        output_tokens=integer(usage.get("completion_tokens")),
        cached_tokens=integer(mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=integer(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        service_tier=string(body.get("service_tier")),
        system_fingerprint=string(body.get("system_fingerprint")),
    )


CODEC = Codec(
    name="openai-chat",
    operation="chat",
    api_type="chat_completions",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=error_event,
)
