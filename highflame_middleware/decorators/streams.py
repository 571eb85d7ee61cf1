"""What a generator yields, guarded as it comes: strings are one growing text, whatever else is judged by itself.

Nothing is yielded in which a finding can still begin or go on, and everything in its order. The strings that come
out need not be cut as those that went in were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ..errors import GuardError
from ..flow import Flow
from ..gauges import Gauge, Step, gauge_for
from ..guard.redaction import apply_entries
from ..types import RedactionEntry
from .guarding import Guarding

__all__ = ["Yielded"]

MAX_HELD = 32 * 1024 * 1024  # characters that are held back; beyond, the failure policy speaks


class Yielded:
    """The items of one generator on their way. ``feed`` and ``finish`` give what may be yielded now."""

    def __init__(self, guarding: Guarding) -> None:
        self._guarding = guarding
        self._holds = guarding.policy.holds
        self._written: list[str] = []
        self._gauge: Gauge | None = None
        self._held = ""  # the text from `_sent` on
        self._sent = 0
        self._length = 0
        self._cleared = 0
        self._entries: list[RedactionEntry] = []
        self._waiting: deque[tuple[int, Any]] = deque()  # other items, and how much text stands before them
        self._over = guarding.policy.guard is None

    def feed(self, item: Any) -> Flow[Sequence[Any]]:
        """Take an item."""
        if self._over:
            return [item]
        if not isinstance(item, str):
            item = yield from self._guarding.judged(item)
            if not self._holds:
                return [item]
            self._waiting.append((self._length, item))
            return self._ready()
        self._written.append(item)
        self._length += len(item)
        self._held += item if self._holds else ""
        if self._gauge is None:
            self._gauge = gauge_for(self._guarding, self._guarding.text(""), self._written)
        step = yield from self._gauge.feed(item)
        ready = self._take(step)
        if len(self._held) > MAX_HELD:
            return [*ready, *self._give_up()]
        return ready if self._holds else [item]

    def finish(self) -> Flow[Sequence[Any]]:
        """The generator has ended."""
        if self._over or self._gauge is None:
            return self._ready()
        step = yield from self._gauge.finish()
        return self._take(step)

    def _take(self, step: Step) -> list[Any]:
        if step.error is not None:
            self._over = True
            raise step.error
        self._entries += step.entries
        self._cleared = max(self._cleared, min(step.cleared, self._length))
        return self._ready()

    def _ready(self) -> list[Any]:
        """What is cleared, in its order, with its edits made."""
        out: list[Any] = []
        while self._waiting and self._waiting[0][0] <= self._cleared:
            at, item = self._waiting.popleft()
            out += [*self._text_to(at), item]
        return out + self._text_to(self._cleared)

    def _text_to(self, end: int) -> list[str]:
        if not self._holds or end <= self._sent:
            return []
        inside = [entry for entry in self._entries if entry.end_pos <= end]
        if any(entry.start_pos < end < entry.end_pos for entry in self._entries):
            # An edit goes on beyond an item that stands in its midst: the text waits for it, the item does not.
            return []
        part, self._held = self._held[: end - self._sent], self._held[end - self._sent :]
        moved = [_moved(entry, self._sent) for entry in inside]
        self._entries = [entry for entry in self._entries if entry.end_pos > end]
        self._sent = end
        edited = apply_entries(part, moved)
        if edited is None:
            raise GuardError("the guard's redactions overlap, or lie outside the text: it could not be guarded")
        return [edited] if edited else []

    def _give_up(self) -> list[Any]:
        """Too much is held: stop, or let go of all of it, and of what is still to come."""
        fault = GuardError(f"more than {MAX_HELD} characters were held back: they could not be guarded")
        ruling = self._guarding.settle(self._guarding.text(""), fault)
        self._over = True
        if ruling.error is not None:
            raise ruling.error
        self._cleared = self._length
        return self._ready()


def _moved(entry: RedactionEntry, by: int) -> RedactionEntry:
    return RedactionEntry(
        type=entry.type,
        start_pos=entry.start_pos - by,
        end_pos=entry.end_pos - by,
        replacement=entry.replacement,
    )
