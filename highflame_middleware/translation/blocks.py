"""Blocks of a stream of which one is open at a time, for the formats that write replies so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .conversation import ArgumentsDelta, ToolCallOpened
from .leftovers import Held
from .translator import UntranslatableError

__all__ = ["Blocks"]

E = TypeVar("E")

_CALL = "call"


class Blocks(Generic[E]):
    """What is open, and the calls that wait for it to end.

    Tools that are called while another's arguments still grow wait until those are whole, which is when anything
    else follows: formats that write them at once need not say when one ends. ``stop``, ``call`` and ``argue`` make
    the format's events: a block ends, a call begins, its arguments grow. Each is given the block's index.

    >>> said = {"stop": lambda at: f"{at} ends", "call": lambda at, call: f"{at} begins", "argue": str}
    >>> blocks = Blocks(**said)
    >>> list(blocks.take(ToolCallOpened(0, "a", "weather"))), list(blocks.take(ToolCallOpened(1, "b", "time")))
    (['0 begins'], [])
    >>> list(blocks.close())
    ['0 ends', '1 begins', '1 ends']
    """

    __slots__ = ("_argue", "_call", "_calls", "_held", "_stop", "_waiting", "index", "kind")

    def __init__(
        self,
        *,
        stop: Callable[[int], E],
        call: Callable[[int, ToolCallOpened], E],
        argue: Callable[[int, str], E],
    ) -> None:
        self._stop, self._call, self._argue = stop, call, argue
        # The last block that was begun, and what is open of it.
        self.index = -1
        self.kind: str | None = None
        # By the call's own number: its block, or its arguments while it waits.
        self._calls: dict[int, int | list[str]] = {}
        self._waiting: list[ToolCallOpened] = []
        self._held = Held()

    def open(self, kind: str) -> Iterator[E]:
        """End what is open; the next block has the index from here on."""
        yield from self.close()
        self.index += 1
        self.kind = kind

    def close(self) -> Iterator[E]:
        """End what is open, and write the calls that waited for it."""
        if self.kind is None:
            return
        self.kind = None
        yield self._stop(self.index)
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            pieces = self._calls[call.index]
            yield from self._begin(call)
            if isinstance(pieces, list) and pieces:
                yield self._argue(self.index, "".join(pieces))
            self.kind = None
            yield self._stop(self.index)

    def take(self, delta: ToolCallOpened | ArgumentsDelta) -> Iterator[E]:
        """A call that begins, or more of its arguments."""
        place = self._calls.get(delta.index)
        if isinstance(delta, ToolCallOpened):
            if place is not None:
                raise UntranslatableError("a tool call begins twice")
            if self.kind == _CALL:
                self._calls[delta.index] = []
                self._waiting.append(delta)
            else:
                yield from self._begin(delta)
        elif isinstance(place, list):
            place.append(self._held.add(delta.text))
        elif place is None or self.kind is None or place != self.index:
            raise UntranslatableError("arguments belong to a tool call that is not open")
        elif delta.text:
            yield self._argue(self.index, delta.text)

    def _begin(self, call: ToolCallOpened) -> Iterator[E]:
        yield from self.open(_CALL)
        self._calls[call.index] = self.index
        yield self._call(self.index, call)
