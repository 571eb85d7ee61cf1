"""Performing a flow's ops over httpx or httpx2: the only I/O with Shield, mapped once to this library's errors.

Own clients are made when first needed: one per process for blocking callers, one per event loop for others, with
one TLS context for all of them. A client that is given is used for whatever it is good for, and never closed.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import finalize

from ..errors import APIConnectionError, GuardTimeoutError, InvalidResponseError
from ..exchange import GUARDED
from ..flow import Op
from .messages import MAX_REPLY, Incoming, Join, Outgoing, Pause, Send

if TYPE_CHECKING:
    import httpx
    from anyio.lowlevel import RunVar

    from .flights import Flight

__all__ = ["Transport"]

_CONNECT = 5.0  # seconds of an attempt that may go into connecting, so that there is time for another


class Transport:
    """What a client of Shield sends with."""

    def __init__(self, *, blocking: Any = None, asynchronous: Any = None) -> None:
        self._given, self._agiven = blocking, asynchronous
        self._blocking: dict[int, httpx.Client] = {}
        # Who forgets to close leaves no connections behind; those of an event loop only that loop can close.
        finalize(self, _close, self._blocking)
        self._per_loop: RunVar[httpx.AsyncClient] | None = None
        self._context: Any = None

    def perform(self, op: Op[Any]) -> Any:
        """Perform an op for blocking callers."""
        if isinstance(op, Send):
            return self._send(op)
        if isinstance(op, Join):
            return op.flight.wait(op.seconds)
        assert isinstance(op, Pause)
        return time.sleep(op.seconds)

    async def aperform(self, op: Op[Any]) -> Any:
        """Perform an op for asynchronous callers."""
        import anyio  # noqa: PLC0415 - a part of httpx; only asynchronous callers need it

        if isinstance(op, Send):
            return await self._asend(op)
        if isinstance(op, Join):
            return await _landed(op.flight, op.seconds)
        assert isinstance(op, Pause)
        return await anyio.sleep(op.seconds)

    def close(self) -> None:
        """Close the blocking client, if it is our own."""
        _close(self._blocking)

    async def aclose(self) -> None:
        """Close the running event loop's client, if it is our own; threads and other loops may be using theirs."""
        client = self._per_loop.get(None) if self._per_loop is not None else None
        if client is not None:
            await client.aclose()

    def _send(self, op: Send) -> Incoming:
        began = time.monotonic()
        with _mapped(op, began):
            client = self._given if self._given is not None else self._client()
            response = client.send(_built(client, op), stream=True, auth=None, follow_redirects=False)
            keep = False
            try:
                if keep := op.streamed and response.is_success:
                    return _incoming(response, body=_Body(response, op, began))
                _plain(response, op.request)
                return _incoming(response, content=_gather(response.iter_raw(), op, began))
            finally:
                if not keep:
                    response.close()

    async def _asend(self, op: Send) -> Incoming:
        import anyio  # noqa: PLC0415

        began = time.monotonic()
        with _mapped(op, began):
            with anyio.fail_after(op.seconds):
                client = self._agiven if self._agiven is not None else await self._aclient()
                response = await client.send(_built(client, op), stream=True, auth=None, follow_redirects=False)
                keep = False
                try:
                    if keep := op.streamed and response.is_success:
                        return _incoming(response, body=_AsyncBody(response, op, began))
                    _plain(response, op.request)
                    return _incoming(response, content=await _agather(response, op))
                finally:
                    if not keep:
                        with anyio.CancelScope(shield=True):
                            await response.aclose()

    def _client(self) -> Any:
        # A forked worker must not share its parent's connections, nor two threads that come at once each make one.
        client = self._blocking.get(os.getpid())
        if client is None:
            import httpx  # noqa: PLC0415 - not before the first question

            made = httpx.Client(verify=self._tls())
            client = self._blocking.setdefault(os.getpid(), made)
            if client is not made:
                made.close()
        return client

    async def _aclient(self) -> Any:
        import anyio  # noqa: PLC0415

        if self._per_loop is None:
            self._per_loop = anyio.lowlevel.RunVar(f"highflame_shield_{id(self)}")
        client = self._per_loop.get(None)
        if client is None or client.is_closed:
            # It takes long enough to hold up a loop, once.
            context = self._context or await anyio.to_thread.run_sync(self._tls)
            import httpx  # noqa: PLC0415

            client = self._per_loop.get(None)
            if client is None or client.is_closed:
                client = httpx.AsyncClient(verify=context)
                self._per_loop.set(client)
        return client

    def _tls(self) -> Any:
        """Reading the certificates costs more than all the rest of a client."""
        if self._context is None:
            import httpx  # noqa: PLC0415

            self._context = httpx.create_ssl_context()
        return self._context


def _close(blocking: dict[int, Any]) -> None:
    client = blocking.pop(os.getpid(), None)
    if client is not None:
        client.close()


