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
from typing import TYPE_CHECKING, Any

from ..denial import deny
from ..errors import HighflameError, UpstreamError, UpstreamTimeoutError
from ..exchange import GUARDED
from .messages import AsyncReply, Headers, Reply, Request

if TYPE_CHECKING:
    from .app import Gateway

__all__ = ["transport_types"]


@cache
def transport_types(module: ModuleType) -> Callable[[Gateway], Any]:
    """The transport class for one of the two HTTP libraries."""
    stream_type, async_stream_type = _stream_types(module)

    class InProcessTransport(module.BaseTransport, module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """Answers requests from a gateway in this process."""

        def __init__(self, gateway: Gateway) -> None:
            self._gateway = gateway

        def handle_request(self, request: Any) -> Any:
            """Answer a request of a blocking client."""
            answer = self._gateway.forward if request.extensions.get(GUARDED) else self._gateway.handle
            with _client_faults(module):
                try:
                    return _response(answer(_read(request, request.read())))
                except UpstreamError:
                    raise
                except HighflameError as error:
                    return _denial(error)

        async def handle_async_request(self, request: Any) -> Any:
            """Answer a request of an asynchronous client."""
            answer = self._gateway.aforward if request.extensions.get(GUARDED) else self._gateway.ahandle
            with _client_faults(module):
                try:
                    return _aresponse(await answer(_read(request, await request.aread())))
                except UpstreamError:
                    raise
                except HighflameError as error:
                    return _denial(error)

    def _response(reply: Reply) -> Any:
        return module.Response(
            reply.status, headers=list(reply.headers), stream=stream_type(reply.body, reply.close)
        )

    def _aresponse(reply: AsyncReply) -> Any:
        stream = async_stream_type(reply.body, reply.aclose)
        return module.Response(reply.status, headers=list(reply.headers), stream=stream)

    def _denial(error: HighflameError) -> Any:
        denial = deny(error)
        return module.Response(denial.status, headers=list(denial.headers), content=denial.body)

    return InProcessTransport


def _read(request: Any, body: bytes) -> Request:
    """An httpx request as the gateway reads it. What its URL's host is does not matter here."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    headers: Headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
    )
    return Request(method=request.method, path=path, query=query, headers=headers, body=body)


@contextmanager
def _client_faults(module: ModuleType) -> Iterator[None]:
    """Raise an upstream's faults as the errors that this HTTP library would have raised, so that SDKs retry."""
    try:
        yield
    except UpstreamTimeoutError as error:
        raise module.ReadTimeout(str(error)) from error
    except UpstreamError as error:
        raise module.ConnectError(str(error)) from error


@cache
def _stream_types(module: ModuleType) -> tuple[Any, Any]:
    class Stream(module.SyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's body for a blocking client."""

        def __init__(self, body: Iterator[bytes], close: Callable[[], None]) -> None:
            self._body, self._close = body, close
            self._started = perf_counter()
            self.elapsed: timedelta | None = None

        def __iter__(self) -> Iterator[bytes]:
            with _client_faults(module):
                yield from self._body

        def close(self) -> None:
            self.elapsed = timedelta(seconds=perf_counter() - self._started)
            self._close()

    class AsyncStream(module.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's body for an asynchronous client."""

        def __init__(self, body: AsyncIterator[bytes], aclose: Callable[[], Awaitable[None]]) -> None:
            self._body, self._aclose = body, aclose
            self._started = perf_counter()
            self.elapsed: timedelta | None = None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with _client_faults(module):
                async for chunk in self._body:
                    yield chunk

        async def aclose(self) -> None:
            self.elapsed = timedelta(seconds=perf_counter() - self._started)
            await self._aclose()

    return Stream, AsyncStream
