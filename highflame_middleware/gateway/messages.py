"""HTTP as the gateway sees it, whichever server, transport or SDK it came through."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import unquote

__all__ = [
    "AsyncReply",
    "Door",
    "Headers",
    "Reply",
    "Request",
    "encoded",
    "end_to_end",
    "header",
    "plain_path",
    "without",
]

Headers = tuple[tuple[str, str], ...]

# Headers about one connection, which end with it (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_SLASHES = re.compile(r"[/\\]+")
_PARAMETERS = re.compile(r";[^/]*")
_ENCODINGS = 3


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


class Door(Protocol):
    """What servers and transports need of a gateway."""

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the providers."""
        ...

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must present a key."""
        ...

    def knows(self, key: str | None) -> bool:
        """Whether a caller's key is one of the gateway's."""
        ...

    def handle(self, request: Request) -> Reply:
        """Answer a request from outside."""
        ...

    async def ahandle(self, request: Request) -> AsyncReply:
        """Answer a request from outside, asynchronously."""
        ...

    def forward(self, request: Request) -> Reply:
        """Send on a request that has been guarded already."""
        ...

    async def aforward(self, request: Request) -> AsyncReply:
        """Send on a request that has been guarded already, asynchronously."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


def end_to_end(headers: Headers) -> Headers:
    """The headers that are not about one connection, by their own name or because ``connection`` names them."""
    named = [value.lower() for name, value in headers if name == "connection"]
    return without(headers, _HOP_BY_HOP.union(item.strip() for value in named for item in value.split(",")))


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as they stand on the wire."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def plain_path(path: str) -> str:
    """What a path means to the most lenient of servers; to tell what is called there, not to be sent.

    >>> plain_path("/v1//%63hat%2FCompletions;x=1")
    '/v1/chat/completions'
    """
    for _ in range(_ENCODINGS):
        path = unquote(path)
    return _PARAMETERS.sub("", _SLASHES.sub("/", path)).lower()


def without(headers: Headers, names: frozenset[str]) -> Headers:
    """The headers but these."""
    return tuple((name, value) for name, value in headers if name not in names)


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, by its lower-case name."""
    return next((value for key, value in headers if key == name), None)
