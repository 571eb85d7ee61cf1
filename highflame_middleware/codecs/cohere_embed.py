"""cohere-embed: ``POST /v1|v2/embed``; texts go in, numbers and the caller's own texts come out."""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .cohere import fail, read_meta, text_of
from .openai import integer, mapping, read_unknown, sequence, string
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary, Text

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """The texts, one or several, and those of mixed inputs; images are passed."""
    body = mapping(body)
    texts = [text for key in ("texts", "inputs") for text in text_of(body.get(key), (key,), Stage.PROMPT, "user")]
    return CallRead(string(body.get("model")), stream=False, texts=tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    types = tuple(kind for kind in sequence(body.get("embedding_types")) if isinstance(kind, str))
    return Params(encoding_formats=types, dimensions=integer(body.get("output_dimension")))


def read_reply(body: Any) -> ReplyRead:
    """Numbers only; the texts in it are the caller's own, as they left."""
    read = mapping(body)
    texts: tuple[Text, ...] = () if "embeddings" in read else tuple(read_unknown(body))
    return ReplyRead(texts, Summary(id=string(read.get("id"))).updated(read_meta(read.get("meta"))))


class Reader:
    """There is no such stream; whatever comes is read as text."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002
        """Read one event."""
        return EventRead(tuple(read_unknown(data)))


def refuse(message: str) -> dict[str, Any]:
    """A reply without embeddings."""
    return {
        "id": "highflame",
        "embeddings": {"float": []},
        "texts": [],
        "response_type": "embeddings_by_type",
        "meta": {"warnings": [message]},
    }


CODEC = Codec(
    name="cohere-embed",
    provider="cohere",
    operation="embeddings",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
