"""Texts drawn from a regular expression, so that every row of a table of patterns is tried."""

from __future__ import annotations

import random
import string
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_CATEGORIES = {codes.CATEGORY_DIGIT: string.digits, codes.CATEGORY_WORD: string.ascii_letters + string.digits + "_"}
_ANY = string.ascii_letters + string.digits


def draw(pattern: str, choice: random.Random) -> str:
    """A text that the pattern matches; what it says of the characters before and behind is for the caller."""
    return "".join(_drawn(code, value, choice) for code, value in _parser.parse(pattern))


def _drawn(code: Any, value: Any, choice: random.Random) -> str:
    if code is codes.LITERAL:
        return chr(value)
    if code is codes.IN:
        return choice.choice(_members(value))
    if code in {codes.MAX_REPEAT, codes.POSSESSIVE_REPEAT, codes.MIN_REPEAT}:
        least, most, part = value
        times = choice.randint(least, min(most, least + 8))
        return "".join(_drawn(*one, choice) for _ in range(times) for one in part)
    if code is codes.SUBPATTERN:
        return "".join(_drawn(*one, choice) for one in value[3])
    if code is codes.BRANCH:
        return "".join(_drawn(*one, choice) for one in choice.choice(value[1]))
    if code is codes.ASSERT:  # one character that is not taken: the next part draws it
        return ""
    assert code is codes.ASSERT_NOT, code
    return ""


def _members(parts: Any) -> str:
    if parts[0] == (codes.NEGATE, None):
        unwanted = _members(parts[1:])
        return "".join(one for one in _ANY if one not in unwanted)
    members = ""
    for code, value in parts:
        if code is codes.LITERAL:
            members += chr(value)
        elif code is codes.RANGE:
            members += "".join(map(chr, range(value[0], value[1] + 1)))
        else:
            members += _CATEGORIES.get(value, " ")
    return members
