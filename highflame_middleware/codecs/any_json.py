"""any-json: replies of an application in a shape of its own, where all that is known is that they are JSON.

Only the ASGI middleware uses it, and only for the replies to calls that it
could read: such an endpoint talks to a model, whatever shape it answers in.
"""

from __future__ import annotations

from typing import Any

from ..types import Stage
from .openai import fail, read_unknown
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """Every string."""
    texts = tuple(text._replace(stage=Stage.PROMPT, role="user") for text in read_unknown(body))
    return CallRead(None, stream=False, texts=texts)


def read_params(body: Any) -> Params:  # noqa: ARG001 - an unknown shape has no known parameters
    """Nothing."""
    return Params()


def read_reply(body: Any) -> ReplyRead:
    """Every string."""
    return ReplyRead(tuple(read_unknown(body)), Summary())


class Reader:
    """Takes what stands at the same place in successive events for the pieces of one text."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event."""
        return EventRead(tuple(text._replace(channel=(event or "", *text.path)) for text in read_unknown(data)))


def refuse(message: str) -> dict[str, Any]:
    """An object that says no."""
    return {"error": {"message": message, "type": "highflame_error"}}


CODEC = Codec(
    name="any-json",
    provider="openai",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
