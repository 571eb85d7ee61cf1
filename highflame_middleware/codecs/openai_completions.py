"""openai-completions: ``POST /completions``, the older text-in, text-out API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import fail, integer, mapping, number, read_unknown, sequence, stop_sequences, string, text_of
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """The prompt, one or several, and the suffix; prompts given as token numbers hold no text to read."""
    body = mapping(body)
    texts = [text for key in ("prompt", "suffix") for text in text_of(body.get(key), (key,), Stage.PROMPT, "user")]
    return CallRead(string(body.get("model")), body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    return Params(
        max_tokens=integer(body.get("max_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("top_p")),
        frequency_penalty=number(body.get("frequency_penalty")),
        presence_penalty=number(body.get("presence_penalty")),
        seed=integer(body.get("seed")),
        choice_count=integer(body.get("n")),
        stop_sequences=stop_sequences(body.get("stop")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every choice's text."""
    read = mapping(body)
    if "choices" not in read:
        return ReplyRead(tuple(read_unknown(body)), _summary(read))
    return ReplyRead(tuple(text for _, text in _choices(read)), _summary(read))


class Reader:
    """Reads chunks; each choice is one text."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002 - these chunks carry no event name
        """Read one chunk: a piece of each choice's text, and which choices it finishes."""
        body = mapping(data)
        if "choices" not in body:
            return EventRead(tuple(read_unknown(data)))
        closes: list[Channel] = [
            (_index(choice, position),)
            for position, choice in enumerate(sequence(body.get("choices")))
            if string(mapping(choice).get("finish_reason"))
        ]
        texts = tuple(text._replace(channel=(index,)) for index, text in _choices(body))
        return EventRead(texts, tuple(closes), _summary(body))


def refuse(message: str) -> dict[str, Any]:
    """A completion whose only choice says no."""
    choice = {"index": 0, "text": message, "logprobs": None, "finish_reason": "content_filter"}
    return {"id": "cmpl-highflame", "object": "text_completion", "created": 0, "model": "", "choices": [choice]}


def _choices(body: Any) -> Iterator[tuple[int, Text]]:
    for position, choice in enumerate(sequence(body.get("choices"))):
        path: Path = ("choices", position)
        if value := string(mapping(choice).get("text")):
            shadows = ((*path, "logprobs"),) if choice.get("logprobs") else ()
            text = Text((*path, "text"), value, Stage.RESPONSE, "assistant", shadows=shadows)
            yield _index(choice, position), text


def _index(choice: Any, position: int) -> int:
    given = integer(mapping(choice).get("index"))
    return position if given is None else given


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    choices = [mapping(choice) for choice in sequence(body.get("choices"))]
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=tuple(reason for choice in choices if (reason := string(choice.get("finish_reason")))),
        input_tokens=integer(usage.get("prompt_tokens")),
        output_tokens=integer(usage.get("completion_tokens")),
    )


CODEC = Codec(
    name="openai-completions",
    provider="openai",
    operation="text_completion",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    telling=re.compile(rb'"finish_reason": ?"|"usage": ?\{|\[DONE\]'),
)
