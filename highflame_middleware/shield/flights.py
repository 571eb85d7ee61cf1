"""One exchange in flight for any number of threads and event loops: who comes second waits for the first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

__all__ = ["Flight"]

# An exchange whose leader was left behind, with its loop or in a forked process, is nobody's after this long.
_ABANDONED = 60.0


class Flight:
    """An exchange that is being made. Waiting for it holds no lock; a waiter may leave at any time.

    >>> flight = Flight()
    >>> flight.land("token"), flight.wait(0.0), flight.result
    (None, True, 'token')
    """

    __slots__ = ("_callbacks", "_landed", "_lock", "began", "error", "result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._landed = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self.began = monotonic()
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether whoever made the exchange cannot be expected to end it."""
        return not self._landed.is_set() and monotonic() - self.began > _ABANDONED

    def land(self, result: Any = None, error: Exception | None = None) -> None:
        """It is over: with a result, an error, or neither where it was broken off and another has to try."""
        with self._lock:
            if self._landed.is_set():
                return
            self.result, self.error = result, error
            self._landed.set()
            callbacks, self._callbacks = self._callbacks, []
        for call in callbacks:
            call()

    def wait(self, seconds: float) -> bool:
        """Block this thread until it is over; false when that takes longer."""
        return self._landed.wait(seconds)

    def when_landed(self, call: Callable[[], None]) -> None:
        """Have ``call`` called when it is over, on the thread where it ends; at once where it has."""
        with self._lock:
            if not self._landed.is_set():
                self._callbacks.append(call)
                return
        call()

    def forget(self, call: Callable[[], None]) -> None:
        """Have it called no more."""
        with self._lock:
            if call in self._callbacks:
                self._callbacks.remove(call)
