"""Answers that were given, by the key under which a client repeats its question."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .replies import Reply

__all__ = ["Answers"]


@dataclass(frozen=True, slots=True)
class _Given:
    question: bytes
    reply: Reply
    until: float


class Answers:
    """What was answered lately, bounded in number, size and age; keys and questions are kept as digests only.

    >>> answers = Answers()
    >>> answers.keep("tenant", "key", b"question", Reply(200, (), b"yes"))
    >>> answers.find("tenant", "key", b"question").body, answers.find("other", "key", b"question")
    (b'yes', None)
    """

    def __init__(
        self,
        *,
        most: int = 1_000,
        octets: int = 16 * 1024 * 1024,
        seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._octets, self._seconds, self._clock = most, octets, seconds, clock
        self._lock = threading.Lock()
        self._given: OrderedDict[bytes, _Given] = OrderedDict()
        self._size = 0

    def find(self, tenant: str, key: str, question: bytes) -> Reply | None:
        """The answer to this very question; a `KeyError` where the key was used for another."""
        with self._lock:
            self._forget()
            given = self._given.get(_digest(tenant.encode(), key.encode("latin-1", "replace")))
            if given is None:
                return None
            if given.question != _digest(question):
                raise KeyError
            return given.reply

    def keep(self, tenant: str, key: str, question: bytes, reply: Reply) -> None:
        """Remember an answer."""
        with self._lock:
            name = _digest(tenant.encode(), key.encode("latin-1", "replace"))
            self._drop(name)
            self._given[name] = _Given(_digest(question), reply, self._clock() + self._seconds)
            self._size += len(reply.body)
            self._forget()

    def _forget(self) -> None:
        now = self._clock()
        while self._given:
            name, given = next(iter(self._given.items()))
            if len(self._given) <= self._most and self._size <= self._octets and now < given.until:
                break
            self._drop(name)

    def _drop(self, name: bytes) -> None:
        if (given := self._given.pop(name, None)) is not None:
            self._size -= len(given.reply.body)


def _digest(*parts: bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.digest()
