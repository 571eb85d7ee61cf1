"""openai-embeddings: ``POST /embeddings``; text goes in, only numbers come out."""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .openai import fail, integer, mapping, string, text_of
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """The input, one text or several; input given as token numbers holds no text to read."""
    body = mapping(body)
    # Ollama's older path takes it as the prompt.
    texts = tuple(
        text for key in ("input", "prompt") for text in text_of(body.get(key), (key,), Stage.PROMPT, "user")
    )
    return CallRead(string(body.get("model")), stream=False, texts=texts)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    encoding = string(body.get("encoding_format"))
    return Params(encoding_formats=(encoding,) if encoding else (), dimensions=integer(body.get("dimensions")))


def read_reply(body: Any) -> ReplyRead:
    """No text; the model and the tokens used."""
    body = mapping(body)
    usage = mapping(body.get("usage"))
    return ReplyRead((), Summary(model=string(body.get("model")), input_tokens=integer(usage.get("prompt_tokens"))))


class Reader:
    """Embeddings are never streamed; whatever comes is passed on."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002
        """Nothing of an embedding stream is known."""
        return EventRead()


def refuse(message: str) -> dict[str, Any]:  # noqa: ARG001 - vectors cannot say why
    """A list without vectors."""
    return {"object": "list", "data": [], "model": "", "usage": {"prompt_tokens": 0, "total_tokens": 0}}


CODEC = Codec(
    name="openai-embeddings",
    provider="openai",
    operation="embeddings",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
