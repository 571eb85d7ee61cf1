"""Numbers of persons, accounts and things: found after their words when they prove themselves, and only then."""

# ruff: noqa: RUF001 - the ambiguous characters are what is tested

from __future__ import annotations

import random
import re
from re import _parser  # type: ignore[attr-defined]

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.engine.values import check_digits
from highflame_middleware.engine.values.identities import (
    _FORMED,
    _LONGEST,
    _NEAR,
    IDENTITIES,
    Identity,
    dense,
    find,
    likely,
)
from highflame_middleware.engine.values.scan import CONTEXT
from highflame_middleware.types import GuardRequest, Stage
from tests.engine.drawing import draw
from tests.engine.samples import streamed, types_in

EVERYTHING = EmbeddedGuard(redact=("secrets", "pii", "invisible"))
WEAK = {check_digits.numbered, check_digits.bic, check_digits.danish, check_digits.estonian, check_digits.malaysian}
WEAK |= {check_digits.korean, check_digits.ssn, check_digits.australian_medicare}


def valid(row: Identity, choice: random.Random) -> str:
    """A number of this kind."""
    for _ in range(20_000):
        value = draw(row.pattern, choice)
        matched = re.fullmatch(row.pattern, value, re.ASCII)
        likely_one = likely(row.words, digits=dense(value))
        if matched and likely_one and (row.proof is None or row.proof(re.sub(r"[\W_]", "", value).upper())):
            return value
    raise AssertionError(row)


ROWS = [pytest.param(row, id=f"{at} {row.type} {row.words[:20]}") for at, row in enumerate(IDENTITIES)]


@pytest.mark.parametrize("row", ROWS)
def test_every_word_announces_its_numbers(row: Identity) -> None:
    choice = random.Random(row.words)
    for word in row.words.split("|"):
        value = valid(row, choice)
        for text in (f"my {word.rstrip('*')}: {value} .", f"{word.rstrip('*').upper()}\n{value}, and so on"):
            found = [text[one.start : one.end] for one in find(text, text.lower()) if one.type == row.type]
            assert value in found, text


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0].proof not in {None, *WEAK}])
def test_a_wrong_check_digit_is_no_number(row: pytest.param) -> None:  # type: ignore[valid-type]
    choice, word = random.Random(1), row.words.split("|")[0].rstrip("*")  # type: ignore[attr-defined]
    found = tried = 0
    for _ in range(20):
        value = valid(row, choice)  # type: ignore[arg-type]
        at = next((at for at in range(len(value) - 2, -1, -1) if value[at].isdigit()), None)
        if at is None:
            continue
        wrong = value[:at] + str((int(value[at]) + choice.randint(1, 9)) % 10) + value[at + 1 :]
        text = f"{word} {wrong} ."
        tried += 1
        found += any(text[one.start : one.end] == wrong and one.rank == 0 for one in find(text, text.lower()))
    assert found <= tried // 2


@pytest.mark.parametrize("row", ROWS)
def test_a_number_is_found_in_whatever_pieces_it_comes(row: Identity) -> None:
    choice = random.Random(row.words + "pieces")
    word, value = row.words.split("|")[0].rstrip("*"), valid(row, choice)
    text = f"Some words before. The {word} is {value} 12 and more words, {word}: {valid(row, choice)}."
    whole = EVERYTHING.evaluate(GuardRequest.at(Stage.RESPONSE, text))
    for size in (1, 5):
        verdict, out, _ = streamed(EVERYTHING, text, range(size, len(text), size))
        assert out == (whole.redacted_content or text)
        assert verdict.redaction_entries == whole.redaction_entries


