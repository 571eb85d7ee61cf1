"""The check digits and inner dates by which numbers of persons, firms and things prove themselves.

Every check takes the number without spaces and signs, in upper case.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

__all__ = [
    "aba",
    "abn",
    "australian_medicare",
    "austrian",
    "belgian",
    "bic",
    "bulgarian",
    "by_letter",
    "chilean",
    "chinese",
    "clabe",
    "cnpj",
    "codice_fiscale",
    "cpf",
    "curp",
    "czech",
    "danish",
    "date_inside",
    "dated_luhn",
    "dea",
    "ean13",
    "estonian",
    "finnish",
    "french",
    "hong_kong",
    "irish",
    "iso_11_10",
    "japanese",
    "korean",
    "luhn",
    "malaysian",
    "nhs",
    "nie",
    "norwegian",
    "npi",
    "nric",
    "numbered",
    "pesel",
    "portuguese",
    "romanian",
    "snils",
    "ssn",
    "swedish",
    "taiwanese",
    "tax_file",
    "thai",
    "turkish",
    "verhoeff",
    "vin",
    "weighted",
]

Check = Callable[[str], bool]

_DOUBLED = str.maketrans("0123456789", "0246813579")
_PERSON = "TRWAGMYFPDXBNJZSQVHLCKE"
_COUNTRIES = (  # of banks
    "AD AE AF AG AI AL AM AO AR AT AU AW AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA "
    "CD CF CG CH CI CK CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FO FR "
    "GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GY HK HN HR HT HU ID IE IL IM IN IQ IR IS IT JE "
    "JM JO JP KE KG KH KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MM MN "
    "MO MQ MR MT MU MV MW MX MY MZ NA NC NE NG NI NL NO NP NZ OM PA PE PF PG PH PK PL PR PS PT PY QA "
    "RE RO RS RU RW SA SB SC SD SE SG SI SK SL SM SN SR SS ST SV SY SZ TD TG TH TJ TL TM TN TO TR TT "
    "TW TZ UA UG US UY UZ VA VC VE VG VN VU WS XK YE ZA ZM ZW "
)


def _sum(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(value: str) -> bool:
    """The check of cards, and of many other numbers.

    >>> luhn("79927398713"), luhn("79927398714")
    (True, False)
    """
    total = sum(map(int, value[-1::-2])) + sum(map(int, value[-2::-2].translate(_DOUBLED)))
    return total % 10 == 0 and len(set(value)) > 1


def weighted(weights: Sequence[int], modulus: int, rest: int = 0) -> Check:
    """The check of numbers whose digits, each times its weight, add up to a ``rest`` of a modulus.

    >>> weighted((9, 8, 7, 6, 5, 4, 3, 2, -1), 11)("111222333")
    True
    """
    return lambda value: len(set(value)) > 1 and _sum(value, weights) % modulus == rest


def by_letter(letters: str, digits: int) -> Check:
    """The check of numbers whose last letter is told by the rest of the digits before it.

    >>> by_letter("TRWAGMYFPDXBNJZSQVHLCKE", 8)("12345678Z")
    True
    """
    return lambda value: letters[int(value[:digits]) % len(letters)] == value[-1]


def nie(value: str) -> bool:
    """Spain's number of foreigners: a letter stands for its first digit.

    >>> nie("X1234567L")
    True
    """
    return by_letter(_PERSON, 8)(str("XYZ".index(value[0])) + value[1:])


def iso_11_10(value: str) -> bool:
    """ISO 7064, modulus 11,10: German tax numbers and Croatian OIBs.

    >>> iso_11_10("86095742719")
    True
    """
    product = 10
    for digit in value[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(value[-1]) and value[0] != "0"


def nhs(value: str) -> bool:
    """Britain's health service.

    >>> nhs("9434765919")
    True
    """
    return weighted((10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11)(value)


def french(value: str) -> bool:
    """France's social security (NIR), Corsica's departments with a letter included."""
    number = value.replace("2A", "19", 1) if value[5:7] == "2A" else value
    number = number.replace("2B", "18", 1) if value[5:7] == "2B" else number
    return number.isdigit() and 97 - int(number[:13]) % 97 == int(number[13:])


def codice_fiscale(value: str) -> bool:
    """Italy's tax code.

    >>> codice_fiscale("RSSMRA85T10A562S")
    True
    """
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    places = [int(one) if one.isdigit() else ord(one) - 65 for one in value]
    total = sum(odd[place] if at % 2 == 0 else place for at, place in enumerate(places[:15]))
    return total % 26 == places[15]


def cpf(value: str) -> bool:
    """Brazil's persons.

    >>> cpf("52998224725")
    True
    """
    return len(set(value)) > 1 and all(
        _sum(value[:size], range(size + 1, 1, -1)) * 10 % 11 % 10 == int(value[size]) for size in (9, 10)
    )


def cnpj(value: str) -> bool:
    """Brazil's firms.

    >>> cnpj("11222333000181")
    True
    """
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    return len(set(value)) > 1 and all(
        _sum(value[:size], weights[13 - size :]) * 10 % 11 % 10 == int(value[size]) for size in (12, 13)
    )


def verhoeff(value: str) -> bool:
    """India's Aadhaar.

    >>> verhoeff("2363"), verhoeff("2364")
    (True, False)
    """
    check = 0
    for at, digit in enumerate(reversed(value)):
        check = _dihedral(check, _permuted(at % 8, int(digit)))
    return check == 0


def _dihedral(one: int, two: int) -> int:
    """The product of two symmetries of a pentagon."""
    if one < 5:
        return (one + two) % 5 if two < 5 else (one + two - 5) % 5 + 5
    return (one - two) % 5 + 5 if two < 5 else (one - two) % 5


@functools.cache
def _permuted(times: int, digit: int) -> int:
    for _ in range(times):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def abn(value: str) -> bool:
    """Australia's firms.

    >>> abn("51824753556")
    True
    """
    return (_sum(value, (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)) - 10) % 89 == 0


def belgian(value: str) -> bool:
    """Belgium's national register; who is born since 2000 has a 2 in front of the number when it is checked.

    >>> belgian("85073003328")
    True
    """
    number, check = value[:9], 97 - int(value[9:])
    return int(number) % 97 == check or int("2" + number) % 97 == check


def pesel(value: str) -> bool:
    """Poland.

    >>> pesel("44051401359")
    True
    """
    return weighted((1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10)(value)


def norwegian(value: str) -> bool:
    """Norway's two check digits."""
    return weighted((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), 11)(value) and weighted((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), 11)(
        value
    )


