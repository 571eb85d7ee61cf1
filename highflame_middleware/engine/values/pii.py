"""Personal data that has a form to check: card and account numbers, social security numbers, addresses, phones.

Everything numeric starts from the runs of digits in a text, which one pass finds.
Each run is looked at on its own, whatever was found before it, so a table of
numbers reads the same from wherever a reader starts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from . import addresses, identities, phones
from .cards import iban_length, is_card, is_iban, is_ssn
from .finding import Finding
from .secrets import starts_token

__all__ = ["find", "opens_at"]

_ENDS = r"(?![A-Za-z0-9]|[.-][\d\[])"  # nor before what has been taken out
_CARDS = (  # the longest first
    rf"\d{{12,19}}{_ENDS}",
    rf"\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}\1\d{{3}}{_ENDS}",
    rf"\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}{_ENDS}",
    rf"\d{{4}}([ -])\d{{6}}\1\d{{4,5}}{_ENDS}",
)
_CARD_WORDS = (
    r"card|credit|debit|visa|amex|karte|tarjeta|carte|carta|cartão|karta|kort\b|kaart|\bcc\b|\bpan\b"
    r"|信用卡|卡号|カード|카드"
)
_SSN = rf"(\d{{3}})([- ]?)(\d{{2}})\2(\d{{4}}){_ENDS}"
_SSN_WORDS = r"ssn|social.sec"
_IBAN = r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}"
_IBAN_WORDS = r"iban|account|konto|bank|transfer"
_JOINED = str.maketrans("", "", " -")
_NEAR = 48  # characters that such words may stand before the number

# What a number in groups may begin with, up to a space after which more of it may come.
_OPEN = r"(?:[A-Za-z]{2}\d\d[A-Za-z0-9-]*(?: [A-Za-z0-9-]+)*|\+?\(?\d[\d().x-]*(?: \(?\d[\d().x-]*)*) \Z"
_LONGEST = 64  # more than a number in groups has characters


def find(text: str, lowered: str, start: int = 0) -> Iterator[Finding]:
    """The personal data of a folded text, given in lower case as well, from ``start`` on.

    >>> text = "card 4111 1111 1111 1111, mail a@example.org"
    >>> [(found.type, text[found.start:found.end]) for found in find(text, text.lower())]
    [('credit_card', '4111 1111 1111 1111'), ('email', 'a@example.org')]
    """
    announced: bool | None = None
    for digits in _compiled(r"[0-9]+").finditer(text, start):
        at, end = digits.span()
        if announced is None and phones.long_enough(text, at):
            announced = phones.announced(lowered)
        yield from _numbers(text, lowered, at, end, announced=bool(announced))
    if identities.likely(lowered, digits=identities.dense(text, start)):
        yield from identities.find(text, lowered, start)
    yield from addresses.find_emails(text, start)
    yield from addresses.find_coloned(text, start)
    yield from addresses.find_dashed(text, start)


def opens_at(text: str, start: int, limit: int) -> int:
    """Where a number begins, at or after ``start``, that may go on beyond ``limit``; else ``limit``."""
    number = _number_opens_at(text, start, limit)
    return min(number, identities.opens_at(text, start, limit))


def _number_opens_at(text: str, start: int, limit: int) -> int:
    start = max(start, limit - _LONGEST)
    if not text.endswith(" ", 0, limit) or not _compiled(r"[0-9]").search(text, start, limit):
        return limit
    opened = _compiled(_OPEN).search(text, start, limit)
    return opened.start() if opened else limit


def _numbers(text: str, lowered: str, start: int, end: int, *, announced: bool) -> Iterator[Finding]:
    """What begins with the run of digits from ``start`` to ``end``."""
    length = end - start
    before = text[start - 1 : start]
    if before.isdigit():
        return  # the reader starts within a number
    if before.isascii() and before.isalpha() and not starts_token(text, start):
        if length >= 2:
            yield from _iban(text, lowered, start - 2)
        return
    if _compiled(r"[\d\]]\.").match(text[max(0, start - 2) : start]):
        return
    if length == 4 or length >= 12:
        yield from _card(text, lowered, start)
    if length in {3, 9}:
        yield from _ssn(text, lowered, start)
    if length <= 3 and text.startswith(".", end):
        yield from addresses.find_ipv4_at(text, lowered, start)
    yield from identities.find_at(text, start, end)
    if length <= 14:
        yield from phones.find_at(text, lowered, start, announced=announced)


def _card(text: str, lowered: str, start: int) -> Iterator[Finding]:
    named = _compiled(_CARD_WORDS).search(lowered, max(0, start - _NEAR), start) is not None
    for pattern in _CARDS:
        matched = _compiled(pattern).match(text, start)
        # Written as on a card: groups of four, of a payment card's industry.
        shown = matched is not None and matched.end() - start == 19 and matched.lastindex and text[start] in "3456"
        if matched and is_card(matched.group().translate(_JOINED), named=named or bool(shown)):
            yield Finding(start, matched.end(), "credit_card")
            return


def _ssn(text: str, lowered: str, start: int) -> Iterator[Finding]:
    matched = _compiled(_SSN).match(text, start)
    if matched is None or _compiled(r"[\d\]]-").match(text[max(0, start - 2) : start]):
        return
    area, joint, group, serial = matched.groups()
    named = joint == "-" or _compiled(_SSN_WORDS).search(lowered, max(0, start - _NEAR), start)
    if named and is_ssn(area, group, serial):
        yield Finding(start, matched.end(), "ssn")


def _iban(text: str, lowered: str, start: int) -> Iterator[Finding]:
    country = text[max(0, start) : start + 2]
    length = iban_length(country.upper())
    if not length or not starts_token(text, start):
        return
    if not country.isupper() and not _compiled(_IBAN_WORDS).search(lowered, max(0, start - _NEAR), start):
        return
    matched = _compiled(_IBAN).match(text, start)
    if matched is None:
        return
    places = [at for at, character in enumerate(matched.group()) if character.isalnum()]
    if len(places) != length and "iban" in lowered[max(0, start - _NEAR) : start]:
        length = min(len(places), 34)  # it says so itself; whether it does will show in the check digits
    places = places[:length]
    end = start + places[-1] + 1
    if len(places) == length and _compiled(_ENDS).match(text, end) and is_iban(text[start:end].translate(_JOINED)):
        yield Finding(start, end, "iban")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
