"""A session as a value: what its texts have told, and how what two of them told becomes one.

What one text adds to a session is a small session itself, and adding is the
same in any order but for the lists: so no update is lost, wherever sessions are
kept and however many processes write to one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

__all__ = [
    "EMPTY",
    "LISTS",
    "MOST_COUNTED",
    "MOST_FIRSTS",
    "Session",
    "SessionFault",
    "Sessions",
    "key_of",
    "merged",
]

MOST_COUNTED = 1_000_000_000
MOST_FIRSTS = 256  # names
#: The lists of a session, and how many of their latest items are kept.
LISTS: Mapping[str, int] = MappingProxyType({"actions": 20, "texts": 256})


@dataclass(frozen=True, slots=True)
class Session:
    """What the texts of a session have told: names, numbers and digests, never a word of a text.

    ``counts`` add up, of ``peaks`` the highest is kept, of ``firsts`` the one that came
    first, of ``lists`` the latest items. All of it is bounded.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    peaks: Mapping[str, int] = field(default_factory=dict)
    firsts: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts or self.peaks or self.firsts or self.lists)


EMPTY = Session()


def merged(session: Session, change: Session) -> Session:
    """The session, with a change made to it.

    >>> turn = Session(counts={"turns": 1}, peaks={"injection": 40}, firsts={"pii:email": "1"})
    >>> merged(turn, Session(counts={"turns": 1}, peaks={"injection": 20})).counts["turns"]
    2
    >>> merged(EMPTY, turn) == merged(turn, EMPTY) == turn
    True
    """
    if not change:
        return session
    counts, peaks, firsts = dict(session.counts), dict(session.peaks), dict(session.firsts)
    lists = dict(session.lists)
    for name, number in change.counts.items():
        counts[name] = min(MOST_COUNTED, counts.get(name, 0) + number)
    for name, number in change.peaks.items():
        peaks[name] = max(peaks.get(name, number), number)
    for name, first in change.firsts.items():
        if len(firsts) < MOST_FIRSTS:
            firsts.setdefault(name, first)
    for name, items in change.lists.items():
        lists[name] = (*lists.get(name, ()), *items)[-LISTS[name] :]
    return Session(counts, peaks, firsts, lists)


class SessionFault(Exception):  # noqa: N818 - it never reaches a user: a guard makes a verdict or a GuardError of it
    """The sessions cannot be had now. Its text says why, and names no session."""


@runtime_checkable
class Sessions(Protocol):
    """Where sessions are kept.

    ``local`` says that nothing here waits for anything. `peek` and `defer` never wait:
    a stream's window uses them, on whatever thread or loop reads the stream.
    """

    @property
    def local(self) -> bool:
        """Whether `load` and `add` are pure computation."""
        ...

    def load(self, session_id: str) -> Session:
        """The session as it is now; an empty one where there is none. Raises `SessionFault`."""
        ...

    def add(self, session_id: str, change: Session) -> None:
        """Make a change to the session. Raises `SessionFault`."""
        ...

    def peek(self, session_id: str) -> Session:
        """The session as this process last saw it."""
        ...

    def defer(self, session_id: str, change: Session) -> None:
        """Make a change to the session, at once or with the next call of `load`."""
        ...


def key_of(session_id: str) -> str:
    """The name that a session is kept under, of one length: an id may be anything, and tell who somebody is.

    >>> key_of("ada@example.org")
    'a5673b69125cb20df9cbe32292f06712'
    """
    return hashlib.sha256(b"session:" + session_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
