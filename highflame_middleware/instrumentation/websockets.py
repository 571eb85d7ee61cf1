"""The seam of websockets: connections to a model's live API, routed as they are opened and guarded frame by frame.

Only connections that are known for a model's are touched: by their path, and
by a host that is a provider's or listed, or by the headers of an SDK. A
connection is one call with one span. What is sent is judged in `send`, what is
received in `recv`, by which iterating reads too; a connection that has
received what must not be read is closed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from time import monotonic
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..drivers import aperform, perform
from ..flow import arun, run
from ..route import PROVIDERS, Origin, provider_of, taken_off
from ..route.origins import listed
from .frames import Frames, joined
from .logical import Door, LogicalCall
from .patches import Patches

__all__ = ["patch"]

# Where a live API's own path begins, and the provider whose format is spoken there.
_LIVE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"/(realtime(/translations)?|responses|live/sessions(/[^/]+(/fork)?)?)/?$"), "openai"),
    (re.compile(r"/ws/google\.[a-z0-9.]+[./](GenerativeService|LlmBidiService)[./]Bidi[A-Za-z]+$"), "gemini"),
)
# Headers by which the SDKs say who they are.
_TOLD = ("x-stainless-package-version", "x-stainless-lang", "x-goog-api-client")
_SCHEMES = {"ws": "http", "wss": "https", "http": "ws", "https": "wss"}
# What leads a connection elsewhere than its URL says.
_ELSEWHERE = ("sock", "host", "port", "address", "unix", "path")
# Policy violation, as RFC 6455 numbers it.
_REFUSED = 1008


class _Dialling:
    """One ``connect``: how it is called instead, and the calls that its connections are, one after the other."""

    def __init__(self, open_call: Callable[[], LogicalCall], uri: str, options: dict[str, Any]) -> None:
        self._open = open_call
        self._next: LogicalCall | None = open_call()
        self.uri, self.options = uri, options
        self.route = self._next.route
        self._readdress(self._next)

    def connected(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """What makes a connection, which is then guarded."""

        def create_connection(*args: Any, **kwargs: Any) -> Any:
            call, self._next = self._next or self._open(), None
            try:
                connection = make(*args, **kwargs)
            except BaseException as error:
                call.exchange.recorder.fail(error)
                raise
            kind: Any = type(connection)
            connection.__class__ = _guarded(kind)
            connection._highflame = Frames(call.exchange)  # noqa: SLF001 - ours, on a class of ours
            return connection

        return create_connection

    def fail(self, error: BaseException) -> None:
        """There is no connection at all."""
        if self._next is not None:
            self._next.exchange.recorder.fail(error)
            self._next = None

    def _readdress(self, call: LogicalCall) -> None:
        parts = urlsplit(self.uri)
        address = call.address(f"{parts.path}?{parts.query}" if parts.query else parts.path)
        if address is None:
            return
        scheme, _, rest = address.url.partition("://")
        self.uri = f"{_SCHEMES[scheme]}://{rest}"
        headers = _headers(self.options.get("additional_headers"))
        dropped, added = address.changes({name.lower(): value for name, value in headers.raw_items()})
        for name in dropped:
            headers.pop(name, None)
        for name, value in added.items():
            headers.pop(name, None)
            headers[name] = value
        self.options["additional_headers"] = headers
        if scheme == "http":
            self.options.pop("ssl", None)
            self.options.pop("server_hostname", None)

    def strip(self, headers: Any, uri: str) -> Any:
        """The headers that may go along where a redirect leads away from the gateway."""
        if self.route is None or urlsplit(uri)[:2] == urlsplit(self.uri)[:2]:
            return headers
        kept = _headers(headers)
        for name in taken_off(self.route, set(kept)):
            kept.pop(name, None)
        return kept


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:  # noqa: ARG001 - the path says it
    """Patch ``websockets.asyncio.client`` or ``websockets.sync.client``."""
    default = module.ClientConnection
    if ".sync." not in module.__name__:
        _patch_class(module.connect, "__await__", default, patches, door)
    elif hasattr(module, "reconnect"):
        _patch_class(module.reconnect, "connect", default, patches, door)
    else:
        patches.replace(module, "connect", partial(_dialled_function, door, default))


def _dialled_function(door: Door, default: Any, original: Any) -> Callable[..., Any]:
    def connect(uri: str, *args: Any, **kwargs: Any) -> Any:
        dialling = _dial(door, uri, kwargs, default)
        if dialling is None:
            return original(uri, *args, **kwargs)
        try:
            return original(dialling.uri, *args, **dialling.options)
        except BaseException as error:
            dialling.fail(error)
            raise

    return connect


def _patch_class(connect: type, opening: str, default: Any, patches: Patches, door: Door) -> None:
    """Patch the class whose objects open connections, with ``opening``."""

    def prepared(original: Any) -> Callable[..., None]:
        def __init__(self: Any, uri: str, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it replaces one
            dialling = self._highflame = _dial(door, uri, kwargs, default)
            if dialling is None:
                original(self, uri, *args, **kwargs)
                return
            try:
                original(self, dialling.uri, *args, **dialling.options)
            except BaseException as error:
                dialling.fail(error)
                raise

        return __init__

    def awaited(original: Any) -> Callable[..., Any]:
        def __await__(self: Any) -> Any:  # noqa: N807
            try:
                return (yield from original(self))
            except BaseException as error:
                _fail(self, error)
                raise

        return __await__

    def opened(original: Any) -> Callable[..., Any]:
        def connect(self: Any) -> Any:
            try:
                return original(self)
            except BaseException as error:
                _fail(self, error)
                raise

        return connect

    def redirected(original: Any) -> Callable[..., Any]:
        def process_redirect(self: Any, exc: Exception) -> Any:
            found = original(self, exc)
            dialling: _Dialling | None = getattr(self, "_highflame", None)
            if isinstance(found, str) and dialling is not None:
                self.additional_headers = dialling.strip(self.additional_headers, found)
            return found

        return process_redirect

    patches.replace(connect, "__init__", prepared)
    patches.replace(connect, opening, awaited if opening == "__await__" else opened)
    if hasattr(connect, "process_redirect"):
        patches.replace(connect, "process_redirect", redirected)


def _fail(opener: Any, error: BaseException) -> None:
    dialling: _Dialling | None = getattr(opener, "_highflame", None)
    if dialling is not None:
        dialling.fail(error)


def _dial(door: Door, uri: Any, options: Mapping[str, Any], default: Any) -> _Dialling | None:
    """How a connection is to be opened, or nothing where it is none of a model's."""
    if not door.active() or not isinstance(uri, str) or any(options.get(name) is not None for name in _ELSEWHERE):
        return None
    parts = urlsplit(uri)
    live = next(((found, spoken) for form, spoken in _LIVE if (found := form.search(parts.path))), None)
    if live is None or parts.scheme not in ("ws", "wss"):
        return None
    found, spoken = live
    headers = {name.lower(): value for name, value in _headers(options.get("additional_headers")).raw_items()}
    origin = Origin.of(f"{_SCHEMES[parts.scheme]}://{parts.netloc}{parts.path[: found.start()]}")
    provider = provider_of(origin)
    known = provider is not None or listed(origin, door.settings.reroute_hosts)
    if not known and not any(name in headers for name in _TOLD):
        return None
    if provider is PROVIDERS["azure"] or (provider is None and "api-key" in headers):
        origin = Origin.of(origin.url, azure=True)
    asked = parse_qs(parts.query)
    own = parts.path[found.start() :] + (f"?{parts.query}" if parts.query else "")
    open_call = partial(
        LogicalCall,
        door,
        spoken=spoken,
        origin=origin,
        method="GET",
        path=own,
        read_body=lambda: None,
        headers=(headers,),
        inside=False,
        over="websocket",
        model=next((asked[name][0] for name in ("model", "deployment") if name in asked), None),
    )
    dialling = _Dialling(open_call, uri, dict(options))
    make = options.get("create_connection") or default
    dialling.options["create_connection"] = dialling.connected(make)
    return dialling


