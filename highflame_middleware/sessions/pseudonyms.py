"""Words that stand for a value: nobody without the key can tell the value from one, or make one up.

A pseudonym is the type of the value and twelve consonants, ``[EMAIL_kqzrtbnmwdfg]``: there is no
digit in it that a detector could take for one, no word, and nothing that JSON, HTML
or a URL would have to write in another way.
"""

from __future__ import annotations

import functools
import hmac
import re

__all__ = ["LONGEST", "PATTERN", "drawn", "is_pseudonym", "opens_at", "pseudonym"]

_LETTERS = "bcdfghjkmnpqrstvwxz"
_LENGTH = 12
_TYPE = r"[A-Z][A-Z_]{0,40}"
PATTERN = rf"\[{_TYPE}_[{_LETTERS}]{{{_LENGTH}}}\]"
LONGEST = 64  # more than the characters of one
_BEGUN = rf"\[(?:[A-Z][A-Z_]{{0,40}}[{_LETTERS}]{{0,{_LENGTH}}})?\Z"


def drawn(key: bytes, *parts: str) -> int:
    """A number that follows from these parts, and that only the key can tell from chance."""
    told = [part.encode("utf-8", "surrogatepass") for part in parts]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in told)
    return int.from_bytes(hmac.digest(key, message, "sha256"), "big")


def pseudonym(key: bytes, scope: str, type_: str, value: str) -> str:
    """The word that stands for a value within a scope: the same for the same value.

    >>> word = pseudonym(b"k" * 32, "s1", "email", "ada@example.org")
    >>> is_pseudonym(word), word == pseudonym(b"k" * 32, "s2", "email", "ada@example.org")
    (True, False)
    """
    number, letters = drawn(key, scope, type_, value), []
    for _ in range(_LENGTH):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    name = re.sub(r"[^A-Z_]", "", type_.upper()).strip("_")[:40] or "VALUE"
    return f"[{name}_{''.join(letters)}]"


def is_pseudonym(text: str) -> bool:
    """Whether a text has the form of one."""
    return text.startswith("[") and _compiled(PATTERN).fullmatch(text) is not None


def opens_at(text: str) -> int:
    """Where a pseudonym may have begun that is not at its end yet; else the length of the text."""
    begun = _compiled(_BEGUN).search(text, max(0, len(text) - LONGEST))
    return begun.start() if begun else len(text)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
