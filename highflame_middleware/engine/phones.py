"""Telephone numbers: international, American, with a trunk prefix, or after a word that announces one."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from .finding import Finding

__all__ = ["announced", "find_at"]

_NUMBER = r"\+?\(?\d{1,14}+\)?(?:[ .-]?+\(?+\d{1,14}+\)?+){0,6}+(?:x\d{1,5})?(?![A-Za-z0-9])"
_WORDS = (
    r"phone|mobil|\btel\b|telef|\bcell\b|\bfax\b|whatsapp|\bhandy\b|\bcall\b|\bcalling\b|reach me|reach us|contact"
    r"|numéro|numero|móvil|movil|\bsms\b|text me|\bdesk:|\boffice:|电话|電話|手机"
)
_NEAR = 40  # characters that such a word may stand before the number
_INTERNATIONAL = r"\+[1-9].*"
_AMERICAN = r"(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}(?:x\d+)?"
_TRUNK = r"\(?0[1-9]\d{0,3}\)?(?:[ .-]\d{2,4}){2,4}|\(0?\d{2,5}\) ?\d{3,4}[ -]?\d{2,4}"
_NOT_BEFORE = r"(?:[A-Za-z0-9#$€£_/(\]]|[\d\]][-.:,])\Z"  # part of a word, a price, a longer number
_UNANNOUNCED = r"[+(0]|1?[ .-]?\(?[2-9][0-9][0-9][ .)-]"
_DATE = r"\d{4}[.-]\d\d?[.-]\d\d?|\d\d?[.-]\d\d?[.-]\d{2,4}"


def announced(lowered: str) -> bool:
    """Whether a text, in lower case, has any word that may announce a number."""
    return any(word in lowered for word in _literals())


def find_at(text: str, lowered: str, at: int, *, announced: bool) -> Iterator[Finding]:
    """The telephone number whose first digits stand at ``at``, if there is one."""
    if text[at - 1 : at] == "(":
        at -= 1
    if text[at - 1 : at] == "+":
        at -= 1
    if not announced and not _compiled(_UNANNOUNCED).match(text, at):
        return
    if _compiled(_NOT_BEFORE).search(text, max(0, at - 2), at):
        return
    matched = _compiled(_NUMBER).match(text, at)
    if matched is None:
        return
    words = lowered[max(0, at - _NEAR) : at]
    number = matched.group()
    while number:
        if _is_phone(number, words):
            yield Finding(at, at + len(number), "phone")
            return
        number = number.rpartition(" ")[0]  # the last group may belong to what follows


def _is_phone(number: str, words: str) -> bool:
    digits = sum(character.isdigit() for character in number.partition("x")[0])
    if not 7 <= digits <= 15 or number[-2:-1] == " " or _compiled(_DATE).fullmatch(number):
        return False
    if _compiled(_AMERICAN).fullmatch(number) or (digits >= 8 and _compiled(_INTERNATIONAL).fullmatch(number)):
        return True
    if 9 <= digits <= 11 and _compiled(_TRUNK).fullmatch(number):
        return True
    return digits <= 14 and _compiled(_WORDS).search(words) is not None


@functools.cache
def _literals() -> tuple[str, ...]:
    return tuple(word.replace(r"\b", "") for word in _WORDS.split("|"))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