def _headers(given: Any) -> Any:
    """A caller's headers, which may be given in any of several ways, as the library's own."""
    return import_module("websockets.datastructures").Headers(given if given is not None else ())


@cache
def _guarded(kind: type) -> type:
    """A kind of connection with the guard in it."""
    blocks = any(base.__module__.startswith("websockets.sync.") for base in kind.__mro__)
    return _blocking(kind) if blocks else _asynchronous(kind)


def _blocking(kind: Any) -> type:
    closed = import_module("websockets.exceptions").ConnectionClosed

    class GuardedConnection(kind):  # type: ignore[misc, unused-ignore]
        """A connection whose frames are judged."""

        _highflame: Frames

        def send(self, message: Any, *args: Any, **kwargs: Any) -> None:
            frames = self._highflame
            if frames.looks and not isinstance(message, str | bytes | Mapping):
                message = _one(list(message) if isinstance(message, Iterable) else message)
            if isinstance(message, str | bytes):
                message = run(frames.sent(message), perform)
            super().send(message, *args, **kwargs)

        def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:
            frames = self._highflame
            until = None if timeout is None else monotonic() + timeout
            while not frames.ready:
                if frames.stopped is not None:
                    self.close(_REFUSED)
                    raise frames.stopped
                try:
                    frame = super().recv(None if until is None else until - monotonic())
                except closed as error:
                    run(frames.concluded(), perform)
                    if not frames.ready and frames.stopped is None:
                        frames.end(_unclean(error))
                        raise
                else:
                    run(frames.received(frame), perform)
            return _as(frames.ready.popleft(), decode)

        def recv_streaming(self, decode: bool | None = None) -> Iterator[Any]:
            yield self.recv(decode=decode)

        def close(self, *args: Any, **kwargs: Any) -> None:
            self._highflame.leave()
            super().close(*args, **kwargs)

        def __del__(self) -> None:
            self._highflame.end()

    return GuardedConnection


