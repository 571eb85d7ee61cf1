"""What is kept in mind for a while: bounded in time and number, for all threads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

__all__ = ["Remembered"]

V = TypeVar("V")


class Remembered(Generic[V]):
    """Values by key; the oldest are forgotten first when there are more than ``most``.

    >>> seen = Remembered(2)
    >>> for name in ("a", "b", "c"):
    ...     seen.put(name, 1, seconds=60)
    >>> seen.get("a"), seen.get("c")
    (None, 1)
    """

    def __init__(self, most: int, *, timer: Callable[[], float] = monotonic) -> None:
        self._most, self._timer = most, timer
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._items: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """What is known, if its time is not up."""
        if self._pid != os.getpid():
            self._forget()  # the parent may have held the lock when it forked
        with self._lock:
            found = self._items.get(key)
            if found is None:
                return None
            if found[0] <= self._timer():
                del self._items[key]
                return None
            return found[1]

    def put(self, key: Hashable, value: V, *, seconds: float) -> None:
        """Keep a value for some seconds."""
        if self._pid != os.getpid():
            self._forget()
        if seconds <= 0:
            return
        with self._lock:
            self._items.pop(key, None)
            while len(self._items) >= self._most:
                self._items.popitem(last=False)
            self._items[key] = (self._timer() + seconds, value)

    def __len__(self) -> int:
        return len(self._items)
