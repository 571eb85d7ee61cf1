"""Sessions in the memory of this process: bounded in number, forgotten when they have long not been used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from time import monotonic

from ..errors import ConfigError
from .session import EMPTY, Session, key_of, merged

__all__ = ["MemorySessions", "checked"]


def checked(option: str, value: float, *, least: float) -> float:
    """A number as it was given, if it is one of at least ``least``; else a `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigError(f"{option}={value!r} cannot be used: give a number of at least {least:g}")
    return value


class MemorySessions:
    """At most ``max_sessions`` sessions, each kept for ``ttl`` seconds after it was last used.

    The one that has been idle longest makes room for a new one. Every step is O(1).

    >>> sessions = MemorySessions(max_sessions=100, ttl=600)
    >>> sessions.add("s1", Session(counts={"turns": 1}))
    >>> sessions.load("s1").counts["turns"], bool(sessions.load("s2"))
    (1, False)
    """

    local = True

    def __init__(self, *, max_sessions: int = 1_000, ttl: float = 3_600.0) -> None:
        self._most = int(checked("max_sessions", max_sessions, least=1))
        self._ttl = checked("ttl", ttl, least=0.001)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def load(self, session_id: str) -> Session:
        """The session as it is now; an empty one where there is none."""
        with self._lock:
            return self._found(key_of(session_id))

    def add(self, session_id: str, change: Session) -> None:
        """Make a change to the session."""
        key = key_of(session_id)
        with self._lock:
            self._kept[key] = (monotonic(), merged(self._found(key), change))
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    peek = load
    defer = add

    def forget(self, session_id: str) -> None:
        """Drop what is known of a session."""
        with self._lock:
            self._kept.pop(key_of(session_id), None)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"MemorySessions({len(self._kept)} of {self._most}, ttl={self._ttl:g})"

    def _found(self, key: str) -> Session:
        kept = self._kept.get(key)
        if kept is None:
            return EMPTY
        if kept[0] + self._ttl < monotonic():
            del self._kept[key]
            return EMPTY
        return kept[1]
