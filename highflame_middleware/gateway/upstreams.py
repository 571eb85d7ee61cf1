"""Asking a provider: upstreams over HTTP, scripts by playing them. The gateway's only I/O.

Requests and replies pass as bytes, headers in their order; httpx adds nothing.
Its errors are mapped here, once, to this library's own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import UnreadableError, UpstreamError, UpstreamTimeoutError
from ..exchange import GUARDED
from .messages import AsyncReply, Headers, Reply, Request, encoded, end_to_end, plain_path, without
from .providers import Scripted, Upstream
from .scripted import Play, play

if TYPE_CHECKING:
    from anyio.lowlevel import RunVar

__all__ = ["Upstreams", "adecoded", "decodable", "decodes", "decoded"]

# The gateway's own headers, and credentials meant for it, end here.
_OURS = ("x-highflame-", "x-javelin-", "x-forwarded-")
_CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key"})
# The host and the length are those of the request that is made anew; the rest is between the caller and us.
_KEPT_BACK = frozenset(
    {"host", "content-length", "expect", "cookie", "forwarded", "traceparent", "tracestate", "baggage"}
)
_CONNECT_TIMEOUT = 10.0
# What may stand in a path. Its beginning keeps it below the base URL; a fragment would cut off what follows it.
_PATH = re.compile(r"/[^\x00-\x20#\x7f-\xff]*")
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")
# The content encodings that are undone here with nothing but the standard library.
_ENCODINGS = frozenset({"gzip", "deflate", "identity"})


class Upstreams:
    """HTTP clients, made when first needed: one per process for blocking callers, one per event loop for others."""

    def __init__(self) -> None:
        self._blocking: dict[int, httpx.Client] = {}
        self._per_loop: RunVar[httpx.AsyncClient] | None = None

    def ask(self, provider: Upstream | Scripted, request: Request) -> Reply:
        """The provider's reply, its body still to come."""
        if isinstance(provider, Scripted):
            return _played(play(provider.scripts, request))
        with _mapped(provider):
            response = self._client().send(_outgoing(provider, request), stream=True)
        return Reply(response.status_code, _headers(response), _read(provider, response), response.close)

    async def aask(self, provider: Upstream | Scripted, request: Request) -> AsyncReply:
        """The provider's reply, its body still to come, for asynchronous callers."""
        if isinstance(provider, Scripted):
            return _aplayed(play(provider.scripts, request))
        with _mapped(provider):
            response = await self._aclient().send(_outgoing(provider, request), stream=True)
        body = _Watched(response.aiter_raw(), lambda: _mapped(provider))
        return AsyncReply(response.status_code, _headers(response), body, response.aclose)

    def close(self) -> None:
        """Close the blocking client."""
        client = self._blocking.pop(os.getpid(), None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop, and the blocking one."""
        self.close()
        client = self._per_loop.get(None) if self._per_loop is not None else None
        if client is not None:
            await client.aclose()

    def _client(self) -> httpx.Client:
        # A forked worker must not share its parent's connections, nor two threads that come at once each make one.
        client = self._blocking.get(os.getpid())
        if client is None:
            made = httpx.Client(limits=_LIMITS)
            client = self._blocking.setdefault(os.getpid(), made)
            if client is not made:
                made.close()
        return client

    def _aclient(self) -> httpx.AsyncClient:
        from anyio.lowlevel import RunVar  # noqa: PLC0415 - a part of httpx; only asynchronous callers need it

        if self._per_loop is None:
            self._per_loop = RunVar(f"highflame_upstreams_{id(self)}")
        client = self._per_loop.get(None)
        if client is None or client.is_closed:
            client = httpx.AsyncClient(limits=_LIMITS)
            self._per_loop.set(client)
        return client


_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100)


def _outgoing(upstream: Upstream, request: Request) -> httpx.Request:
    given = without(end_to_end(request.headers), _KEPT_BACK)
    headers = [(name, value) for name, value in given if not name.startswith(_OURS)]
    if upstream.api_key is not None:
        headers = [(name, value) for name, value in headers if name not in _CREDENTIALS]
        headers.append(("authorization", f"Bearer {upstream.api_key.reveal()}"))
    query = f"?{request.query}" if request.query else ""
    timeout = {
        "connect": _CONNECT_TIMEOUT,
        "pool": _CONNECT_TIMEOUT,
        "read": upstream.timeout,
        "write": upstream.timeout,
    }
    return httpx.Request(
        request.method,
        upstream.base_url + _below(request.path) + query.replace("#", "%23"),
        headers=encoded(headers),
        content=request.body,
        # The gateway has guarded it: where this process is instrumented as well, that need not be done again.
        extensions={"timeout": timeout, GUARDED: True},
    )


def _below(path: str) -> str:
    """The path below the base URL, which has the API's version in it already."""
    if not _PATH.fullmatch(path) or _DOTS.search(plain_path(path)):
        raise UnreadableError("The request's path is not a plain one: it could leave the provider's base URL")
    return path[len("/v1") :] if path == "/v1" or path.startswith("/v1/") else path


def _headers(response: httpx.Response) -> Headers:
    found = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw)
    # A provider's cookies are for one caller; the gateway serves many.
    return without(end_to_end(found), frozenset({"set-cookie"}))


