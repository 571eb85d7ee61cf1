"""Request bodies: read up to a bound, and handed on to the application as if nobody had."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..asgi_types import Message, Receive

__all__ = ["BEFORE_JSON", "Body", "looks_like_json", "read_body", "replay", "resized"]

# What may stand before JSON: byte order marks, space, and the zeros of UTF-16 and UTF-32.
BEFORE_JSON = b"\xef\xbb\xbf\xfe\xff \t\r\n\0"


@dataclass(frozen=True, slots=True)
class Body:
    """What has been read: ``messages`` to be given again, ``content`` where all is there and within the bound."""

    messages: tuple[Message, ...]
    content: bytes | None = None
    too_large: bool = False


async def read_body(receive: Receive, limit: int, *, only_json: bool = False) -> Body:
    """Read a whole body, but no more than ``limit`` bytes of it, and not beyond the caller's leaving.

    With ``only_json`` no further than it takes to see that it is no JSON object or array.
    What has been read is kept in one piece, however small the pieces were that it came in.
    """
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return Body((*_message(content, more=True), message) if content else (message,))
        content += message.get("body", b"")
        more = message.get("more_body", False)
        too_large = len(content) > limit
        if too_large or (only_json and not looks_like_json(content)):
            return Body(_message(content, more=more), too_large=too_large)
        if not more:
            return Body(_message(content, more=False), bytes(content))


def looks_like_json(content: bytes | bytearray) -> bool:
    """Whether this may be the beginning of a JSON object or array; an empty one may be anything yet."""
    begun = content[:64].lstrip(BEFORE_JSON)
    return not begun or begun.startswith((b"{", b"["))


def replay(messages: Iterable[Message], receive: Receive) -> Receive:
    """A ``receive`` that gives these messages first, and then whatever else comes."""
    pending = iter(messages)

    async def replayed() -> Any:
        for message in pending:
            return message
        return await receive()

    return replayed


def resized(scope: Any, length: int | None) -> Any:
    """The scope of a request whose body has another length now; None where that is not known yet."""
    framing = (b"content-length", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in framing]
    framed = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", str(length).encode())
    return {**scope, "headers": [*headers, framed]}


def _message(content: bytes | bytearray, *, more: bool) -> tuple[Message, ...]:
    return ({"type": "http.request", "body": bytes(content), "more_body": more},)
