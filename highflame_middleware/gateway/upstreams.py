"""Asking a provider: upstreams over HTTP, scripts by playing them. The gateway's only I/O.

Requests and replies pass as bytes, headers in their order; httpx adds nothing.
Its errors are mapped here, once, to this library's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import UpstreamError, UpstreamTimeoutError
from .messages import HOP_BY_HOP, AsyncReply, Headers, Reply, Request, header, without
from .providers import Scripted, Upstream
from .scripted import Play, play

if TYPE_CHECKING:
    from anyio.lowlevel import RunVar

__all__ = ["Upstreams", "adecoded", "decoded"]

# The gateway's own headers, and credentials meant for it, end here.
_OURS = ("x-highflame-", "x-javelin-", "x-forwarded-")
_CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key"})
# The host and the length are those of the request that is made anew; the rest is between the caller and us.
_KEPT_BACK = HOP_BY_HOP | {"host", "content-length", "cookie", "forwarded", "traceparent", "tracestate", "baggage"}
_CONNECT_TIMEOUT = 10.0


class Upstreams:
    """HTTP clients, made when first needed: one per process for blocking callers, one per event loop for others."""

    def __init__(self) -> None:
        self._blocking: tuple[int, httpx.Client] | None = None
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
        return AsyncReply(response.status_code, _headers(response), _aread(provider, response), response.aclose)

    def close(self) -> None:
        """Close the blocking client."""
        if self._blocking is not None:
            self._blocking[1].close()
            self._blocking = None

    async def aclose(self) -> None:
        """Close the client of the running event loop, and the blocking one."""
        self.close()
        client = self._per_loop.get(None) if self._per_loop is not None else None
        if client is not None:
            await client.aclose()

    def _client(self) -> httpx.Client:
        # A forked worker must not share its parent's connections.
        if self._blocking is None or self._blocking[0] != os.getpid():
            self._blocking = (os.getpid(), httpx.Client(limits=_LIMITS))
        return self._blocking[1]

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
    headers = [(name, value) for name, value in without(request.headers, _KEPT_BACK) if not name.startswith(_OURS)]
    if upstream.api_key is not None:
        headers = [(name, value) for name, value in headers if name not in _CREDENTIALS]
        headers.append(("authorization", f"Bearer {upstream.api_key.reveal()}"))
    path = request.path.removeprefix("/v1") + (f"?{request.query}" if request.query else "")
    timeout = {
        "connect": _CONNECT_TIMEOUT,
        "pool": _CONNECT_TIMEOUT,
        "read": upstream.timeout,
        "write": upstream.timeout,
    }
    return httpx.Request(
        request.method,
        upstream.base_url + path,
        headers=headers,
        content=request.body,
        extensions={"timeout": timeout},
    )


def _headers(response: httpx.Response) -> Headers:
    found = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw)
    # A provider's cookies are for one caller; the gateway serves many.
    return without(found, HOP_BY_HOP | {"set-cookie"})


def _read(upstream: Upstream, response: httpx.Response) -> Iterator[bytes]:
    with _mapped(upstream):
        yield from response.iter_raw()


async def _aread(upstream: Upstream, response: httpx.Response) -> AsyncIterator[bytes]:
    with _mapped(upstream):
        async for chunk in response.aiter_raw():
            yield chunk


@contextmanager
def _mapped(upstream: Upstream) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamTimeoutError(
            f"{upstream.base_url} was silent for too long ({type(error).__name__})"
        ) from error
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
    async def frames() -> AsyncIterator[bytes]:
        for pause, frame in scene.frames:
            if pause:
                import anyio  # noqa: PLC0415

                await anyio.sleep(pause)
            yield frame
        if scene.cut:
            raise UpstreamError("the script breaks off here")

    async def aclose() -> None:
        return None

    return AsyncReply(scene.status, scene.headers, frames(), aclose)


def decoded(reply: Reply) -> Reply:
    """The reply with its content encoding, if it has one, undone."""
    response = _decoder(reply.headers, _Bytes(reply.body, reply.close))
    return reply if response is None else Reply(reply.status, reply.headers, response.iter_bytes(), reply.close)


def adecoded(reply: AsyncReply) -> AsyncReply:
    """The reply with its content encoding, if it has one, undone, for asynchronous readers."""
    response = _decoder(reply.headers, _AsyncBytes(reply.body, reply.aclose))
    return (
        reply if response is None else AsyncReply(reply.status, reply.headers, response.aiter_bytes(), reply.aclose)
    )


def _decoder(headers: Headers, stream: Any) -> httpx.Response | None:
    encoding = header(headers, "content-encoding")
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
