"""Telephone numbers: international, American, with a trunk prefix, or after a word that announces one."""

# ruff: noqa: RUF001 - words in several scripts

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from ..literals import Literals
from .finding import Finding

__all__ = ["announced", "find_at", "long_enough"]

_NUMBER = r"\+?\(?\d{1,14}+\)?(?:[ .-]?+\(?+\d{1,14}+\)?+){0,6}+(?:x\d{1,5})?(?![A-Za-z0-9])"
_WORDS = (
    r"phone|mobil|\btel\b|telef|\bcell\b|\bfax\b|whatsapp|\bhandy\b|\bcall\b|\bcalled\b|\bcalling\b|\breach\b|contact"
    r"|numéro|numero|móvil|movil|\bsms\b|text me|\bdesk:|\boffice:|\bhome:|\bwork:|\bdial\b|hotline|helpline"
    r"|landline|questions\?|message to|messages to|answering at|rufnummer|\bph:|\bph\.|\bmob:|\btlf\b|appelez"
    r"|joindre|llám|ligue|viber|signal:|telegram|电话|電話|手机|联系方式|전화|연락처|携帯|телефон|\bтел\b"
)
_NEAR = 40  # characters that such a word may stand before the number
_INTERNATIONAL = r"\+[1-9].*"
_AMERICAN = r"(?:1[ .-]?)?(?:(?:\([2-9]\d\d\) ?|[2-9]\d\d[ -])[2-9]\d\d[ .-]|[2-9]\d\d\.[2-9]\d\d\.)\d{4}(?:x\d+)?"
_TRUNK = (
    r"\(?0[1-9]\d{0,3}\)?(?:[ .-]\d{2,4}){2,4}|\(0?\d{2,5}\) ?\d{3,4}[ -]?\d{2,4}|\(0[1-9]\d{0,2}\)[ -]?\d{6,8}"
)
_FROM_ABROAD = r"001[ .-][2-9]\d\d[ .-]\d{3}[ .-]\d{4}(?:x\d+)?"
_LISTED = r"@[a-z0-9.-]{1,60}[,;|\t] ?\Z"  # the field before is a mail address
_NOT_BEFORE = r"(?:[A-Za-z0-9#$€£_/(\]]|[\d\]][-.:,]|[a-z]-)\Z"  # part of a word, a price, a longer number
_UNANNOUNCED = r"[+(0]|1?[ .-]?\(?[2-9][0-9][0-9][ .)-]"
_DATE = r"(?:19|20)\d\d-(?:19|20)\d\d|\d{4}[.-]\d\d?[.-]\d\d?|\d\d?[.-]\d\d?[.-]\d{2,4}"


def long_enough(text: str, at: int) -> bool:
    """Whether there are as many digits from ``at`` on as a number that is announced has to have."""
    return _compiled(r"(?:\d[ .()-]{0,3}){7}").match(text, at) is not None


def announced(lowered: str) -> bool:
    """Whether a text, in lower case, has any word that may announce a number."""
    plain, others = _literals()
    found = _set().within(lowered)
    if found is not None:
        return "@" in lowered or bool(found)
    return (
        "@" in lowered
        or any(word in lowered for word in plain)
        or (not lowered.isascii() and any(word in lowered for word in others))
    )


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
            yield Finding(at, at + len(number), "phone", 2)
            return
        number = number.rpartition(" ")[0]  # the last group may belong to what follows


def _is_phone(number: str, words: str) -> bool:
    digits = sum(character.isdigit() for character in number.partition("x")[0])
    if not 7 <= digits <= 15 or number[-2:-1] == " " or _compiled(_DATE).fullmatch(number):
        return False
    if _compiled(_AMERICAN).fullmatch(number) or (digits >= 8 and _compiled(_INTERNATIONAL).fullmatch(number)):
        return True
    if (8 if number[0] == "(" else 9) <= digits <= 11 and _compiled(_TRUNK).fullmatch(number):
        return True
    if _compiled(_FROM_ABROAD).fullmatch(number):
        return True
    listed = 9 <= digits <= 13 and _compiled(_LISTED).search(words) is not None
    return listed or (digits <= 14 and _compiled(_WORDS).search(words) is not None)


@functools.cache
def _set() -> Literals:
    return Literals(word for words in _literals() for word in words)


@functools.cache
def _literals() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words as they are written, and those of them in other scripts or with accents."""
    words = [word.replace(r"\b", "").replace("\\", "") for word in _WORDS.split("|")]
    return tuple(filter(str.isascii, words)), tuple(word for word in words if not word.isascii())


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
