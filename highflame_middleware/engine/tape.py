"""The part of a text that is still being looked at, folded, and the way back to the text as it was written."""

from __future__ import annotations

import functools
import re
from bisect import bisect_right

from .normal import fold
from .values.scan import CONTEXT

__all__ = ["Tape"]

_SPARE = 2_048  # characters to let pile up before what is done with is dropped
_STUFFED = 1_024  # characters left out in one place: nobody writes so


class Tape:
    """A window of folded text that moves along as its beginning is settled.

    ``text[start:]`` is not settled; what stands before it is kept for its context only.
    ``text[:limit]`` ends with a break, a character that no value has in it.

    >>> tape = Tape()
    >>> tape.read("my s\\u200bk-1")
    'my sk-1'
    >>> tape.limit, tape.written(4)
    (3, 5)
    """

    __slots__ = ("_base", "_gaps", "_gone", "limit", "start", "stuffed", "text")

    def __init__(self) -> None:
        self.text = ""
        self.start = 0
        self.limit = 0
        self.stuffed = False  # whether one place has more unreadable characters than can be waited for
        self._base = 0  # where `text` begins in the whole folded text
        self._gaps: list[int] = []  # for each character left out, the folded place it stood before
        self._gone = 0  # characters left out before these

    def read(self, written: str) -> str:
        """Take the next piece as it is written; give it folded."""
        folded, gaps = fold(written)
        end = len(self.text)
        if gaps:
            since = max(0, len(self._gaps) - _STUFFED)
            self._gaps += [self._base + end + gap for gap in gaps]
            new = self._gaps[since:]
            self.stuffed = any(one == two for one, two in zip(new, new[_STUFFED:], strict=False))
        if broken := _breaks().match(folded):
            self.limit = end + broken.end()
        self.text += folded
        return folded

    def written(self, at: int) -> int:
        """Where in the whole written text the character ``text[at]`` stands."""
        place = self._base + at
        return place + self._gone + bisect_right(self._gaps, place)

    def word_ends(self, at: int, reach: int, *, final: bool) -> int | None:
        """Where the word around ``text[at]`` ends, if that is known and fewer than ``reach`` characters away.

        >>> tape = Tape()
        >>> _ = tape.read("one two")
        >>> tape.word_ends(0, 9, final=False), tape.word_ends(4, 9, final=False), tape.word_ends(4, 9, final=True)
        (3, None, 7)
        """
        if broken := _break().search(self.text, at, at + reach):
            return broken.start()
        return len(self.text) if final and len(self.text) - at < reach else None

    def settle(self, at: int) -> None:
        """Be done with everything before ``text[at]``."""
        self.start = at
        drop = at - CONTEXT
        if drop > _SPARE:
            self.text = self.text[drop:]
            self.start, self.limit, self._base = CONTEXT, max(0, self.limit - drop), self._base + drop
            past = bisect_right(self._gaps, self._base - 1)
            self._gaps, self._gone = self._gaps[past:], self._gone + past


_BREAK = r"[\s\"\x80-\U0010ffff]"


@functools.cache
def _break() -> re.Pattern[str]:
    return re.compile(_BREAK)


@functools.cache
def _breaks() -> re.Pattern[str]:
    return re.compile(rf"(?s:.*){_BREAK}")
