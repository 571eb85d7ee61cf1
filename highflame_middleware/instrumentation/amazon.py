"""Replies of AWS with the guard in them, where botocore and aiobotocore read them: urllib3's, and aiohttp's."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import suppress
from typing import Any
from weakref import ref

from ..answers import AnswerScreen
from ..bodies import AsyncGuardedBody, GuardedBody
from ..screens import Screen
from .logical import LogicalCall

__all__ = ["aguard_reply", "guard_reply"]

_LENGTH = "content-length"


def guard_reply(call: LogicalCall, response: Any, kind: str | None) -> Any:
    """Put the guard under botocore's reading of a reply; ``kind`` is its content type, whatever it says."""
    screen = call.screen(response.status_code, _Typed(response.headers, kind))
    if screen is None:
        return response
    content = vars(response).get("_content")
    if content is not None:
        judged = b"".join(GuardedBody(iter((content,)), _already, call.exchange, screen))
        return _judged(call, response, judged)
    raw = response.raw
    body = GuardedBody(raw.stream(), raw.close, call.exchange, screen)
    if _presses(screen, response):
        body.prime()
    response.raw = _Raw(raw, body)
    return _restreamed(call, response, screen)


async def aguard_reply(call: LogicalCall, response: Any, kind: str | None) -> Any:
    """The same for aiobotocore."""
    screen = call.screen(response.status_code, _Typed(response.headers, kind))
    if screen is None:
        return response
    content = vars(response).get("_content")
    if content is not None:
        pieces = AsyncGuardedBody(_once(content), _aalready, call.exchange, screen)
        return _judged(call, response, b"".join([piece async for piece in pieces]))
    raw = response.raw
    body: AsyncGuardedBody
    if type(raw).__module__.partition(".")[0] in ("httpx", "httpx2"):
        from .wire import _stream_types  # noqa: PLC0415 - only where aiobotocore is set to use httpx

        stream = raw.stream
        module = sys.modules[type(raw).__module__.partition(".")[0]]
        body = raw.stream = _stream_types(module)[1](aiter(stream), stream.aclose, call.exchange, screen)
    else:
        # The response reads and closes whatever is its content; what stands for it only notices that it is dropped.
        reader = raw.content = _Reader(raw, call, screen)
        response.raw = _Held(raw, reader)
        body = reader.body
    if _presses(screen, response):
        await body.prime()
    return _restreamed(call, response, screen)


def _presses(screen: Screen, response: Any) -> bool:
    """Whether it must be known at once if a gateway refuses: an error may be tried again."""
    return isinstance(screen, AnswerScreen) and response.status_code >= 300


def _judged(call: LogicalCall, response: Any, content: bytes) -> Any:
    if content != response._content:  # noqa: SLF001 - the body that it has read already stands there
        response._content = content  # noqa: SLF001
        _drop_length(response)
    return _settled(call, response)


def _restreamed(call: LogicalCall, response: Any, screen: Screen) -> Any:
    if call.exchange.policy.holds or call.translated or isinstance(screen, AnswerScreen):
        _drop_length(response)
    return _settled(call, response)


def _drop_length(response: Any) -> None:
    """The length that was declared may not be that of what is handed on, and is checked against it."""
    for name in [name for name in response.headers if name.lower() == _LENGTH]:
        del response.headers[name]
    if isinstance(response.raw, _Held):
        response.raw.drop_length()


def _settled(call: LogicalCall, response: Any) -> Any:
    """The response, as a success where what stands in it now is a refusal: an error would be tried again."""
    if call.exchange.refused is not None and response.status_code >= 300:
        response.status_code = 200
    return response


