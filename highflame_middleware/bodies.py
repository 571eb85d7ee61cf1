"""Byte streams with a screen in them: what a door hands on in place of a reply's body.

Two shells, blocking and asynchronous, around one piece of state. They end the
exchange exactly once: at the end of the body, when the reader closes it, when
it breaks, or when it is dropped and collected.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from .drivers import aperform, perform
from .exchange import Exchange
from .flow import Flow, arun, run
from .screens import EventScreen, Screen

__all__ = [
    "AmbiguousError",
    "AsyncGuardedBody",
    "AsyncGuardedEvents",
    "EventForm",
    "GuardedBody",
    "GuardedEvents",
    "internal_fault",
    "unambiguous",
]

_log = logging.getLogger("highflame_middleware")


def internal_fault(error: Exception, doing: str) -> None:
    """A fault of this library where it only looks on: logged, not raised; raised in tests, so that they see it."""
    _log.exception("internal error while %s; the call goes on", doing, exc_info=error)
    if "PYTEST_CURRENT_TEST" in os.environ:
        raise error


class AmbiguousError(ValueError):
    """A JSON object that names a key twice: what one reader takes of it, another does not."""


def unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``json.loads``: an object that names no key twice, so that what was judged is what is read later.

    >>> unambiguous([("role", "user"), ("content", "Hi!")])
    {'role': 'user', 'content': 'Hi!'}
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AmbiguousError("a key stands twice in one object")
    return found


class _Tap:
    """What both shells share: which bytes to hand on for a chunk, and when and how it all ends."""

    __slots__ = ("_looking", "ended", "exchange", "screen")

    def __init__(self, exchange: Exchange, screen: Screen) -> None:
        self.exchange, self.screen = exchange, screen
        self.ended = False
        self._looking = True
        exchange.reading = True

    def advance(self, chunk: bytes | None) -> Flow[bytes]:
        """The bytes to hand on after a chunk, or after the end of the body (None)."""
        out = yield from self._looked_at(chunk)
        if chunk is None and self.screen.stopped is None:
            self.end(None)
        elif getattr(self.screen, "concluded", False) and self.screen.stopped is None:
            # Not all readers go on from here to the end of the bytes, or close them.
            self.exchange.close()
        return out

    def _looked_at(self, chunk: bytes | None) -> Flow[bytes]:
        if not self._looking:
            return chunk or b""
        try:
            return (yield from (self.screen.feed(chunk) if chunk is not None else self.screen.finish()))
        except Exception as error:
            if self.exchange.policy.holds:
                raise
            self._looking = False
            internal_fault(error, "reading a reply")
            return chunk or b""

    def halting(self) -> bool:
        """Whether the screen wants to end the body here."""
        return self.screen.stopped is not None

    def halt(self) -> bytes:
        """End here, as the screen says: raise to a reader that has the reply, refuse to an SDK in between."""
        error = self.screen.stopped
        assert error is not None
        if self.exchange.returned:
            self.end(error)
            raise error
        self.exchange.refused = error
        self.end(None)
        return self.screen.refusal(error)

    def leave(self) -> None:
        """The reader closes the body before its end: what came is judged for the record, where that is free."""
        if self.ended:
            return
        guard = self.exchange.policy.guard
        if guard is not None and guard.local and self.screen.stopped is None:
            with suppress(Exception):
                run(self.screen.finish(), perform)
        self.end(None)

    def end(self, error: BaseException | None) -> None:
        if not self.ended:
            self.ended = True
            self.exchange.close(error)


class GuardedBody:
    """A reply's body for blocking readers: an iterator of bytes with `close`."""

    def __init__(
        self, source: Iterator[bytes], close: Callable[[], None], exchange: Exchange, screen: Screen
    ) -> None:
        self._source, self._close_source = source, close
        self._ahead = b""
        self._tap = _Tap(exchange, screen)
        exchange.body = self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def prime(self) -> None:
        """Read up to the first bytes that may be handed on, before anybody asks for them."""
        self._ahead = next(self, b"")

    def __next__(self) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        tap = self._tap
        while not tap.ended:
            if tap.halting():
                self._close_source()
                return tap.halt()
            try:
                chunk = next(self._source, None)
                out = run(tap.advance(chunk), perform)
            except BaseException as error:
                tap.end(error)
                self._close_source()
                raise
            if tap.halting():
                self._close_source()
            if out:
                return out
        raise StopIteration

    def close(self) -> None:
        """Leave the body; what was held back is dropped, the upstream is closed at once."""
        self._tap.leave()
        self._close_source()

    def __del__(self) -> None:
        # After an __init__ that raised, or at interpreter exit, there is nothing left to end.
        with suppress(Exception):
            self._tap.leave()