class _Body:
    """A streamed answer for blocking readers: bounded in length and time, its faults mapped."""

    def __init__(self, response: Any, op: Send, began: float) -> None:
        self._response, self._op, self._began = response, op, began

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        with _mapped(self._op, self._began):
            _plain(self._response, self._op.request)
            for piece in self._response.iter_raw():
                _in_time(self._op.request, self._op.seconds, self._began)
                size = _counted(size, piece, self._op)
                yield piece

    def close(self) -> None:
        self._response.close()


class _AsyncBody:
    """The same for asynchronous readers; no generator, which trio would have to be told to close."""

    def __init__(self, response: Any, op: Send, began: float) -> None:
        self._response, self._op, self._began = response, op, began
        self._pieces = response.aiter_raw()
        self._size = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        import anyio  # noqa: PLC0415

        with _mapped(self._op, self._began):
            _plain(self._response, self._op.request)
            with anyio.fail_after(max(0.0, self._began + self._op.seconds - time.monotonic())):
                piece: bytes = await anext(self._pieces)
            self._size = _counted(self._size, piece, self._op)
            return piece

    async def aclose(self) -> None:
        await _leave(self._response, self._pieces)


def _built(client: Any, op: Send) -> Any:
    """The request, in the words of the client's own library; nobody else is to guard or route it."""
    request, seconds = op.request, op.seconds
    timeout = {"connect": min(_CONNECT, seconds), "read": seconds, "write": seconds, "pool": seconds}
    return client.build_request(
        request.method,
        request.url,
        headers={"accept-encoding": "identity", **request.headers},
        content=request.body,
        extensions={"timeout": timeout, GUARDED: True},
    )


def _incoming(response: Any, *, content: bytes = b"", body: Any = None) -> Incoming:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Incoming(status=response.status_code, headers=headers, content=content, body=body)


def _gather(source: Iterator[bytes], op: Send, began: float) -> bytes:
    pieces, size = [], 0
    for piece in source:
        _in_time(op.request, op.seconds, began)
        size = _counted(size, piece, op)
        pieces.append(piece)
    return b"".join(pieces)


async def _agather(response: Any, op: Send) -> bytes:
    pieces, size, source = [], 0, response.aiter_raw()
    try:
        async for piece in source:
            size = _counted(size, piece, op)
            pieces.append(piece)
    except InvalidResponseError:
        await _leave(response, source)
        raise
    return b"".join(pieces)


async def _leave(response: Any, source: AsyncIterator[bytes]) -> None:
    """Close an answer that is not read to its end: the generators inside it end too, which trio insists on."""
    import anyio  # noqa: PLC0415

    with anyio.CancelScope(shield=True):
        await response.aclose()
        with anyio.move_on_after(1.0), suppress(Exception):
            async for _ in source:
                pass


def _plain(response: Any, request: Outgoing) -> None:
    """What is compressed, although that was not asked for, might be of any size."""
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise InvalidResponseError(f"{request.host} compressed its answer, which it was not asked to")


def _counted(size: int, piece: bytes, op: Send) -> int:
    most = MAX_REPLY if op.most is None else op.most
    if (size := size + len(piece)) > most:
        raise InvalidResponseError(f"{op.request.host} answered with more than {most} bytes")
    return size


def _in_time(request: Outgoing, seconds: float, began: float) -> None:
    """Each wait of a blocking read is bounded by itself; this bounds an answer that comes drop by drop."""
    if time.monotonic() - began > seconds:
        raise GuardTimeoutError(f"{request.host} gave no whole answer within {seconds:g} s")


@contextmanager
def _mapped(op: Send, began: float) -> Iterator[None]:
    """Whatever an HTTP library raises, as ours: by the name of its kind, for there are two such libraries."""
    host = op.request.host
    try:
        yield
    except (APIConnectionError, GuardTimeoutError, InvalidResponseError, StopAsyncIteration):
        raise
    except Exception as error:
        late = isinstance(error, TimeoutError) or any(
            kind.__name__ == "TimeoutException" for kind in type(error).__mro__
        )
        if late and time.monotonic() - began >= 0.95 * op.seconds:
            raise GuardTimeoutError(f"{host} gave no answer within {op.seconds:.3g} s") from error
        raise APIConnectionError(
            f"{host} cannot be reached, or broke off ({type(error).__name__}); its cause is attached"
        ) from error


async def _landed(flight: Flight, seconds: float) -> bool:
    """Wait for another's exchange without a thread: whoever ends it wakes this loop up."""
    import anyio  # noqa: PLC0415

    event, wake = anyio.Event(), _waker()

    def landed() -> None:
        wake(event.set)

    flight.when_landed(landed)
    try:
        with anyio.move_on_after(seconds) as scope:
            await event.wait()
        return not scope.cancelled_caught
    finally:
        flight.forget(landed)


def _waker() -> Any:
    """How another thread has something called on the loop that runs here."""
    import asyncio  # noqa: PLC0415

    try:
        return partial(_call_soon, asyncio.get_running_loop().call_soon_threadsafe)
    except RuntimeError:
        import trio  # noqa: PLC0415 - we are running on it

        return partial(_call_soon, trio.lowlevel.current_trio_token().run_sync_soon)


def _call_soon(schedule: Any, call: Any) -> None:
    with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
        schedule(call)
