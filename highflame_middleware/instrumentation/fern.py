"""The logical seam of SDKs that Fern generates: an ``HttpClient`` around one of httpx, with its retries inside.

What is sent is only known once the SDK has built its request, and by then it
is amid its retries. So the SDK is let build it once with a client that hands
the request over instead of sending it; then the call is judged, and made with
a client that sends what the guard made of the body.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import ModuleType
from typing import Any, NoReturn

from ..drivers import aperform, perform
from ..flow import arun, run
from ..pipeline import guarded
from .logical import Door, LogicalCall
from .patches import Patches
from .prepared import read_request
from .wire import TAG, Attempt

__all__ = ["patch"]

# What httpx's clients take beside what a request is built from.
_SENDING = ("auth", "follow_redirects")


class _BuiltError(BaseException):
    """Not an error: how a built request gets out of the SDK, past every ``except Exception``."""

    def __init__(self, request: Any) -> None:
        self.request = request


class _Rehearsal:
    """Stands in for a client of httpx: builds what it is asked to send, and sends nothing."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def request(self, *args: Any, **kwargs: Any) -> NoReturn:
        for name in _SENDING:
            kwargs.pop(name, None)
        raise _BuiltError(self._client.build_request(*args, **kwargs))

    stream = request


class _Sending:
    """Stands in for a client of httpx: what it is asked to send is an attempt at a call, with its body."""

    def __init__(self, client: Any, call: LogicalCall, body: Any) -> None:
        self._client, self._call = client, call
        self._body = call.outgoing(body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def request(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.request(*args, **self._tagged(kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.stream(*args, **self._tagged(kwargs))

    def _tagged(self, given: dict[str, Any]) -> dict[str, Any]:
        sent = dict(given)
        sent["extensions"] = {**(given.get("extensions") or {}), TAG: Attempt(self._call)}
        if self._body is not self._call.body:
            for name in ("data", "content", "files"):
                sent.pop(name, None)
            sent["json"] = self._body
        return sent


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:
    """Patch the clients of one SDK. ``module`` is its ``core.http_client``."""
    seam = _Seam(spoken, door)
    patches.replace(module.HttpClient, "request", seam.blocking_request)
    patches.replace(module.HttpClient, "stream", seam.blocking_stream)
    patches.replace(module.AsyncHttpClient, "request", seam.asynchronous_request)
    patches.replace(module.AsyncHttpClient, "stream", seam.asynchronous_stream)


class _Seam:
    """What is put in the place of the SDK's methods."""

    def __init__(self, spoken: str, door: Door) -> None:
        self._spoken, self._door = spoken, door

    def blocking_request(self, original: Any) -> Callable[..., Any]:
        def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            if self._passes(client):
                return _bound(original, client)(*args, **kwargs)
            try:
                return _bound(original, _rehearsing(client))(*args, **kwargs)
            except _BuiltError as built:
                call = self._read(built)

            def invoke(body: Any) -> Any:
                with call.attached():
                    return _bound(original, _sending(client, call, body))(*args, **kwargs)

            return run(guarded(call.exchange, invoke), perform)

        return request

    def asynchronous_request(self, original: Any) -> Callable[..., Awaitable[Any]]:
        async def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            if self._passes(client):
                return await _bound(original, client)(*args, **kwargs)
            try:
                return await _bound(original, _rehearsing(client))(*args, **kwargs)
            except _BuiltError as built:
                call = self._read(built)

            async def invoke(body: Any) -> Any:
                with call.attached():
                    return await _bound(original, _sending(client, call, body))(*args, **kwargs)

            return await arun(guarded(call.exchange, invoke), aperform)

        return request

    def blocking_stream(self, original: Any) -> Callable[..., AbstractContextManager[Any]]:
        @contextmanager
        def stream(client: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            with ExitStack() as stack:
                if self._passes(client):
                    yield stack.enter_context(_bound(original, client)(*args, **kwargs))
                    return
                try:
                    unsent = stack.enter_context(_bound(original, _rehearsing(client))(*args, **kwargs))
                except _BuiltError as built:
                    call = self._read(built)
                else:
                    yield unsent
                    return

                def invoke(body: Any) -> Any:
                    with call.attached():
                        return stack.enter_context(_bound(original, _sending(client, call, body))(*args, **kwargs))

                yield run(guarded(call.exchange, invoke), perform)

        return stream

    def asynchronous_stream(self, original: Any) -> Callable[..., AbstractAsyncContextManager[Any]]:
        @asynccontextmanager
        async def stream(client: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with AsyncExitStack() as stack:
                if self._passes(client):
                    yield await stack.enter_async_context(_bound(original, client)(*args, **kwargs))
                    return
                try:
                    unsent = await stack.enter_async_context(_bound(original, _rehearsing(client))(*args, **kwargs))
                except _BuiltError as built:
                    call = self._read(built)
                else:
                    yield unsent
                    return

                async def invoke(body: Any) -> Any:
                    entering = _bound(original, _sending(client, call, body))(*args, **kwargs)
                    with call.attached():
                        return await stack.enter_async_context(entering)

                yield await arun(guarded(call.exchange, invoke), aperform)

        return stream

    def _passes(self, client: Any) -> bool:
        # The SDK's own retry of a call that is under way comes in by the front door.
        return not self._door.active() or isinstance(client.httpx_client, _Sending | _Rehearsal)

    def _read(self, built: _BuiltError) -> LogicalCall:
        return read_request(self._door, built.request, spoken=self._spoken)


def _bound(original: Any, client: Any) -> Any:
    return original.__get__(client, type(client))


def _rehearsing(client: Any) -> Any:
    return _standing_in(client, _Rehearsal(client.httpx_client))


def _sending(client: Any, call: LogicalCall, body: Any) -> Any:
    return _standing_in(client, _Sending(client.httpx_client, call, body))


def _standing_in(client: Any, stand_in: Any) -> Any:
    other = copy.copy(client)
    other.httpx_client = stand_in
    return other
