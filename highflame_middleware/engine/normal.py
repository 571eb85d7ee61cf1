"""The text as the detectors read it: one plain character for one written one, and nothing that cannot be seen.

Folding works character by character, so a stream can be folded as it comes:

* a character whose NFKC form is one character becomes that (full-width, mathematical, circled letters);
  one that would become several stays, so that offsets move only where something is left out;
* zero-width, bidi, tag and variation-selector characters, soft hyphens, combining accents and characters of private
  use (with which `spotlight` marks words) are left out.
"""

from __future__ import annotations

import functools
import re
import unicodedata

__all__ = ["LEFT_OUT", "fold"]

# As inside a regex character class. What is merely unusual (accents, soft hyphens, icons) is not read, that is all.
LEFT_OUT = (
    "\u00ad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u20d0-\u20f0\u3164\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_REMEMBERED = 20_000  # distinct characters; a text made to hold more only costs time


class _Folding(dict[int, str]):
    """Code point to folded character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if _left_out().match(character):
            folded = ""
        else:
            normal = unicodedata.normalize("NFKC", character)
            folded = normal if len(normal) == 1 and not _left_out().match(normal) else character
            # The one letter whose lower case is two characters: `str.lower` must not move offsets.
            folded = "I" if folded == "\u0130" else folded
        if len(self) < _REMEMBERED:
            self[code] = folded
        return folded


_folding = _Folding()


@functools.cache
def _left_out() -> re.Pattern[str]:
    return re.compile(f"[{LEFT_OUT}]")


def fold(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each character left out the place in the folded text that it stood before.

    >>> fold("\\uff53k\\u200b-1")
    ('sk-1', [2])
    """
    if text.isascii():
        return text, []
    gaps = [found.start() - before for before, found in enumerate(_left_out().finditer(text))]
    return text.translate(_folding), gaps
