"""Counters of this process for `rates`: a storage of the limits package without its threads and timers.

Imported only where rates are limited: it needs the extra ``limits``.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from math import floor

from limits.storage.base import SlidingWindowCounterSupport, Storage

__all__ = ["Counters"]

# Counters that are kept; beyond it those go that have run out, then those that count least, then the oldest:
# made-up names by the thousand, each of which has come once, push out nobody who is near a limit.
MAX_COUNTERS = 200_000


class Counters(Storage, SlidingWindowCounterSupport):
    """Counts in memory. Nothing else on the loop comes between the parts of a step: there is no lock to fork."""

    STORAGE_SCHEME = None

    def __init__(self, size: int = MAX_COUNTERS) -> None:
        super().__init__()
        self._size = size
        # Of each key: how many, and until when.
        self._counts: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong: nothing."""
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count some more; the first one says when the counter runs out."""
        count, until = self._counts.get(key, (0, 0.0))
        now = time.time()
        if until <= now:
            count, until = 0, now + expiry
            if len(self._counts) >= self._size:
                self._make_room(now)
        self._counts[key] = (count + amount, until)
        return count + amount

    def get(self, key: str) -> int:
        """How many there are."""
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When a counter runs out."""
        return self._counts.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """Whether it works: always."""
        return True

    def reset(self) -> int:
        """Forget everything."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one counter."""
        self._counts.pop(key, None)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count some more where that is within the limit."""
        now = time.time()
        previous, left, current, _ = self._window(key, expiry, now)
        if floor(previous * left / expiry + current) + amount > limit:
            return False
        self.incr(self._keys(key, expiry, now)[1], 2 * expiry, amount)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """How many in the window before this one, and for how long those count yet; the same of this one."""
        return self._window(key, expiry, time.time())

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget the windows of one key."""
        for name in self._keys(key, expiry, time.time()):
            self.clear(name)

    def _window(self, key: str, expiry: int, now: float) -> tuple[int, float, int, float]:
        before, here = self._keys(key, expiry, now)
        left = expiry - now % expiry
        previous = self.get(before)
        return previous, left if previous else 0.0, self.get(here), left + expiry

    def _keys(self, key: str, expiry: int, now: float) -> tuple[str, str]:
        number = int(now // expiry)
        return f"{key}/{number - 1}", f"{key}/{number}"

    def _make_room(self, now: float) -> None:
        """Forget a quarter, all at once: it is looked through seldom, and fast."""
        counts = sorted(count for count, until in self._counts.values() if until > now)
        spare = len(counts) - self._size * 3 // 4
        bound = counts[spare - 1] if spare > 0 else 0
        # So many of those that count just as much as the bound.
        level = spare - bisect_left(counts, bound) if spare > 0 else 0
        kept: dict[str, tuple[int, float]] = {}
        for key, entry in self._counts.items():
            count, until = entry
            if until <= now or count < bound:
                continue
            if count == bound and level:
                level -= 1
                continue
            kept[key] = entry
        self._counts = kept