@pytest.mark.parametrize("seed", range(3))
def test_numbers_side_by_side_are_found_in_whatever_pieces_they_come(seed: int) -> None:
    choice = random.Random(seed)
    for _ in range(40):
        parts = []
        for row in choice.choices(IDENTITIES, k=choice.randint(1, 4)):
            word = choice.choice(
                ["the date 5 March 12 ", row.words.split("|")[0].rstrip("*") + choice.choice([": ", " is "])]
            )
            parts += [word, valid(row, choice), choice.choice([" ", ", ", "\n", " and ", '"', "", " 12 "])]
        text = "".join(parts)
        whole = EVERYTHING.evaluate(GuardRequest.at(Stage.RESPONSE, text))
        cuts = sorted(choice.sample(range(len(text)), min(len(text), choice.randint(1, 60))))
        verdict, out, _ = streamed(EVERYTHING, text, cuts)
        assert out == (whole.redacted_content or text), text
        assert verdict.redaction_entries == whole.redaction_entries


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("national_id", "CPF do cliente 529.982.247-25", "529.982.247-25"),
        ("national_id", "529.982.247-25 ok", "529.982.247-25"),
        ("national_id", "hänen tunnus 131052-308T.", "131052-308T"),
        ("national_id", "号码11010519491231002X，", "11010519491231002X"),
        ("national_id", "codice fiscale RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("national_id", "NINO: AB 12 34 56 C.", "AB 12 34 56 C"),
        ("national_id", "Her DNI is 12345678Z", "12345678Z"),
        ("national_id", "SIN 046 454 286", "046 454 286"),
        ("national_id", "Steuer-ID: 86 095 742 719", "86 095 742 719"),
        ("national_id", "AHV-Nr. 756.9217.0769.85", "756.9217.0769.85"),
        ("medical_record", "NHS number 943 476 5919", "943 476 5919"),
        ("medical_record", "MRN: 00123456", "00123456"),
        ("tax_id", "ABN 51 824 753 556", "51 824 753 556"),
        ("itin", "ITIN 912-70-1234", "912-70-1234"),
        ("ein", "EIN: 12-3456789", "12-3456789"),
        ("npi", "NPI 1234567893", "1234567893"),
        ("medical_id", "DEA AB1234563", "AB1234563"),
        ("medicare_beneficiary_id", "Medicare 1EG4-TE5-MK73", "1EG4-TE5-MK73"),
        ("aba_routing", "routing number 021000021", "021000021"),
        ("bank_account", "Account number: 0012345678", "0012345678"),
        ("swift_bic", "SWIFT: DEUTDEFF500", "DEUTDEFF500"),
        ("passport", "passport no. X12345678", "X12345678"),
        ("passport", "Reisepass C01X00T47", "C01X00T47"),
        ("drivers_license", "driver's license number is D1234-56789-01", "D1234-56789-01"),
        ("date_of_birth", "DOB: 12/03/1985", "12/03/1985"),
        ("date_of_birth", "date of birth is March 5th, 1985.", "March 5th, 1985"),
        ("date_of_birth", "Date of Birth - 5 March 1985", "5 March 1985"),
        ("date_of_birth", "she was born on 1985-03-05", "1985-03-05"),
        ("vin", "VIN 1M8GDM9AXKP042788", "1M8GDM9AXKP042788"),
        ("imei", "IMEI 490154203237518", "490154203237518"),
        ("bitcoin_address", "send to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa.", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        (
            "bitcoin_address",
            "(bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4)",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ),
        (
            "ethereum_address",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x52908400098527886E0F7030069857D2E4169EE7",
        ),
        ("mac_address", "eth0 52:54:00:9d:0e:67 up", "52:54:00:9d:0e:67"),
        ("mac_address", "eth0 00-1B-44-11-3A-B7 up", "00-1B-44-11-3A-B7"),
    ],
)
def test_well_known_samples(type_: str, text: str, value: str) -> None:
    assert types_in(text) == {type_: value}


@pytest.mark.parametrize(
    "text",
    [
        "The passport expired in 2019, order 12345678 is late.",
        "Their account was closed; the number of visitors was 1234567.",
        "the license number of seats is 250000000, says the EULA",
        "sin embargo 123 456 789 personas",
        "Einstein was born on 14 March 1879 and the war began in 1914",
        "swift language and BIC pens, SWIFT CONCURRENCY, a swift ANSWERED",
        "pan 1234567890 and fin 12345678",
        "529.982.247-26 and 131052-308U and 110105194912310021",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb and bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "unpassport 123456789 and prefixdob 12/03/1985",
        "routing table 123456789, ABA 123456789",
        "version 12-34-56-78-90-12-34 of 2024-01-02-03-04-05",
    ],
)
def test_what_only_resembles_a_number_is_left_alone(text: str) -> None:
    assert types_in(text) == {}


def test_no_number_reaches_further_than_the_window_keeps() -> None:
    for row in IDENTITIES:
        width = int(_parser.parse(row.pattern, re.ASCII).getwidth()[1])
        assert width <= _LONGEST, row.words
        assert max(len(word) for word in row.words.split("|")) + _NEAR + 8 < CONTEXT
    for forms in _FORMED.values():
        assert all(int(_parser.parse(pattern, re.ASCII).getwidth()[1]) <= _LONGEST for pattern, _ in forms)
