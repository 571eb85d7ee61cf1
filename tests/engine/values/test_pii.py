"""Personal data: what its form and check digits prove is found, whatever resembles it is not."""

# ruff: noqa: RUF001 - the ambiguous characters are what is tested

from __future__ import annotations

import pytest

from tests.engine.samples import drawn, grouped, iban, luhn, types_in

VISA, AMEX = luhn("4", 16), luhn("37", 15)
GERMAN, BRITISH = iban("DE", drawn(18, "0123456789")), iban("GB", "NWBK" + drawn(14, "0123456789"))


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("credit_card", f"pay with {VISA}.", VISA),
        ("credit_card", f"pay with {grouped(VISA)}, please", grouped(VISA)),
        ("credit_card", f"pay with {grouped(VISA, '-')}; please", grouped(VISA, "-")),
        ("credit_card", f"{AMEX[:4]} {AMEX[4:10]} {AMEX[10:]}", f"{AMEX[:4]} {AMEX[4:10]} {AMEX[10:]}"),
        ("credit_card", f"1234 {grouped(VISA)} 99", grouped(VISA)),
        ("credit_card", f"nr.{luhn('5425', 16)}", luhn("5425", 16)),
        ("credit_card", luhn("6011", 16), luhn("6011", 16)),
        ("credit_card", luhn("3530", 16), luhn("3530", 16)),
        ("credit_card", luhn("2223", 16), luhn("2223", 16)),
        ("credit_card", luhn("4", 19), luhn("4", 19)),
        ("credit_card", "my card is " + luhn("5018", 12), luhn("5018", 12)),
        ("credit_card", "信用卡" + VISA + "。", VISA),
        ("credit_card", f"４{VISA[1:]}", f"４{VISA[1:]}"),
        ("iban", f"IBAN {GERMAN}.", GERMAN),
        ("iban", f"to {grouped(GERMAN)} today", grouped(GERMAN)),
        ("iban", grouped(BRITISH, "-"), grouped(BRITISH, "-")),
        ("iban", f"账户{GERMAN}。", GERMAN),
        ("iban", f"my iban is {GERMAN.lower()}", GERMAN.lower()),
        ("ssn", "SSN 219-54-1234", "219-54-1234"),
        ("ssn", "a,219-54-1234,b", "219-54-1234"),
        ("ssn", "social security number: 219 54 1234", "219 54 1234"),
        ("ssn", "ssn=219541234;", "219541234"),
        ("email", "Write to <Jo.Doe+x@mail.example.co.uk>!", "Jo.Doe+x@mail.example.co.uk"),
        ("email", "jo@example.org.", "jo@example.org"),
        ("email", "first\\njo@example.org", "jo@example.org"),
        ("phone", "+49 171 2345678", "+49 171 2345678"),
        ("phone", "+1 (212) 555-0100", "+1 (212) 555-0100"),
        ("phone", "(212) 555-0100", "(212) 555-0100"),
        ("phone", "dial 212-555-0100 2 times", "212-555-0100"),
        ("phone", "+44(0)117 496 0747", "+44(0)117 496 0747"),
        ("phone", "01.84.17.61.18", "01.84.17.61.18"),
        ("phone", "call me on 9472 7916", "9472 7916"),
        ("phone", "电话13912345678。", "13912345678"),
        ("phone", "Phone:\n434 14 557", "434 14 557"),
        ("phone", "tel 538.787.0569x1095", "538.787.0569x1095"),
        ("ip_address", "from 48.90.248.226:8080", "48.90.248.226"),
        ("ip_address", "login 10.2.3.4", "10.2.3.4"),
        ("ip_address", "[2001:db8:85a3::8a2e:370:7334]", "2001:db8:85a3::8a2e:370:7334"),
        ("ip_address", "11a2:35c1:55bd:2642:69bb:4d2d:98e2:39a1", "11a2:35c1:55bd:2642:69bb:4d2d:98e2:39a1"),
    ],
)
def test_personal_data_is_found_in_full(type_: str, text: str, value: str) -> None:
    assert types_in(text) == {type_: value}


@pytest.mark.parametrize(
    "text",
    [
        f"{VISA[:-1]}{(int(VISA[-1]) + 1) % 10}",
        "0000 0000 0000 0000 and 1111111111111111",
        f"id=0.{VISA}",
        f"{drawn(6)}{VISA}",
        f"{VISA}{VISA}",
        f"{grouped(VISA, '-')}-1234",
        "timestamp 1680898785 and epoch ms 1767605082210",
        "order 12345678901234567890123",
        f"{GERMAN[:-1]}{(int(GERMAN[-1]) + 1) % 10}",
        f"{GERMAN}0",
        f"x{GERMAN.lower()}",
        "000-12-3456 666-12-3456 912-12-3456 123-00-4567 123-45-0000",
        "219 54 1234 and 219541234 without a word",
        "part 12-219-54-1234",
        "2024-01-02 10:30:45, 10/12/2026, 12.05.1948, 1999-2024",
        "pi is 3.14159265358979, e is 2.718281828459045",
        "version 1.2.3.4, v1.2.3.4, package==1.2.3.4 and 1.9.3.2",
        "127.0.0.1 0.0.0.0 255.255.255.0 300.1.2.3 1.02.3.44 10.0.0.0/8",
        "std::vector a::b dead::beef x[::2] 10:30:45 aa:bb:cc:dd:ee:ff ::1",
        "git@github.com:org/repo.git and @decorator x@y pkg@1.2.3 a@b.c1",
        "ISBN 978-0-737-52835-5, ticket 590-2452, total $9959.64, tracking 1Z5062688386672899",
        "uuid d2f574d8-4111-1111-1111-d84da30eac0c",
        "243566602 * 42309938 = 10305",
    ],
)
def test_what_only_resembles_personal_data_is_left_alone(text: str) -> None:
    assert types_in(text) == {}


def test_a_table_of_numbers_is_read_the_same_from_every_start() -> None:
    table = " ".join(f"{number:04}" for number in range(400)) + " " + grouped(VISA)
    for start in range(0, 400, 7):
        assert types_in(table[5 * start :]) == {"credit_card": grouped(VISA)}
