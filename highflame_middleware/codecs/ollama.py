"""ollama: ``POST /api/chat``, ``/api/generate``, ``/api/embed``: Ollama's own API; its streams are JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .calls import items_of, read_arguments, text_beside
from .openai import fail, integer, mapping, number, read_definitions, read_unknown, stop_sequences, string, text_of
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_PROMPTS = {"system": "system", "template": "system", "prompt": "user", "suffix": "user", "input": "user"}
_MESSAGE = frozenset({"images", "role", "tool_call_id", "tool_name"})
_FUNCTION = frozenset({"arguments", "index", "name"})
_CALL = frozenset({"function", "id", "type"})
# What of a reply is not said by the model.
_REPORTED = frozenset(
    {
        "context",
        "created_at",
        "done",
        "done_reason",
        "embedding",
        "embeddings",
        "images",
        "logprobs",
        "message",
        "model",
    }
)


def read_call(body: Any) -> CallRead:
    """Every message, prompt and tool definition; the context, a conversation in token numbers, holds no text."""
    body = mapping(body)
    texts = [text for key, role in _PROMPTS.items() for text in text_of(body.get(key), (key,), Stage.PROMPT, role)]
    for position, message in items_of(body.get("messages")):
        role = string(mapping(message).get("role")) or "user"
        stage = Stage.TOOL_RESULT if role == "tool" else Stage.PROMPT
        texts.extend(_message(message, ("messages", *position), stage, role))
    for key in ("tools", "format"):
        texts.extend(read_definitions(body.get(key), (key,)))
    # Unlike elsewhere, what does not say that it is no stream is one.
    return CallRead(string(body.get("model")), body.get("stream") is not False, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    options = mapping(mapping(body).get("options"))
    return Params(
        max_tokens=integer(options.get("num_predict")),
        temperature=number(options.get("temperature")),
        top_p=number(options.get("top_p")),
        top_k=integer(options.get("top_k")),
        frequency_penalty=number(options.get("frequency_penalty")),
        presence_penalty=number(options.get("presence_penalty")),
        seed=integer(options.get("seed")),
        stop_sequences=stop_sequences(options.get("stop")),
        dimensions=integer(mapping(body).get("dimensions")),
    )


def read_reply(body: Any) -> ReplyRead:
    """What the model says and thinks, and the tools that it calls."""
    if not isinstance(body, dict):
        return ReplyRead(tuple(read_unknown(body)), Summary())
    return ReplyRead(tuple(_said(body)), _summary(body))


class Reader:
    """Reads lines: each says a piece of the same texts, or calls a tool outright."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - lines have no names
        """Read one line."""
        if not isinstance(data, dict):
            return EventRead(tuple(read_unknown(data)))
        texts = tuple(
            text if text.stage is Stage.TOOL_CALL else text._replace(channel=text.path) for text in _said(data)
        )
        ended = data.get("done") is True
        return EventRead(texts, (), _summary(data) if ended else None, terminal=ended)


def refuse(message: str) -> dict[str, Any]:
    """A reply that says no, in the place of whichever of the two."""
    said = {"role": "assistant", "content": message}
    return {"model": "", "created_at": "1970-01-01T00:00:00Z", "message": said, "response": message, "done": True}


def _name_operation(method: str, path: str) -> str | None:  # noqa: ARG001 - one method each
    kind = path.rstrip("/").rpartition("/")[2]
    return "embeddings" if kind.startswith("embed") else "text_completion" if kind == "generate" else "chat"


def _said(body: Any) -> Iterator[Text]:
    yield from _message(body.get("message"), ("message",), Stage.RESPONSE, "assistant")
    yield from text_beside(body, _REPORTED, (), Stage.RESPONSE, "assistant")


def _message(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    calls = mapping(message).get("tool_calls")
    known = _MESSAGE | {"tool_calls"} if calls is not None else _MESSAGE
    yield from text_beside(message, known, path, stage, role)
    for position, call in items_of(calls):
        yield from _call(call, (*path, "tool_calls", *position))


def _call(call: Any, path: Path) -> Iterator[Text]:
    function, place = mapping(call).get("function"), (*path, "function")
    name = string(mapping(function).get("name"))
    if isinstance(function, dict):
        yield from read_arguments(function, "arguments", place)
    for text in text_beside(function, _FUNCTION, place, Stage.TOOL_CALL, "assistant"):
        yield text._replace(tool=name)
    for text in text_beside(call, _CALL, path, Stage.TOOL_CALL, "assistant"):
        yield text._replace(tool=name)


def _summary(body: Any) -> Summary:
    reason = string(body.get("done_reason"))
    return Summary(
        model=string(body.get("model")),
        finish_reasons=(reason,) if reason is not None else (),
        input_tokens=integer(body.get("prompt_eval_count")),
        output_tokens=integer(body.get("eval_count")),
    )


CODEC = Codec(
    name="ollama",
    provider="openai",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    name_operation=_name_operation,
)
