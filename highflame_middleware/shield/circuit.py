"""A circuit breaker: whoever has failed several times running is left alone for a while, then tried once.

The states are values and the steps between them pure functions; `Circuit` keeps one under a lock.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from time import monotonic

from ..errors import APIConnectionError

__all__ = ["Circuit", "State", "admit", "fail", "release", "succeed"]

FAILURES = 5  # in a row, after which it opens
SECONDS = 5.0  # that it stays open before one call may try


@dataclass(frozen=True, slots=True)
class State:
    """How many attempts failed in a row, until when nobody is let through, and whether one is trying just now."""

    failures: int = 0
    closed_until: float = 0.0
    trying: bool = False


def admit(state: State, now: float) -> tuple[State, bool]:
    """Whether an attempt may be made.

    >>> state = State(failures=5, closed_until=10.0)
    >>> admit(state, 9.0)[1], admit(state, 10.0)
    (False, (State(failures=5, closed_until=10.0, trying=True), True))
    """
    if state.failures < FAILURES:
        return state, True
    if state.trying or now < state.closed_until:
        return state, False
    return replace(state, trying=True), True


def succeed(state: State) -> State:  # noqa: ARG001 - whatever it was, it is well again
    """The state after an attempt that was answered."""
    return State()


def fail(state: State, now: float) -> State:
    """The state after an attempt that failed."""
    return State(failures=state.failures + 1, closed_until=now + SECONDS)


def release(state: State) -> State:
    """The state after an attempt that was broken off, which says nothing."""
    return replace(state, trying=False)


class Circuit:
    """The breaker for one host."""

    __slots__ = ("_lock", "_state", "host")

    def __init__(self, host: str) -> None:
        self.host = host
        self._lock = threading.Lock()
        self._state = State()

    def enter(self) -> None:
        """Ask to make an attempt; an `APIConnectionError` where none is to be made now."""
        with self._lock:
            self._state, admitted = admit(self._state, monotonic())
            failures = self._state.failures
        if not admitted:
            raise APIConnectionError(f"{self.host} failed {failures} times running, and is left alone for a moment")

    @property
    def is_open(self) -> bool:
        """Whether an attempt made now would not be let through."""
        with self._lock:
            return not admit(self._state, monotonic())[1]

    def succeed(self) -> None:
        """The attempt was answered."""
        with self._lock:
            self._state = succeed(self._state)

    def fail(self) -> None:
        """The attempt failed."""
        with self._lock:
            self._state = fail(self._state, monotonic())

    def release(self) -> None:
        """The attempt was broken off."""
        with self._lock:
            self._state = release(self._state)
