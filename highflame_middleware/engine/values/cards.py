"""Card numbers and bank accounts: what their issuers, lengths and check digits allow."""

from __future__ import annotations

import functools
import re

__all__ = ["is_card", "is_iban", "iban_length", "is_ssn"]

# Leading digits (from, to, how many of them are compared), the lengths, and whether it needs the word "card".
_ISSUERS: tuple[tuple[int, int, int, frozenset[int], bool], ...] = (
    (4, 4, 1, frozenset({13, 16, 19}), False),  # Visa
    (51, 55, 2, frozenset({16}), False),  # Mastercard
    (2221, 2720, 4, frozenset({16}), False),
    (34, 34, 2, frozenset({15}), False),  # American Express
    (37, 37, 2, frozenset({15}), False),
    (6011, 6011, 4, frozenset({16, 19}), False),  # Discover
    (644, 659, 3, frozenset({16, 19}), False),
    (3528, 3589, 4, frozenset({16, 17, 18, 19}), False),  # JCB
    (300, 305, 3, frozenset({14, 16}), False),  # Diners
    (36, 36, 2, frozenset({14, 16}), False),
    (38, 39, 2, frozenset({14, 16}), False),
    (62, 62, 2, frozenset({16, 17, 18, 19}), False),  # UnionPay
    (2200, 2204, 4, frozenset({16}), False),  # Mir
    (0, 9, 1, frozenset(range(12, 20)), True),  # Maestro and all others
)
_LENGTHS = (  # of an IBAN, by country: ISO 13616
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 "
    "LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 "
    "QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_DOUBLED = str.maketrans("0123456789", "0246813579")


def is_card(digits: str, *, named: bool) -> bool:
    """Whether this is the number of a card; ``named`` when the text around speaks of cards.

    >>> is_card("4111111111111111", named=False), is_card("4111111111111112", named=True)
    (True, False)
    """
    if len(set(digits)) == 1 or not any(
        first <= int(digits[:width]) <= last and len(digits) in lengths and (named or not needs)
        for first, last, width, lengths, needs in _ISSUERS
    ):
        return False
    total = sum(map(int, digits[-1::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))
    return total % 10 == 0


def iban_length(country: str) -> int:
    """How many characters an IBAN of a country has; 0 when the country has none."""
    return _lengths().get(country, 0)


def is_iban(characters: str) -> bool:
    """Whether an IBAN, without spaces and of the right length, has the right check digits.

    >>> is_iban("DE89370400440532013000")
    True
    """
    return int("".join(str(int(one, 36)) for one in characters[4:] + characters[:4])) % 97 == 1


def is_ssn(area: str, group: str, serial: str) -> bool:
    """Whether the three parts of a US social security number are ones that can be given out."""
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


@functools.cache
def _lengths() -> dict[str, int]:
    return {entry[:2]: int(entry[2:]) for entry in re.findall(r"\w+", _LENGTHS)}