def finnish(value: str) -> bool:
    """Finland; the sign of the century is left out.

    >>> finnish("131052308T")
    True
    """
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(value[:6] + value[-4:-1]) % 31] == value[-1]


def bulgarian(value: str) -> bool:
    """Bulgaria's EGN."""
    return _sum(value[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == int(value[9])


def irish(value: str) -> bool:
    """Ireland's PPS, with its second letter or without.

    >>> irish("1234567T"), irish("1234567FA")
    (True, True)
    """
    second = ord(value[8]) - 64 if len(value) == 9 and value[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(_sum(value[:7], (8, 7, 6, 5, 4, 3, 2)) + 9 * second) % 23] == value[7]


def snils(value: str) -> bool:
    """Russia's pension fund.

    >>> snils("11223344595")
    True
    """
    return _sum(value[:9], (9, 8, 7, 6, 5, 4, 3, 2, 1)) % 101 % 100 == int(value[9:])


def turkish(value: str) -> bool:
    """Turkey.

    >>> turkish("10000000146")
    True
    """
    digits = list(map(int, value))
    tenth = (sum(digits[0:9:2]) * 7 - sum(digits[1:8:2])) % 10
    return digits[0] > 0 and tenth == digits[9] and sum(digits[:10]) % 10 == digits[10]


def ean13(value: str) -> bool:
    """Switzerland's AHV number."""
    return weighted((1, 3) * 6 + (1,), 10)(value)


def chinese(value: str) -> bool:
    """A resident of China.

    >>> chinese("11010519491231002X")
    True
    """
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[_sum(value[:17], weights) % 11] == value[17] and date_inside(value[6:14])


def korean(value: str) -> bool:
    """A resident of Korea, by date: what was given out since October 2020 has no check digit."""
    return date_inside(value[:6])


def taiwanese(value: str) -> bool:
    """Taiwan.

    >>> taiwanese("A123456789")
    True
    """
    place = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(value[0]) + 10
    return (place // 10 + place % 10 * 9 + _sum(value[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def hong_kong(value: str) -> bool:
    """Hong Kong.

    >>> hong_kong("A1234563")
    True
    """
    letters = value[:-7].rjust(2)
    total = sum((36 if one == " " else ord(one) - 55) * weight for one, weight in zip(letters, (9, 8), strict=True))
    last = 10 if value[-1] == "A" else int(value[-1])
    return (total + _sum(value[-7:-1], (7, 6, 5, 4, 3, 2)) + last) % 11 == 0


def nric(value: str) -> bool:
    """Singapore.

    >>> nric("S1234567D")
    True
    """
    total = _sum(value[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(value[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(value[0], "XWUTRQPNMLK")
    return letters[total % 11] == value[8] or (value[0] == "M" and letters[10 - total % 11] == value[8])


def thai(value: str) -> bool:
    """Thailand.

    >>> thai("1234567890121")
    True
    """
    return (11 - _sum(value[:12], range(13, 1, -1)) % 11) % 10 == int(value[12])


def japanese(value: str) -> bool:
    """Japan's My Number."""
    rest = _sum(value[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(value[11])


def chilean(value: str) -> bool:
    """Chile's RUT.

    >>> chilean("123456785")
    True
    """
    total = sum(int(digit) * (2 + at % 6) for at, digit in enumerate(reversed(value[:-1])))
    return "0123456789K0"[11 - total % 11] == value[-1] if total % 11 else value[-1] == "0"


def curp(value: str) -> bool:
    """Mexico; its alphabet has an Ñ after N."""
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(alphabet.index(one) * (18 - at) for at, one in enumerate(value[:17]))
    return (10 - total % 10) % 10 == int(value[17])


def aba(value: str) -> bool:
    """The routing number of a bank in the US.

    >>> aba("021000021")
    True
    """
    return weighted((3, 7, 1, 3, 7, 1, 3, 7, 1), 10)(value) and value[:2] <= "80"


def npi(value: str) -> bool:
    """A provider of health care in the US.

    >>> npi("1234567893")
    True
    """
    return luhn("80840" + value)


def dea(value: str) -> bool:
    """Who may prescribe in the US.

    >>> dea("AB1234563")
    True
    """
    digits = list(map(int, value[2:]))
    return (digits[0] + digits[2] + digits[4] + 2 * (digits[1] + digits[3] + digits[5])) % 10 == digits[6]


def vin(value: str) -> bool:
    """A vehicle, by North America's check digit.

    >>> vin("1M8GDM9AXKP042788")
    True
    """
    values = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True))
    total = sum(
        (int(one) if one.isdigit() else values[one]) * weight
        for one, weight in zip(value, (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2), strict=True)
    )
    return "0123456789X"[total % 11] == value[8]


def bic(value: str) -> bool:
    """A bank: four letters, a country, two or five more characters, not all of them the letters of a word."""
    return f"{value[4:6]} " in _COUNTRIES


def ssn(value: str) -> bool:
    """A social security number of the US that can be given out."""
    return value[:3] not in {"000", "666"} and value < "9" and value[3:5] != "00" and value[5:] != "0000"


def portuguese(value: str) -> bool:
    """Portugal's NIF.

    >>> portuguese("123456789")
    True
    """
    return (11 - _sum(value[:8], range(9, 1, -1)) % 11) % 11 % 10 == int(value[8])


def romanian(value: str) -> bool:
    """Romania's CNP."""
    return _sum(value[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11 % 10 == int(value[12])


def czech(value: str) -> bool:
    """Czechia and Slovakia."""
    return int(value) % 11 == 0


def austrian(value: str) -> bool:
    """Austria's social security."""
    return weighted((3, 7, 9, -1, 5, 8, 4, 2, 1, 6), 11)(value)


def tax_file(value: str) -> bool:
    """Australia's tax file number.

    >>> tax_file("123456782")
    True
    """
    return _sum(value, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def australian_medicare(value: str) -> bool:
    """Australia's Medicare card."""
    return _sum(value[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(value[8])


def danish(value: str) -> bool:
    """Denmark: a date, the day first."""
    return date_inside(value[4:6] + value[2:4] + value[:2])


def swedish(value: str) -> bool:
    """Sweden, with its century or without.

    >>> swedish("8112289874"), swedish("198112289874")
    (True, True)
    """
    return luhn(value[-10:])


def dated_luhn(value: str) -> bool:
    """South Africa: a date, then digits, the last of them checking the rest.

    >>> dated_luhn("8001015009087")
    True
    """
    return luhn(value) and date_inside(value[:6])


def estonian(value: str) -> bool:
    """Estonia and Lithuania: a digit for the century, then a date."""
    return date_inside(value[1:7])


def malaysian(value: str) -> bool:
    """Malaysia: a date first."""
    return date_inside(value[:6])


def numbered(value: str) -> bool:
    """Whether at least five of the characters are digits: a word is no number."""
    return sum(map(str.isdigit, value)) >= 5


def clabe(value: str) -> bool:
    """A bank account in Mexico.

    >>> clabe("032180000118359719")
    True
    """
    total = sum(int(digit) * weight % 10 for digit, weight in zip(value[:17], (3, 7, 1) * 6, strict=False))
    return -total % 10 == int(value[17])


def date_inside(digits: str) -> bool:
    """Whether six or eight digits, the year first, are a day.

    >>> date_inside("19491231"), date_inside("491331")
    (True, False)
    """
    if len(digits) == 8 and not re.match(r"1[89]|20", digits):
        return False
    return 1 <= int(digits[-4:-2]) <= 12 and 1 <= int(digits[-2:]) <= 31
