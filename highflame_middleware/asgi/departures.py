"""A caller who leaves before the answer: what is done for them ends, the guard's work and the application's.

An application that waits for ``http.disconnect`` itself is told, and does as it likes; any other is cancelled.
What it does once its answer has left, as background tasks, is its own affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from ..asgi_types import Receive

__all__ = ["attend"]

# Where a caller is answered within this many seconds nobody listens for their leaving: it costs more than it saves.
_PROMPT = 0.01


async def attend(
    receive: Receive, serve: Callable[[Receive], Awaitable[None]], *, over: Callable[[], bool]
) -> None:
    """Serve a request whose body has been read, as long as its caller is there.

    ``serve`` is given the ``receive`` to use from here on. ``over`` says that
    the caller has been answered, so that leaving is nothing but the end.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        await _attend_in_nursery(_Visit(receive, over, anyio.Event()), serve)
        return
    visit = _LoopVisit(receive, over, loop)
    timer = loop.call_later(_PROMPT, visit.begin)
    try:
        with visit.scope:
            await serve(visit.receive)
    finally:
        timer.cancel()
        visit.end()


async def _attend_in_nursery(visit: _Visit, serve: Callable[[Receive], Awaitable[None]]) -> None:
    """The same where there are no tasks without a nursery."""
    error: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(visit.listen)
        with visit.scope:
            try:
                await serve(visit.receive)
            except Exception as raised:  # noqa: BLE001 - raised again as it came, and not as a group
                error = raised
        group.cancel_scope.cancel()
    if error is not None:
        raise error


class _Visit:
    """One caller, from the end of their request to the end of the answer."""

    def __init__(self, receive: Receive, over: Callable[[], bool], left: asyncio.Event | anyio.Event) -> None:
        self.scope = anyio.CancelScope()
        self._receive, self._over = receive, over
        self._left = left
        self._last: Any = None
        self._waiting = 0

    async def receive(self) -> Any:
        """What the application receives after the body: that its caller has left."""
        self._waiting += 1
        try:
            await self._left.wait()
        finally:
            self._waiting -= 1
        if isinstance(self._last, Exception):
            raise self._last
        return self._last

    async def listen(self) -> None:
        """Wait until the caller leaves, and end what is done for them."""
        try:
            self._last = await self._receive()
            while self._last["type"] != "http.disconnect":
                self._last = await self._receive()
        except Exception as error:  # noqa: BLE001 - the server's; the application hears of it if it asks
            self._last = error
        told = self._waiting > 0
        self._left.set()
        if not told and not self._over():
            self.scope.cancel()


class _LoopVisit(_Visit):
    """A visit on asyncio: somebody listens only once it has lasted, or where the application does."""

    def __init__(self, receive: Receive, over: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(receive, over, asyncio.Event())
        self._loop = loop
        self._listener: asyncio.Task[None] | None = None

    async def receive(self) -> Any:
        self.begin()
        return await super().receive()

    def begin(self) -> None:
        if self._listener is None:
            self._listener = self._loop.create_task(self.listen())

    def end(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
