"""Where in JSON arguments the strings are: a number that gives way to words needs quotes around them."""

from __future__ import annotations

import re
from bisect import bisect_left

__all__ = ["Quotes"]


class Quotes:
    """The string marks of a text that comes in pieces; none in a text that is no JSON object or list.

    >>> quotes = Quotes()
    >>> quotes.read('{"n": 1, "s": "1"}')
    >>> quotes.outside(6), quotes.outside(15)
    (True, False)
    """

    __slots__ = ("_escaped", "_is_json", "_length", "_marks")

    def __init__(self) -> None:
        self._is_json: bool | None = None
        self._marks: list[int] = []
        self._length = 0
        self._escaped = False

    def read(self, text: str) -> None:
        """Take the next piece of the text as it is written."""
        if self._is_json is None and (begun := text.lstrip()):
            self._is_json = begun[0] in "{["
        if self._is_json:
            for mark in re.finditer(r'\\?"|\\.?', text[self._escaped :], re.DOTALL):
                if mark.group() == '"':
                    self._marks.append(self._length + self._escaped + mark.start())
            self._escaped = self._ends_escaping(text)
        self._length += len(text)

    def outside(self, at: int) -> bool:
        """Whether the character at ``at`` stands in JSON, but in no string of it."""
        return bool(self._is_json) and bisect_left(self._marks, at) % 2 == 0

    def _ends_escaping(self, text: str) -> bool:
        rest = text[self._escaped :]
        return (len(rest) - len(rest.rstrip("\\"))) % 2 == 1 if text else self._escaped