class AsyncGuardedBody:
    """A reply's body for asynchronous readers: an asynchronous iterator of bytes with `aclose`."""

    def __init__(
        self,
        source: AsyncIterator[bytes],
        aclose: Callable[[], Awaitable[None]],
        exchange: Exchange,
        screen: Screen,
    ) -> None:
        self._source, self._close_source = source, aclose
        self._ahead = b""
        self._tap = _Tap(exchange, screen)
        exchange.body = self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def prime(self) -> None:
        """Read up to the first bytes that may be handed on, before anybody asks for them."""
        self._ahead = await anext(self, b"")

    async def __anext__(self) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        tap = self._tap
        while not tap.ended:
            if tap.halting():
                await self._close_source()
                return tap.halt()
            try:
                chunk = await anext(self._source, None)
                out = await arun(tap.advance(chunk), aperform)
            except BaseException as error:
                tap.end(error)
                await self._close_source()
                raise
            if tap.halting():
                await self._close_source()
            if out:
                return out
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leave the body; what was held back is dropped, the upstream is closed at once."""
        self.leave()
        await self._close_source()

    def leave(self) -> None:
        """Leave the body to a reader that closes the upstream by itself."""
        self._tap.leave()

    def __del__(self) -> None:
        with suppress(Exception):
            self._tap.leave()


class EventForm(NamedTuple):
    """How an SDK's events are bytes to be judged: ``read`` one, and ``write`` one again with other bytes."""

    read: Callable[[Any], bytes]
    write: Callable[[Any, bytes], Any]


class _EventTap(_Tap):
    """The same for readers that are handed events, each an object of their SDK's: one may be told to wait."""

    __slots__ = ("_form", "_waiting", "events")

    def __init__(self, exchange: Exchange, screen: EventScreen, form: EventForm) -> None:
        super().__init__(exchange, screen)
        self.events = screen
        self._form = form
        self._waiting: deque[tuple[Any, bytes]] = deque()

    def take(self, event: Any) -> Flow[list[Any]]:
        """The events to hand on after one, in the order they came."""
        raw = self._form.read(event)
        self._waiting.append((event, raw))
        try:
            return self._released((yield from self.events.advance(raw)) if self._looking else [raw])
        except Exception as error:
            if self.exchange.policy.holds:
                raise
            self._looking = False
            internal_fault(error, "reading a reply")
            return self._released([raw])

    def finish(self) -> Flow[list[Any]]:
        """The events to hand on after the last one."""
        out: list[bytes] = []
        if self._looking:
            try:
                out = yield from self.events.conclude()
            except Exception as error:
                if self.exchange.policy.holds:
                    raise
                internal_fault(error, "reading a reply")
        if self.screen.stopped is None:
            self.end(None)
        return self._released(out)

    def _released(self, out: list[bytes]) -> list[Any]:
        """Events leave in the order they came, each as it came unless its bytes are others now."""
        events = []
        for changed in out:
            if self._waiting:
                event, raw = self._waiting.popleft()
                events.append(event if changed == raw else self._form.write(event, changed))
        return events


# After the last event of a source.
_END = object()


class GuardedEvents:
    """A reply's events for blocking readers: an iterator with `close`."""

    def __init__(
        self,
        source: Iterator[Any],
        close: Callable[[], None],
        exchange: Exchange,
        screen: EventScreen,
        form: EventForm,
    ) -> None:
        self._source, self._close_source = source, close
        self._tap = _EventTap(exchange, screen, form)
        self._ready: deque[Any] = deque()
        exchange.body = self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        tap = self._tap
        while not self._ready:
            if tap.ended:
                raise StopIteration
            if tap.halting():
                self._close_source()
                tap.halt()
                continue
            try:
                event = next(self._source, _END)
                self._ready += run(tap.take(event) if event is not _END else tap.finish(), perform)
            except BaseException as error:
                tap.end(error)
                self._close_source()
                raise
            if tap.halting():
                self._close_source()
        return self._ready.popleft()

    def close(self) -> None:
        """Leave the reply; what was held back is dropped, the upstream is closed at once."""
        self._tap.leave()
        self._ready.clear()
        self._close_source()

    def __del__(self) -> None:
        with suppress(Exception):
            self._tap.leave()


class AsyncGuardedEvents:
    """A reply's events for asynchronous readers: an asynchronous iterator with `aclose`."""

    def __init__(
        self,
        source: AsyncIterator[Any],
        aclose: Callable[[], Awaitable[None]],
        exchange: Exchange,
        screen: EventScreen,
        form: EventForm,
    ) -> None:
        self._source, self._close_source = source, aclose
        self._tap = _EventTap(exchange, screen, form)
        self._ready: deque[Any] = deque()
        exchange.body = self

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        tap = self._tap
        while not self._ready:
            if tap.ended:
                raise StopAsyncIteration
            if tap.halting():
                await self._close_source()
                tap.halt()
                continue
            try:
                event = await anext(self._source, _END)
                self._ready += await arun(tap.take(event) if event is not _END else tap.finish(), aperform)
            except BaseException as error:
                tap.end(error)
                await self._close_source()
                raise
            if tap.halting():
                await self._close_source()
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Leave the reply; what was held back is dropped, the upstream is closed at once."""
        self._tap.leave()
        self._ready.clear()
        await self._close_source()

    def __del__(self) -> None:
        with suppress(Exception):
            self._tap.leave()
