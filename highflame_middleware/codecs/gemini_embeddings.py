"""gemini-embeddings: ``embedContent``, ``batchEmbedContents``, and ``predict`` of Vertex's embedding models."""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .google import fail, pick, read_path, walk
from .openai import integer, mapping, sequence, string
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """What is to be embedded, and its titles."""
    model = string(mapping(body).get("model"))
    texts = tuple(walk(body, (), Stage.PROMPT, "user"))
    return CallRead(model.removeprefix("models/") if model else None, stream=False, texts=texts)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry; of several requests the first one's."""
    asked = (body, *sequence(mapping(body).get("requests"))[:1], mapping(body).get("parameters"))
    found = (
        integer(pick(place, "outputDimensionality"))
        for item in asked
        for place in (item, pick(item, "embedContentConfig"))
    )
    return Params(dimensions=next((value for value in found if value is not None), None))


def read_reply(body: Any) -> ReplyRead:
    """No text; the tokens used."""
    tokens = integer(pick(pick(body, "usageMetadata"), "promptTokenCount"))
    for item in (*sequence(mapping(body).get("predictions")), *sequence(mapping(body).get("embeddings"))):
        embedding = mapping(mapping(item).get("embeddings") or item)
        counted = pick(embedding.get("statistics"), "tokenCount")
        if isinstance(counted, int | float) and not isinstance(counted, bool) and counted == counted // 1:
            tokens = (tokens or 0) + int(counted)
    return ReplyRead((), Summary(input_tokens=tokens))


class Reader:
    """Embeddings are never streamed; whatever comes is passed on."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002
        """Nothing of an embedding stream is known."""
        return EventRead()


def refuse(message: str) -> dict[str, Any]:  # noqa: ARG001 - vectors cannot say why
    """A reply without vectors."""
    return {"embeddings": []}


CODEC = Codec(
    name="gemini-embeddings",
    provider="gemini",
    operation="embeddings",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    read_path=read_path,
)