class _Typed(MutableMapping[str, str]):
    """A reply's headers, but of the type that its reader takes it for, whatever it says."""

    def __init__(self, headers: MutableMapping[str, str], kind: str | None) -> None:
        self._headers, self._kind = headers, kind

    def __getitem__(self, name: str) -> str:
        if self._kind is not None and name.lower() == "content-type":
            return self._kind
        return self._headers[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._headers[name] = value

    def __delitem__(self, name: str) -> None:
        del self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class _Raw(io.IOBase):
    """Stands for urllib3's response in botocore's: what is read of it is judged."""

    def __init__(self, raw: Any, body: GuardedBody) -> None:
        self._raw, self._body = raw, body
        self._rest = bytearray()
        self._told = 0

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:  # noqa: ARG002 - as large as they come
        while chunk := self._some():
            self._told += len(chunk)
            yield chunk

    def read(self, amt: int | None = None, *args: Any, **kwargs: Any) -> bytes:  # noqa: ARG002
        while (amt is None or amt < 0 or len(self._rest) < amt) and (more := next(self._body, b"")):
            self._rest += more
        out = bytes(self._rest if amt is None or amt < 0 else self._rest[:amt])
        del self._rest[: len(out)]
        self._told += len(out)
        return out

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return not self.closed

    def tell(self) -> int:
        return self._told

    def close(self) -> None:
        if not self.closed:
            self._body.close()
            self._rest.clear()
        super().close()

    def _some(self) -> bytes:
        if self._rest:
            out = bytes(self._rest)
            self._rest.clear()
            return out
        return next(self._body, b"")

    def __getattr__(self, name: str) -> Any:
        # Only what `IOBase` has not: its status, its headers, its socket.
        if name in ("_raw", "_body", "_rest") or name.startswith("read") or name in ("data", "json"):
            raise AttributeError(name)
        return getattr(self._raw, name)


class _Reader:
    """Stands for aiohttp's reader of a response's content: what is read of it is judged."""

    def __init__(self, raw: Any, call: LogicalCall, screen: Screen) -> None:
        self._content = raw.content
        self._rest = bytearray()
        self._over = self._closing = False
        # The response has this reader: with a reference back it would outlive whoever drops it.
        self._response = ref(raw)
        reader = ref(self)

        async def close() -> None:
            if (found := reader()) is not None:
                found.close_response()

        self.body = AsyncGuardedBody(aiter(self._content.iter_any()), close, call.exchange, screen)

    def close_response(self) -> None:
        """Close the upstream; the body knows why."""
        self._closing = True
        if (response := self._response()) is not None:
            response.close()

    async def read(self, n: int = -1) -> bytes:
        while (n < 0 or len(self._rest) < n) and (more := await self._some()):
            self._rest += more
        return self._taken(n)

    async def readany(self) -> bytes:
        return self._taken(-1) if self._rest else await self._some()

    async def readline(self) -> bytes:
        while b"\n" not in self._rest and (more := await self._some()):
            self._rest += more
        return self._taken(self._rest.find(b"\n") + 1 or -1)

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        while chunk := await self.readany():
            yield chunk, True

    async def iter_any(self) -> AsyncIterator[bytes]:
        while chunk := await self.readany():
            yield chunk

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        while chunk := await self.read(n):
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    def at_eof(self) -> bool:
        return self._over and not self._rest

    is_eof = at_eof

    def exception(self) -> BaseException | None:
        found = self._content.exception()
        return found if isinstance(found, BaseException) else None

    def set_exception(self, *error: Any) -> None:
        """The response is closed or released."""
        if not self._closing:
            self.body.leave()
        self._content.set_exception(*error)

    def on_eof(self, callback: Any) -> None:
        self._content.on_eof(callback)

    async def _some(self) -> bytes:
        chunk = await anext(self.body, b"")
        self._over = self._over or not chunk
        return chunk

    def _taken(self, n: int) -> bytes:
        out = bytes(self._rest if n < 0 else self._rest[:n])
        del self._rest[: len(out)]
        return out


class _Held:
    """Stands for aiohttp's response in aiobotocore's: nobody else has it, so that who drops a reply is noticed.

    The response itself lives as long as its connection does.
    """

    __slots__ = ("_loop", "_raw", "_reader", "raw_headers")

    def __init__(self, raw: Any, reader: _Reader) -> None:
        self._raw, self._reader = raw, reader
        # Older versions read the headers here.
        self.raw_headers = raw.raw_headers
        self._loop = asyncio.get_running_loop()

    def drop_length(self) -> None:
        """Say no more how long the content is."""
        self.raw_headers = [header for header in self.raw_headers if header[0].lower() != _LENGTH.encode()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __del__(self) -> None:
        # After an __init__ that raised, or where the loop is closed, there is nothing left to end.
        with suppress(Exception):
            self._reader.body.leave()
            if self._raw.closed:
                return
            # The collector may be at work on another thread.
            self._loop.call_soon_threadsafe(self._raw.close)


def _already() -> None:
    """It has been read to its end."""


async def _aalready() -> None:
    """The same."""


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
