"""What is put in the place of a value: of its form, of no use, the same whatever the pieces, never found again."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.engine.disguise import is_disguised, is_fake, mask
from highflame_middleware.errors import ConfigError
from highflame_middleware.guard.rules import NOBODY, Fact, RuleOutcome, Subject
from highflame_middleware.types import Decision, GuardRequest, Stage
from tests.engine.samples import DIGITS, SECRETS, applied, drawn, grouped, iban, luhn, pem, streamed

KEY = bytes(range(32))
ALL = ("secrets", "pii", "invisible")
CARD = luhn("4", 16)
IBAN = iban("DE", drawn(18, DIGITS))
TOKEN = str(SECRETS["github_token"])

GUARDS = {
    "mask": EmbeddedGuard(redact=ALL, strategy="mask"),
    "anonymize": EmbeddedGuard(redact=ALL, strategy="anonymize", anonymize_key=KEY),
    "mixed": EmbeddedGuard(
        redact=ALL,
        strategy={"pii": "anonymize", "secrets": "mask", "email": "replace", "credit_card": "mask"},
        replacements={"email": "<somebody>"},
        anonymize_key=KEY,
    ),
}
TEXTS = [
    f"pay with {grouped(CARD)} 12 and {grouped(CARD, '-')}; thanks, or {CARD}.",
    f"to {grouped(IBAN)} or {IBAN} today, mail Ada.Lovelace+x@mail.example.org or jo@example.org",
    "call me at +49 171 2345678 or (212) 555-0100, ssn 219 54 1234, 219-54-1234; ip 10.2.3.4, 2001:4860:4860::8888",
    f'the password is hunter{22}!x and api_key = \'{drawn(24)}\', "token": "{drawn(24)}"',
    f"key:\n{pem()}\nend {TOKEN}. {pem(lines=1)}",
    f"{TOKEN[:9]}\u200b{TOKEN[9:30]}\u2060{TOKEN[30:]} in\u200bvisible",
    json.dumps({"card": int(CARD), "to": "jo@example.org", "url": f"https://u:{drawn(12)}@h.example/x"}),
    f"https://u:{drawn(12)}@h.example/x?token={drawn(24)} Bearer {drawn(30)} AKIA{drawn(16, 'ABCDEFGH234567')}",
]


def done(guard: EmbeddedGuard, text: str, stage: Stage = Stage.RESPONSE, session: str | None = None) -> str:
    verdict = guard.evaluate(GuardRequest.at(stage, text, session_id=session))
    if verdict.redacted_content is not None:
        assert applied(text, verdict.redaction_entries) == verdict.redacted_content
    return text if verdict.redacted_content is None else verdict.redacted_content


@pytest.mark.parametrize(
    ("type_", "value", "masked"),
    [
        ("credit_card", "4111-1111-1111-1234", "****-****-****-1234"),
        ("iban", "DE89 3704 0044 0532 0130 00", "**** **** **** **** **30 00"),
        ("phone", "+49 171 2345678", "+** *** ****678"),
        ("ssn", "219-54-1234", "***-**-**34"),
        ("email", "ada@example.org", "a**@example.org"),
        ("email", "jo@example.org", "***@example.org"),
        ("ip_address", "10.2.3.4", "**.*.*.*"),
        ("password", "geheim", "******"),
        ("password", "ab1", "***"),
        ("generic_secret", 'a"b\\c{d}éfgh' * 2, "*" * 20 + "éfgh"),
    ],
)
def test_a_mask_keeps_the_form_and_at_most_a_quarter(type_: str, value: str, masked: str) -> None:
    assert mask(type_, value) == masked
    shown = sum(one.isalnum() for one in masked.partition("@")[0])
    assert shown <= max(1, sum(one.isalnum() for one in value) // 4)


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_same_whatever_the_pieces(text: str, name: str) -> None:
    guard = GUARDS[name]
    for stage in (Stage.RESPONSE, Stage.TOOL_CALL):
        verdict = guard.evaluate(GuardRequest.at(stage, text))
        expected = text if verdict.redacted_content is None else verdict.redacted_content
        for cuts in ([], list(range(1, len(text))), *([cut] for cut in range(1, len(text), 3))):
            told, out, _ = streamed(guard, text, cuts, stage)
            assert (out, told.redaction_entries) == (expected, verdict.redaction_entries), cuts[:5]


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("stage", [Stage.PROMPT, Stage.TOOL_CALL])
def test_what_has_been_taken_out_is_not_found_again(name: str, stage: Stage) -> None:
    guard = GUARDS[name]
    for text in TEXTS:
        once = done(guard, text, stage)
        assert once != text
        assert done(guard, once, stage) == once


@pytest.mark.parametrize("name", ["mask", "anonymize"])
def test_every_sample_of_a_secret_stays_taken_out(name: str) -> None:
    guard = GUARDS[name]
    for type_, sample in SECRETS.items():
        text, value = sample if isinstance(sample, tuple) else (sample, sample)
        for written in (f"so {text} it is", f"token: {text}", json.dumps({"password": text}), f"Bearer {text}."):
            once = done(guard, written)
            assert value not in once, type_
            assert done(guard, once) == once, (type_, once)


def test_random_texts_in_random_pieces() -> None:
    choice = random.Random(11)
    values = [
        CARD,
        grouped(CARD),
        IBAN,
        "jo@example.org",
        "+49 171 2345678",
        "219-54-1234",
        TOKEN,
        f"password={drawn(12)}",
    ]
    for _ in range(150):
        parts = [choice.choice([*values, "and", "card", '"', "\n", "[", "*", "the end."]) for _ in range(8)]
        text = choice.choice([" ", ", ", ""]).join(parts)
        guard = GUARDS[choice.choice(list(GUARDS))]
        cuts = sorted(choice.randrange(len(text) + 1) for _ in range(5))
        assert streamed(guard, text, cuts)[1] == done(guard, text), (text, cuts)


def test_a_fake_is_the_same_for_the_same_value_of_a_session_only() -> None:
    guard = GUARDS["anonymize"]
    text = f"jo@example.org, {CARD}, jo@example.org; al@example.org"
    one, two = done(guard, text, session="s1"), done(guard, text, session="s2")
    first, card, again, other = re.split(r"[,;] ", one)
    assert first == again != other
    assert is_fake("email", first)
    assert is_fake("credit_card", card)
    assert len(card) == 16
    assert done(guard, text, session="s1") == one
    assert all(part not in two for part in (first, card, other))
    # With a key of its own, another process says the same; without one, nobody can say what.
    again_elsewhere = EmbeddedGuard(redact=ALL, strategy="anonymize", anonymize_key=KEY)
    assert done(again_elsewhere, text, session="s1") == one
    assert done(EmbeddedGuard(redact=ALL, strategy="anonymize"), text, session="s1") != one


def test_a_fake_has_the_form_of_the_value() -> None:
    out = done(
        GUARDS["anonymize"], f"{grouped(CARD)} | {IBAN} | 219-54-1234 | +49 171 2345678 | host 8.8.8.8 | jo@x.org"
    )
    card, account, ssn, phone, address, mail = out.split(" | ")
    assert re.fullmatch(r"0000( \d{4}){3}", card)
    assert re.fullmatch(r"DE00\d{18}", account)
    assert re.fullmatch(r"000-\d\d-\d{4}", ssn)
    assert re.fullmatch(r"\+999 \d{3} \d{3} \d{3}", phone)
    assert re.fullmatch(r"host 2[45]\d\.\d+\.\d+\.\d+", address)
    assert re.fullmatch(r"[a-z]{10}@anon\.invalid", mail)


def test_what_has_no_free_form_gets_a_pseudonym() -> None:
    out = done(GUARDS["anonymize"], "it is " + str(SECRETS["aws_access_key"]))
    assert re.fullmatch(r"it is \[AWS_ACCESS_KEY_[a-z]{12}\]", out)
    assert is_disguised("", out.removeprefix("it is "))


def test_a_value_without_an_end_is_only_marked() -> None:
    for guard in (GUARDS["mask"], GUARDS["anonymize"]):
        assert done(guard, pem()) == "[REDACTED:private_key]"


def test_a_value_in_an_endless_word_is_only_marked() -> None:
    key = str(SECRETS["github_token"])
    assert done(GUARDS["mask"], f"a {key} b").startswith("a ***_****")
    for rest in (2_000, 5_000):
        text = f"a {key}/{'x' * rest} b"
        assert done(GUARDS["mask"], text).startswith("a [REDACTED:github_token]/xxx")
        for size in (1, 100, 3_000):
            assert streamed(GUARDS["mask"], text, range(size, len(text), size))[1] == done(GUARDS["mask"], text)


def test_a_value_in_an_escape_is_only_marked() -> None:
    arguments = json.dumps({"p": f'x password="hunter{22}!\n'})
    out = done(GUARDS["mask"], arguments, Stage.TOOL_CALL)
    json.loads(out)
    assert "hunter" not in out


def test_numbers_in_json_become_strings() -> None:
    for name, guard in GUARDS.items():
        out = json.loads(done(guard, json.dumps({"card": int(CARD), "n": 1}), Stage.TOOL_CALL))
        assert isinstance(out["card"], str), name
        assert CARD not in out["card"]


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "hide"},
        {"strategy": {"email": "hide"}},
        {"strategy": {"emial": "mask"}},
        {"strategy": {"email": "replace"}},
        {"replacements": {"email": "jo@example.org"}},
        {"replacements": {"email": 'a "quote"'}},
        {"replacements": {"email": "a\nbreak"}},
        {"replacements": {"email": "x" * 201}},
        {"replacements": {"email": 3}},
        {"anonymize_key": b"short"},
        {"anonymize_key": "sixteen characters"},
    ],
)
def test_options_that_cannot_be_used(options: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EmbeddedGuard(**options)


class Asking:
    """Rules that want values masked where there is an address among them, and nothing else."""

    def __init__(self, way: str) -> None:
        self.way = way

    def decide(self, facts: Mapping[str, Fact], *, action: str, subject: Subject = NOBODY) -> RuleOutcome:
        types = facts.get("pii_types")
        if isinstance(types, tuple) and "email" in types:
            return RuleOutcome(Decision.MODIFY, "mask it", redaction=self.way)
        return RuleOutcome(Decision.ALLOW)


@pytest.mark.parametrize(
    ("way", "mail"), [("mask", "***@example.org"), ("replace", "[REDACTED:email]"), ("smudge", "[REDACTED:email]")]
)
def test_rules_may_ask_for_a_strategy(way: str, mail: str) -> None:
    guard = EmbeddedGuard(redact=ALL, rules=Asking(way))
    text = f"{CARD}, jo@example.org, {CARD}"
    assert done(guard, text) == f"[REDACTED:credit_card], {mail}, [REDACTED:credit_card]"
    assert streamed(guard, text, range(1, len(text)))[1] == done(guard, text)


def test_no_key_and_no_value_is_shown() -> None:
    guard = EmbeddedGuard(redact=ALL, strategy="mask", anonymize_key=KEY)
    assert "hunter" not in repr(guard)
    assert repr(KEY) not in repr(guard._policy.disguise)
    verdict = guard.evaluate(GuardRequest(content="mail ada@example.org"))
    assert "example.org" not in repr(verdict)
    assert "example.org" not in repr(verdict.without_content())
