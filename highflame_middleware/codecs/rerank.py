"""rerank: ``POST /rerank`` of Cohere and those who copied it; a query and documents in, an order out."""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .calls import items_of, text_beside
from .cohere import fail, read_meta
from .openai import integer, mapping, read_unknown, string
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_DOCUMENT = frozenset({"id", "image_url"})


def read_call(body: Any) -> CallRead:
    """The query and every document, as text or in fields."""
    body = mapping(body)
    texts = list(text_beside(body.get("query"), frozenset(), ("query",), Stage.PROMPT, "user"))
    for position, document in items_of(body.get("documents")):
        texts.extend(text_beside(document, _DOCUMENT, ("documents", *position), Stage.PROMPT, "document"))
    return CallRead(string(body.get("model")), stream=False, texts=tuple(texts))


def read_params(body: Any) -> Params:  # noqa: ARG001 - none of its parameters has a name in telemetry
    """Nothing."""
    return Params()


def read_reply(body: Any) -> ReplyRead:
    """Scores only; the documents in it, where they are asked for, are the caller's own, as they left."""
    read = mapping(body)
    texts: tuple[Text, ...] = () if read.keys() & {"results", "data"} else tuple(read_unknown(body))
    told = Summary(
        id=string(read.get("id")),
        model=string(read.get("model")),
        input_tokens=integer(mapping(read.get("usage")).get("total_tokens")),
    )
    return ReplyRead(texts, told.updated(read_meta(read.get("meta"))))


class Reader:
    """There is no such stream; whatever comes is read as text."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002
        """Read one event."""
        return EventRead(tuple(read_unknown(data)))


def refuse(message: str) -> dict[str, Any]:
    """A reply without results."""
    return {"id": "highflame", "results": [], "meta": {"warnings": [message]}}


CODEC = Codec(
    name="rerank",
    provider="cohere",
    operation="rerank",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
