"""A screen inside of another: the guard's, inside of one that reads the reply for a reason of its own."""

from __future__ import annotations

from .bodies import internal_fault
from .errors import HighflameError
from .exchange import Exchange
from .flow import Flow
from .screens import Screen

__all__ = ["Nested"]


class Nested:
    """``screen``, if there is one; where the guard only looks on, what it stumbles over is passed all the same.

    The screen around it may hold or have changed bytes that the fault must not
    take with it, so it is caught here and not where the body is read.
    """

    __slots__ = ("_exchange", "_screen")

    def __init__(self, screen: Screen | None, exchange: Exchange) -> None:
        self._screen, self._exchange = screen, exchange

    @property
    def screen(self) -> Screen | None:
        """The screen, as long as it has not failed."""
        return self._screen

    @property
    def stopped(self) -> HighflameError | None:
        """What it stopped the reply with."""
        return self._screen.stopped if self._screen is not None else None

    @property
    def concluded(self) -> bool:
        """Whether the reply has said that it ends here, whatever bytes are still to come."""
        return bool(getattr(self._screen, "concluded", False))

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """The bytes to hand on for a chunk."""
        if self._screen is None:
            return chunk
        return (yield from self._tried(self._screen.feed(chunk), chunk))

    def finish(self) -> Flow[bytes]:
        """The bytes to hand on at the end."""
        if self._screen is None:
            return b""
        return (yield from self._tried(self._screen.finish(), b""))

    def _tried(self, flow: Flow[bytes], otherwise: bytes) -> Flow[bytes]:
        try:
            return (yield from flow)
        except Exception as error:
            if self._exchange.policy.holds:
                raise
            self._screen = None
            internal_fault(error, "reading a reply")
            return otherwise
