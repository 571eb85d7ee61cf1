"""Words that a user has listed: whole words, whatever their case and spacing, told by category."""

# ruff: noqa: RUF001 - other scripts are what is tested

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.errors import ConfigError
from highflame_middleware.types import Decision, GuardRequest, Stage

GUARD = EmbeddedGuard(
    keywords={
        "rivals": ["Acme", "acmeware", "Globex Corp", "re:initech[0-9]{1,3}"],
        "secret": ["project x", "密钥", "C++", ".env"],
    }
)


def told(text: str, stage: Stage = Stage.PROMPT) -> dict[str, Any]:
    facts = GUARD.evaluate(GuardRequest.at(stage, text)).context
    return {key: facts[key] for key in ("keyword_matched", "keyword_categories", "keyword_count")}


@pytest.mark.parametrize(
    ("text", "categories", "count"),
    [
        ("Ask ACME.", ("rivals",), 1),
        ("acmes, xacme and acme_2 but not acme2", ("rivals",), 1),
        ("ａｃｍｅ and a\u200bcme", ("rivals",), 2),
        ("Acmeware by Acme", ("rivals",), 2),
        ("globex \n corp", ("rivals",), 1),
        ("globexcorp or globex, corp", (), 0),
        ("Initech42 and INITECH007", ("rivals",), 2),
        ("这是密钥吗", ("secret",), 1),
        ("in C++ or c++; .env", ("secret",), 3),
        ("Project X at Acme", ("rivals", "secret"), 2),
        ("acme " * 99, ("rivals",), 20),
        ("nothing of it", (), 0),
    ],
)
def test_words_are_found(text: str, categories: tuple[str, ...], count: int) -> None:
    for stage in Stage:
        assert told(text, stage) == {
            "keyword_matched": bool(count),
            "keyword_categories": categories,
            "keyword_count": count,
        }


def test_words_are_reported_and_not_told() -> None:
    verdict = GUARD.evaluate(GuardRequest(content="Acme"))
    assert verdict.decision is Decision.ALLOW
    assert [(signal.name, signal.category) for signal in verdict.signals] == [("keyword", "rivals")]
    assert "acme" not in repr(verdict).lower()


def test_without_lists_nothing_is_said_of_words() -> None:
    assert "keyword_matched" not in EmbeddedGuard().evaluate(GuardRequest(content="Acme")).context


def test_five_thousand_words_are_one_pattern() -> None:
    words = [f"word{number}x" for number in range(5_000)]
    guard = EmbeddedGuard(keywords={"many": words})
    facts = guard.evaluate(GuardRequest(content="so word77x and word4999x but not word77 or word5000x")).context
    assert facts["keyword_count"] == 2


@pytest.mark.parametrize(
    "keywords",
    [
        {"a": "one string"}, {"": ["x"]}, {"a": [""]}, {"a": ["x" * 201]}, {"a": [1]}, ["x"], {"a": ["re:("]},
        {"a": ["re:a*"]}, {"a": ["re:a.*b"]}, {"a": ["re:(?P<n>a)"]}, {"a": [r"re:(a)\1"]}, {"a": ["re:a{0,9}"]},
        {"a": ["re:"]}, {"a": ["\u200b"]}, {"a": [f"w{number}" for number in range(5_001)]},
    ],
    ids=lambda keywords: repr(keywords)[:30],
)  # fmt: skip
def test_lists_that_cannot_be_used_are_refused(keywords: Any) -> None:
    with pytest.raises(ConfigError, match="keywords"):
        EmbeddedGuard(keywords=keywords)
