"""Reaching the gateway without a socket: a transport for httpx and for httpx2, which streams.

One object serves blocking and asynchronous clients. To a client of its own it
is the gateway's door; a request that the instrumentation has guarded already
is only sent on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from time import perf_counter
from types import ModuleType
from typing import Any

from ..bodies import AsyncGuardedBody, GuardedBody
from ..denial import deny
from ..errors import HighflameError, UnreadableError, UpstreamError, UpstreamTimeoutError
from ..exchange import GUARDED
from .messages import AsyncReply, Door, Headers, Reply, Request, encoded

__all__ = ["transport_types"]


@cache
def transport_types(module: ModuleType) -> Callable[[Door], Any]:
    """The transport class for one of the two HTTP libraries."""
    stream_type, async_stream_type = _stream_types(module)

    class InProcessTransport(module.BaseTransport, module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """Answers requests from a gateway in this process."""

        def __init__(self, gateway: Door) -> None:
            self._gateway = gateway

        def handle_request(self, request: Any) -> Any:
            """Answer a request of a blocking client."""
            answer = self._gateway.forward if request.extensions.get(GUARDED) else self._gateway.handle
            with _client_faults(module, module.ConnectError):
                try:
                    reply = answer(_read(request, request.read()))
                except UpstreamError:
                    raise
                except HighflameError as error:
                    return _denial(error)
                try:
                    # A reply that is stopped before anything of it has passed is a denial, not a broken reply.
                    first = next(reply.body, b"") if isinstance(reply.body, GuardedBody) else b""
                except UpstreamError:
                    raise
                except HighflameError as error:
                    return _denial(error, 502 if isinstance(error, UnreadableError) else None)
            return _response(reply, first)

        async def handle_async_request(self, request: Any) -> Any:
            """Answer a request of an asynchronous client."""
            answer = self._gateway.aforward if request.extensions.get(GUARDED) else self._gateway.ahandle
            with _client_faults(module, module.ConnectError):
                try:
                    reply = await answer(_read(request, await request.aread()))
                except UpstreamError:
                    raise
                except HighflameError as error:
                    return _denial(error)
                try:
                    first = await anext(reply.body, b"") if isinstance(reply.body, AsyncGuardedBody) else b""
                except UpstreamError:
                    raise
                except HighflameError as error:
                    return _denial(error, 502 if isinstance(error, UnreadableError) else None)
            return _aresponse(reply, first)

    def _response(reply: Reply, first: bytes) -> Any:
        stream = stream_type(first, reply.body, reply.close)
        return module.Response(reply.status, headers=encoded(reply.headers), stream=stream)

    def _aresponse(reply: AsyncReply, first: bytes) -> Any:
        stream = async_stream_type(first, reply.body, reply.aclose)
        return module.Response(reply.status, headers=encoded(reply.headers), stream=stream)

    def _denial(error: HighflameError, status: int | None = None) -> Any:
        denial = deny(error, status=status)
        return module.Response(denial.status, headers=encoded(denial.headers), content=denial.body)

    return InProcessTransport


def _read(request: Any, body: bytes) -> Request:
    """An httpx request as the gateway reads it. What its URL's host is does not matter here."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    headers: Headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
    )
    return Request(method=request.method, path=path, query=query, headers=headers, body=body)


@contextmanager
def _client_faults(module: ModuleType, broken: type[Exception]) -> Iterator[None]:
    """Raise an upstream's faults as the errors that this HTTP library would have raised, so that SDKs retry."""
    try:
        yield
    except UpstreamTimeoutError as error:
        raise module.ReadTimeout(str(error)) from error
    except UpstreamError as error:
        raise broken(str(error)) from error


@cache
def _stream_types(module: ModuleType) -> tuple[Any, Any]:
    class Stream(module.SyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's body for a blocking client."""

        def __init__(self, first: bytes, body: Iterator[bytes], close: Callable[[], None]) -> None:
            self._first, self._body, self._close = first, body, close
            self._started = perf_counter()
            self.elapsed: timedelta | None = None

        def __iter__(self) -> Iterator[bytes]:
            if self._first:
                yield self._first
            with _client_faults(module, module.ReadError):
                yield from self._body

        def close(self) -> None:
            self.elapsed = timedelta(seconds=perf_counter() - self._started)
            self._close()

    class AsyncStream(module.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's body for an asynchronous client."""

        def __init__(self, first: bytes, body: AsyncIterator[bytes], aclose: Callable[[], Awaitable[None]]) -> None:
            self._first, self._body, self._aclose = first, body, aclose
            self._started = perf_counter()
            self.elapsed: timedelta | None = None

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            if self._first:
                first, self._first = self._first, b""
                return first
            with _client_faults(module, module.ReadError):
                return await anext(self._body)

        async def aclose(self) -> None:
            self.elapsed = timedelta(seconds=perf_counter() - self._started)
            await self._aclose()

    return Stream, AsyncStream
