"""Request bodies: read up to a bound, and handed on to the application as if nobody had."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..asgi_types import Message, Receive

__all__ = ["Body", "read_body", "replay"]


@dataclass(frozen=True, slots=True)
class Body:
    """What has been read: ``messages`` as they came, ``content`` where all of it is there and within the bound."""

    messages: tuple[Message, ...]
    content: bytes | None = None
    too_large: bool = False


async def read_body(receive: Receive, limit: int) -> Body:
    """Read a whole body, but no more than ``limit`` bytes of it, and not beyond the caller's leaving."""
    messages: list[Message] = []
    content = bytearray()
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return Body(tuple(messages))
        content += message.get("body", b"")
        if len(content) > limit:
            return Body(tuple(messages), too_large=True)
        if not message.get("more_body", False):
            return Body(tuple(messages), bytes(content))


def replay(messages: Iterable[Message], receive: Receive) -> Receive:
    """A ``receive`` that gives these messages first, and then whatever else comes."""
    pending = iter(messages)

    async def replayed() -> Any:
        for message in pending:
            return message
        return await receive()

    return replayed