def _asynchronous(kind: Any) -> type:
    closed = import_module("websockets.exceptions").ConnectionClosed

    class GuardedConnection(kind):  # type: ignore[misc, unused-ignore]
        """A connection whose frames are judged."""

        _highflame: Frames
        _judging: asyncio.Future[None] | None = None

        async def send(self, message: Any, *args: Any, **kwargs: Any) -> None:
            frames = self._highflame
            if frames.looks and not isinstance(message, str | bytes | Mapping):
                if isinstance(message, AsyncIterator) or hasattr(message, "__aiter__"):
                    message = [part async for part in message]
                message = _one(list(message) if isinstance(message, Iterable) else message)
            if isinstance(message, str | bytes):
                message = await arun(frames.sent(message), aperform)
            await super().send(message, *args, **kwargs)

        async def recv(self, decode: bool | None = None) -> Any:
            frames = self._highflame
            while True:
                if self._judging is not None:
                    await self._judged(self._judging)
                if frames.ready:
                    return _as(frames.ready.popleft(), decode)
                if frames.stopped is not None:
                    await self.close(_REFUSED)
                    raise frames.stopped
                try:
                    frame = await super().recv()
                except closed as error:
                    await arun(frames.concluded(), aperform)
                    if not frames.ready and frames.stopped is None:
                        frames.end(_unclean(error))
                        raise
                    continue
                if frames.waits:
                    self._judging = asyncio.ensure_future(arun(frames.received(frame), aperform))
                else:
                    await arun(frames.received(frame), aperform)

        async def _judged(self, judging: asyncio.Future[None]) -> None:
            """Wait for a frame's verdict; whoever gives up waiting leaves the frame to the next."""
            try:
                await asyncio.shield(judging)
            finally:
                if judging.done() and self._judging is judging:
                    self._judging = None

        async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Any]:
            yield await self.recv(decode=decode)

        async def close(self, *args: Any, **kwargs: Any) -> None:
            self._highflame.leave()
            await super().close(*args, **kwargs)

        def __del__(self) -> None:
            self._highflame.end()

    return GuardedConnection


def _one(message: Any) -> Any:
    """A message in one piece, where it is one that can be."""
    if isinstance(message, list):
        # A bytearray or the like is its own fragments, by number.
        return bytes(message) if message and isinstance(message[0], int) else joined(message)
    return message


def _as(frame: Any, decode: bool | None) -> Any:
    """A frame as text or bytes, whichever is asked for, or as it came."""
    if decode is True and not isinstance(frame, str):
        return frame.decode("utf-8")
    return frame.encode("utf-8") if decode is False and isinstance(frame, str) else frame


def _unclean(error: Any) -> BaseException | None:
    """The end of a connection that ended otherwise than by both sides' will."""
    return None if type(error).__name__ == "ConnectionClosedOK" else error
