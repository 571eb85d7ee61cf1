"""Texts made to be slow: four times the text costs about four times as much, whole or in pieces."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import _parser  # type: ignore[attr-defined]
from time import thread_time

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.engine.release import REACH
from highflame_middleware.engine.values import addresses, assignments, cards, phones, secrets
from highflame_middleware.engine.values.scan import CONTEXT
from highflame_middleware.types import GuardRequest, Stage

EVERYTHING = EmbeddedGuard(redact=("secrets", "pii", "invisible"), injection_threshold=100)
SHORT = 20_000  # characters
TRIES = 5  # a busy machine spoils a measure now and then; what is not linear fails every time

REPEATED = [
    "a", "1", "-", " ", "@", ".", ":", "=", "\\", '"', "'", "(", "+", "%", "{", "<", "/", "你", "é",
    "a@", "a.", "a-", "1.", "1 ", "1-", "1,", "12 34 ", "4111 ", "4111-", "+1 ", "DE89 ", "DE89", "::", ":a:",
    "1.1.1.", "(1)", "a@a.", "://", "://a:", "http://a:b@c/", "sk-", "sk-a1B2c3D4e5", "ghp_", "eyJ", "eyJa.",
    "AKIA", "key-", ":A", "0123456789:A", "-us1", "AccountKey=", "hooks.slack.com/", "/api/webhooks/", "aA1",
    "password=", "password is ", "password='", "token: ", "bearer ", "authorization: basic ", "-u a:",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAA\n",
    "-----BEGIN PRIVATE KEY-----\nProc-Type: a\n", "-----END PRIVATE KEY-----",
    "ignore ", "ignore all ", "disregard previous ", "not any ", "without ", "system prompt ", "print above ",
    "act as ", "before you ", "send data to ", "do not tell ", "base64 ", "![a](http://", "dan ", "in the ",
    "\u200b", "a\u200b", "\u202e", "\U000e0061", "\ufe0f", "\u0301", "\ufeffa", "👨\u200d",
    "passport ", "passport 12", "dob 5 March ", "dob 5/3/", "nhs 943 476 ", "account number 12 ", "id card 1-",
    "nino AB 12 ", "11-", "aa-bb-", "0x5", "bc1q", "1A1z", "$2b$12$", "$6$a$", "key=", "key: aB3", "mysql -p",
    "login a password ", "sessionid=", "FFFFNRAL", "/1:", "-aaaaaaaa-", "sig=", "AAAAAAAAAAAAAAAAAAAA",
    "password=a1B2c3", "token=a1B2c3d4e5f6g7h8i9", "secret: a1B2c3d4e5f6g7h8i9.", "aws_secret_access_key=a1B2c3",
]  # fmt: skip
COMMANDS = [
    "rm ",
    "rm -rf ",
    "curl ",
    "curl x | ",
    "nc -e ",
    "cat .ssh ",
    "find / ",
    "mkfifo sh ",
    "socket ",
    "dd a ",
]


def is_linear(judge: Callable[[str], object], piece: str, short: int) -> bool:
    """Whether four times the text costs less than nine times as much: in the square it would be sixteen."""

    def cost(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        began = thread_time()
        judge(text)
        return thread_time() - began

    return any(cost(4 * short) < 9 * cost(short) + 0.01 for _ in range(TRIES))


@pytest.mark.parametrize("piece", [*REPEATED, *COMMANDS], ids=ascii)
def test_a_repeated_piece_is_read_in_linear_time(piece: str) -> None:
    stage = Stage.TOOL_CALL if piece in COMMANDS else Stage.TOOL_RESULT
    assert is_linear(lambda text: EVERYTHING.evaluate(GuardRequest.at(stage, text)), piece, SHORT)


@pytest.mark.parametrize("piece", REPEATED[::4], ids=ascii)
def test_a_stream_of_a_repeated_piece_is_read_in_linear_time(piece: str) -> None:
    def judge(text: str) -> None:
        window = EVERYTHING.window(GuardRequest.at(Stage.TOOL_RESULT, ""))
        for at in range(0, len(text), 25):
            window.feed(text[at : at + 25])
        window.finish()

    assert is_linear(judge, piece, SHORT // 4)


def test_a_longer_stream_costs_no_more_for_each_piece() -> None:
    piece = "In 2024 the committee said that my password is unknown, call 555 1234 or see https://x.example/a?b=c. "

    def cost(times: int) -> float:
        best = float("inf")
        for _ in range(2):
            window = EVERYTHING.window(GuardRequest.at(Stage.TOOL_RESULT, ""))
            began = thread_time()
            for _ in range(times):
                for at in range(0, len(piece), 20):
                    window.feed(piece[at : at + 20])
            best = min(best, (thread_time() - began) / times)
        return best

    assert any(cost(500) < 1.5 * cost(50) for _ in range(TRIES))


def test_no_pattern_reads_further_than_the_window_keeps() -> None:
    def width(pattern: str) -> int:
        return int(_parser.parse(pattern, re.ASCII).getwidth()[1])

    for form in secrets.FORMATS:
        assert width(form.pattern) + (form.before[2] if form.before else 0) < REACH, form.type
        assert (form.before[2] if form.before else 0) + 8 < CONTEXT, form.type
    for name in assignments.NAMES:
        assert len(name.literal) + width(name.tied) + 26 < CONTEXT, name.literal
    for pattern in (addresses._DOMAIN, addresses._IPV4, addresses._IPV6, phones._NUMBER):
        assert width(pattern) < REACH
    assert max(cards.iban_length(country) for country in ("MT", "LC", "RU", "SC")) == 33
