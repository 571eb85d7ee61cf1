"""Characters that nobody sees and a model reads: hidden letters, reordered text, split words.

A run of such characters is judged by what stands before and after it, because
most of them have honest uses: joiners in emoji, flags and many scripts, marks of
direction beside right-to-left text, a byte order mark at the very beginning.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["CONTEXT", "Run", "find", "opens_at"]

# The ones that may be reported; fewer than the reader leaves out (accents and soft hyphens are honest enough).
_INVISIBLE = "\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef"
_JOINERS = "\u200c\u200d"
_MARKS = "\u200e\u200f"
_OVERRIDES = "\u202d\u202e"
_DIRECTIONS = "\u202a\u202b\u202c\u2066\u2067\u2068\u2069"
_FLAG = "\U0001f3f4"
_KEYCAPS = "#*0123456789\u00a9\u00ae"
_SYMBOLS = "\u2190"  # where arrows, signs and emoji begin; below are the alphabets
_MOST = 8  # no honest run is longer: a flag has six letters and a mark that ends it
CONTEXT = _MOST + 2  # characters before a run that tell how it is to be judged

_JOINING = (
    (0x0600, 0x109F),
    (0x1780, 0x18AF),
    (0x1A20, 0x1CFF),
    (0xA800, 0xABFF),
    (0xFB50, 0xFEFC),
    (0x10A00, 0x11FFF),
)
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x1AAF))
_RIGHT_TO_LEFT = ((0x0590, 0x08FF), (0xFB1D, 0xFEFC), (0x10800, 0x10FFF), (0x1E800, 0x1EFFF))
_IDEOGRAPHS = ((0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


@dataclass(frozen=True, slots=True)
class Run:
    """``text[start:end]`` is invisible and has no business there; ``hidden`` is what it spells."""

    start: int
    end: int
    hidden: str


def find(text: str, start: int = 0, end: int | None = None) -> Iterator[Run]:
    """The runs of invisible characters in a written, not folded, text that have no honest use there.

    ``start`` and ``end`` limit what is reported, not what is looked at.

    >>> [(run.start, run.end) for run in find("in\\u200bvisible")]
    [(2, 3)]
    """
    if text.isascii():
        return
    for found in _compiled(f"[{_INVISIBLE}]+").finditer(text, 0, len(text) if end is None else end):
        first, last = found.span()
        if last > start and not _is_honest(text[first - 1 : first], found.group(), text[last : last + 1]):
            first = max(start, first)
            yield Run(first, last, _spelled(text[first:last]))


def opens_at(text: str) -> int:
    """Where a run begins that the text ends with and that cannot be judged yet; else the end of the text."""
    run = _compiled(f"[{_INVISIBLE}]*\\Z").search(text, max(0, len(text) - CONTEXT))
    return run.start() if run and len(run.group()) <= _MOST else len(text)


def _is_honest(before: str, run: str, after: str) -> bool:
    if len(run) > _MOST:
        return False
    if before == _FLAG and run[0] > "\U000e0000":
        return _compiled("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f").fullmatch(run) is not None
    return all(_has_use(before, character, after, first=at == 0) for at, character in enumerate(run))


def _has_use(before: str, character: str, after: str, *, first: bool) -> bool:
    if character in _JOINERS:
        return (before >= _SYMBOLS and after >= _SYMBOLS) or _within(before, _JOINING) or _within(after, _JOINING)
    if "\ufe00" <= character <= "\ufe0f":
        return first and bool(before) and (not before.isascii() or before in _KEYCAPS)
    if character >= "\U000e0100":
        return first and _within(before, _IDEOGRAPHS)
    if character in _MARKS:
        return not (_is_latin(before) and _is_latin(after))
    if character in _DIRECTIONS:
        return _within(before, _RIGHT_TO_LEFT) or _within(after, _RIGHT_TO_LEFT)
    if character == "\ufeff":
        return not before
    if character == "\u200b":
        return _within(before, _UNSPACED) or _within(after, _UNSPACED)
    return False


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return bool(character) and any(first <= ord(character) <= last for first, last in ranges)


def _spelled(run: str) -> str:
    """The ASCII text in tag characters, or in variation selectors that stand for bytes."""
    codes = (ord(character) for character in run)
    values = (
        code - 0xE0000 if 0xE0000 <= code < 0xE0080 else code - 0xE0100 + 16 if code >= 0xE0100 else code - 0xFE00
        for code in codes
        if code >= 0xE0000 or 0xFE00 <= code <= 0xFE0F
    )
    return "".join(chr(value) for value in values if 32 <= value < 127)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
