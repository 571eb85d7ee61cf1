"""HTTP as the gateway sees it, whichever server, transport or SDK it came through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

__all__ = ["HOP_BY_HOP", "AsyncReply", "Headers", "Reply", "Request", "header", "without"]

Headers = tuple[tuple[str, str], ...]

# Headers about one connection, which end with it (RFC 9110, 7.6.1).
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``path`` is raw, begins with a slash, and does not hold what the gateway is mounted under."""

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return header(self.headers, name)

    def with_body(self, body: bytes) -> Request:
        """The same request with another body."""
        return replace(self, body=body)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a blocking caller; ``close`` lets go of the upstream at once."""

    status: int
    headers: Headers
    body: Iterator[bytes]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class AsyncReply:
    """A reply to an asynchronous caller."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]


def without(headers: Headers, names: frozenset[str]) -> Headers:
    """The headers but these."""
    return tuple((name, value) for name, value in headers if name not in names)


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, by its lower-case name."""
    return next((value for key, value in headers if key == name), None)
