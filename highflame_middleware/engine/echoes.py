"""The words of a vault in what a model writes: where they stand, and what is put back in their place."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field

from ..sessions.pseudonyms import PATTERN, opens_at
from ..sessions.vault import Drawer

__all__ = ["Echo", "Echoes"]


@dataclass(frozen=True, slots=True)
class Echo:
    """``written[start:end]`` is the word for a value."""

    start: int
    end: int
    value: str = field(repr=False)


class Echoes:
    """Looks for words in a text that comes in pieces; a word that its drawer does not know stays as it is.

    No part of a word is let go of before it ends: there is no break in it, and texts are cleared up to breaks.

    >>> import threading
    >>> drawer = Drawer(b"k" * 32, "s1", 10, threading.Lock())
    >>> echoes = Echoes(drawer, is_json=False)
    >>> word = drawer.put("email", "ada@example.org")
    >>> echoes.read("to " + word[:9], final=False)
    []
    >>> echoes.read(word[9:] + " and [EMAIL_bbbbbbbbbbbb]", final=False)
    [Echo(start=3, end=23)]
    """

    __slots__ = ("_drawer", "_is_json", "_opens_at", "_rest")

    def __init__(self, drawer: Drawer, *, is_json: bool) -> None:
        self._drawer, self._is_json = drawer, is_json
        self._rest = ""
        self._opens_at = 0  # where a word may have begun that has not ended

    def read(self, text: str, *, final: bool) -> list[Echo]:
        """Take the next piece of the text as it is written; give the words that ended in it."""
        known, first = self._rest + text, self._opens_at
        open_at = len(known) if final else opens_at(known)
        self._rest, self._opens_at = known[open_at:], first + open_at
        if "[" not in known:
            return []
        found = []
        for word in _words().finditer(known):
            value = self._drawer.get(word.group())
            if value is not None:
                # Arguments are JSON: what is put into a string of it is written as it is there.
                value = json.dumps(value, ensure_ascii=False)[1:-1] if self._is_json else value
                found.append(Echo(first + word.start(), first + word.end(), value))
        return found


@functools.cache
def _words() -> re.Pattern[str]:
    return re.compile(PATTERN)
