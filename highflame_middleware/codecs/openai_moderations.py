"""openai-moderations: ``POST /moderations``, which exists to be given bad text.

Its input is not judged: a guard that blocked the call would block another
guard at its work, and one that redacted it would falsify what that finds. The
model never answers to the text, and nothing of it comes back.
"""

from __future__ import annotations

from typing import Any

from .openai import fail, mapping, string
from .parts import CallRead, Codec, EventRead, Params, ReplyRead, Summary

__all__ = ["CODEC"]


def read_call(body: Any) -> CallRead:
    """The model, and no text."""
    return CallRead(string(mapping(body).get("model")), stream=False, texts=())


def read_params(body: Any) -> Params:  # noqa: ARG001 - it has none that the conventions know
    """Nothing."""
    return Params()


def read_reply(body: Any) -> ReplyRead:
    """Categories and scores: no text."""
    read = mapping(body)
    return ReplyRead((), Summary(id=string(read.get("id")), model=string(read.get("model"))))


class Reader:
    """Moderations are never streamed; whatever comes is passed on."""

    def read(self, data: Any, event: str | None) -> EventRead:  # noqa: ARG002
        """Nothing of such a stream is known."""
        return EventRead()


def refuse(message: str) -> dict[str, Any]:  # noqa: ARG001 - a classification cannot say why
    """A reply without results."""
    return {"id": "modr-highflame", "model": "", "results": []}


CODEC = Codec(
    name="openai-moderations",
    provider="openai",
    # The conventions have no name for it.
    operation=None,
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
