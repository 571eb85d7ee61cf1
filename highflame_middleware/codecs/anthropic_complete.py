"""anthropic-complete: ``POST /v1/complete``, the older API: one prompt in, one completion out."""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .anthropic import fail
from .openai import integer, mapping, number, read_unknown, stop_sequences, string
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary, Text

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """The prompt, which is the whole conversation; all of a body that has none."""
    read = mapping(body)
    prompt = read.get("prompt")
    if isinstance(prompt, str):
        texts: tuple[Text, ...] = (Text(("prompt",), prompt, Stage.PROMPT, "user"),) if prompt else ()
    else:
        texts = tuple(text._replace(stage=Stage.PROMPT, role="user") for text in read_unknown(body))
    return CallRead(string(read.get("model")), read.get("stream") is True, texts)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    return Params(
        max_tokens=integer(body.get("max_tokens_to_sample")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("top_p")),
        top_k=integer(body.get("top_k")),
        stop_sequences=stop_sequences(body.get("stop_sequences")),
    )


def read_reply(body: Any) -> ReplyRead:
    """The completion, or all of what is none."""
    return ReplyRead(_said(body), _summary(mapping(body)))


class Reader:
    """Reads the events of a stream: a piece of the completion each, the last one with the reason for its end."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event."""
        said = mapping(data)
        kind = string(said.get("type")) or event
        texts = _said(data)
        if not isinstance(said.get("completion"), str):
            return EventRead(texts, terminal=kind == "error")
        texts = tuple(text._replace(channel=text.path) for text in texts)
        return EventRead(texts, summary=_summary(said), terminal=string(said.get("stop_reason")) is not None)


def refuse(message: str) -> dict[str, Any]:
    """A completion that says no."""
    return {
        "id": "compl_highflame",
        "type": "completion",
        "completion": message,
        "stop_reason": "stop_sequence",
        "stop": None,
        "model": "",
    }


def _said(body: Any) -> tuple[Text, ...]:
    completion = mapping(body).get("completion")
    if not isinstance(completion, str):
        return tuple(read_unknown(body))
    return (Text(("completion",), completion, Stage.RESPONSE, "assistant"),) if completion else ()


def _summary(body: Any) -> Summary:
    reason = string(body.get("stop_reason"))
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=(reason,) if reason is not None else (),
    )


CODEC = Codec(
    name="anthropic-complete",
    provider="anthropic",
    operation="text_completion",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