def _read(upstream: Upstream, response: httpx.Response) -> Iterator[bytes]:
    with _mapped(upstream):
        yield from response.iter_raw()


class _Watched:
    """An asynchronous body whose faults are mapped; no generator, which trio would have to be told to close."""

    def __init__(self, source: AsyncIterator[bytes], faults: Callable[[], AbstractContextManager[None]]) -> None:
        self._source, self._faults = source, faults

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._faults():
            return await anext(self._source)


@contextmanager
def _mapped(upstream: Upstream) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamTimeoutError(
            f"{upstream.base_url} was silent for too long ({type(error).__name__})"
        ) from error
    except httpx.LocalProtocolError as error:
        raise UnreadableError("The request holds headers that HTTP cannot carry") from error
    except httpx.TransportError as error:
        raise UpstreamError(
            f"{upstream.base_url} cannot be reached or broke off ({type(error).__name__})"
        ) from error


def _played(scene: Play) -> Reply:
    def frames() -> Iterator[bytes]:
        for pause, frame in scene.frames:
            if pause:
                time.sleep(pause)
            yield frame
        if scene.cut:
            raise UpstreamError("the script breaks off here")

    return Reply(scene.status, scene.headers, frames(), lambda: None)


def _aplayed(scene: Play) -> AsyncReply:
    async def frames() -> AsyncGenerator[bytes, None]:
        for pause, frame in scene.frames:
            if pause:
                import anyio  # noqa: PLC0415

                await anyio.sleep(pause)
            yield frame
        if scene.cut:
            raise UpstreamError("the script breaks off here")

    body = frames()
    return AsyncReply(scene.status, scene.headers, body, body.aclose)


def decodable(request: Request) -> Request:
    """The request, asking for no content encoding that could not be undone here."""
    given = ",".join(value for name, value in request.headers if name == "accept-encoding")
    if not given:
        return request
    kept = ", ".join(item.strip() for item in given.split(",") if _named(item) in _ENCODINGS)
    rest = without(request.headers, frozenset({"accept-encoding"}))
    return replace(request, headers=(*rest, ("accept-encoding", kept or "identity")))


def decodes(headers: Headers) -> bool:
    """Whether the content encoding of a reply, if it has one, can be undone here."""
    return all(_named(item) in _ENCODINGS for item in (_encoding(headers) or "identity").split(","))


def decoded(reply: Reply) -> Reply:
    """The reply with its content encoding, if it has one, undone."""
    response = _decoder(reply.headers, _Bytes(reply.body, reply.close))
    if response is None:
        return reply

    def chunks() -> Iterator[bytes]:
        with _undone(reply.headers):
            yield from response.iter_bytes()

    return Reply(reply.status, reply.headers, chunks(), reply.close)


def adecoded(reply: AsyncReply) -> AsyncReply:
    """The reply with its content encoding, if it has one, undone, for asynchronous readers."""
    response = _decoder(reply.headers, _AsyncBytes(reply.body, reply.aclose))
    if response is None:
        return reply

    body = _Watched(response.aiter_bytes(), lambda: _undone(reply.headers))
    return AsyncReply(reply.status, reply.headers, body, reply.aclose)


def _named(coding: str) -> str:
    return coding.partition(";")[0].strip().lower()


def _encoding(headers: Headers) -> str:
    return ", ".join(value for name, value in headers if name == "content-encoding")


@contextmanager
def _undone(headers: Headers) -> Iterator[None]:
    if not decodes(headers):
        raise UnreadableError(f"The reply is encoded as {_encoding(headers)!r}: it could not be guarded")
    try:
        yield
    except httpx.DecodingError as error:
        raise UnreadableError("The reply is not in the encoding that its content-encoding names") from error


def _decoder(headers: Headers, stream: Any) -> httpx.Response | None:
    encoding = _encoding(headers)
    return httpx.Response(200, headers={"content-encoding": encoding}, stream=stream) if encoding else None


class _Bytes(httpx.SyncByteStream):
    def __init__(self, source: Iterator[bytes], close: Callable[[], None]) -> None:
        self._source, self._close = source, close

    def __iter__(self) -> Iterator[bytes]:
        return self._source

    def close(self) -> None:
        self._close()


class _AsyncBytes(httpx.AsyncByteStream):
    def __init__(self, source: AsyncIterator[bytes], aclose: Callable[[], Awaitable[None]]) -> None:
        self._source, self._aclose = source, aclose

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._source

    async def aclose(self) -> None:
        await self._aclose()
