"""Looking for many literals at once: the same is found with google-re2 and without it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from highflame_middleware.engine import EmbeddedGuard, literals
from highflame_middleware.engine.literals import Literals
from highflame_middleware.engine.readers.queries import SQL
from highflame_middleware.engine.values import assignments, identities, phones
from highflame_middleware.engine.wording import commands, injection, tally
from highflame_middleware.types import GuardRequest, Stage
from tests.engine.samples import SECRETS

BESIDE = [" ", "", "x", "é", "\n", "3", "\ud83d", "'", "\\", "密"]
_LISTS = {
    "injection": [literal for rule in injection.RULES for literal in rule.literals.split("|")],
    "commands": [literal for rule in commands.RULES for literal in rule.literals.split("|")],
    "sql": [literal for rule in SQL.rows for literal in rule.literals.split("|")],
    "names": [name.literal for name in assignments.NAMES],
    "phones": [word for words in phones._literals() for word in words],
    "identities": [word.rstrip("*") for row in identities.IDENTITIES for word in row.words.split("|")],
}
needs_re2 = pytest.mark.skipif(literals._re2() is None, reason="google-re2 is not installed (the extra fast)")


def texts(count: int, *, seed: int = 1) -> Iterator[str]:
    """Literals, whole and cut short, among each other."""
    choice = random.Random(seed)
    every = [literal for listed in _LISTS.values() for literal in listed]
    secrets = [one if isinstance(one, str) else one[0] for one in SECRETS.values()]
    for _ in range(count):
        parts = [choice.choice(every)[: choice.choice([99, 99, 5, 2])] + choice.choice(BESIDE) for _ in range(25)]
        yield "".join([*parts, choice.choice(secrets), " call 212 555 0100, nhs 943 476 5919"])


@needs_re2
@pytest.mark.parametrize("name", _LISTS)
def test_a_set_finds_what_stands_in_a_text_and_nothing_else(name: str) -> None:
    listed = _LISTS[name]
    made = Literals(listed)
    for text in ("", "\ud83d", *texts(60), " ".join(listed)):
        found = made.within(text.lower())
        assert found is not None
        assert {listed[index] for index in found} == {literal for literal in listed if literal in text.lower()}


@needs_re2
@pytest.mark.parametrize("stage", Stage, ids=str)
def test_verdicts_are_the_same_with_it_and_without(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = EmbeddedGuard(redact=("secrets", "pii", "invisible"))

    def judged(text: str) -> Any:
        verdict = guard.evaluate(GuardRequest.at(stage, text))
        return verdict.decision, verdict.redaction_entries, verdict.signals, verdict.context

    written = list(texts(80, seed=2))
    fast = [judged(text) for text in written]
    monkeypatch.setattr(Literals, "within", lambda self, text: None)
    assert [judged(text) for text in written] == fast


@needs_re2
def test_words_begin_at_the_same_places_in_pieces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = random.Random(3)

    def sought(text: str, start: int, stop: int) -> list[Any]:
        found = tally._sought(injection.RULES, text, start, stop)
        return sorted((at, literal, rule.name) for at, (literal, rule) in found)

    def cut(text: str) -> list[Any]:
        start, stop = sorted(choice.choices(range(len(text)), k=2))
        return [text, start, stop]

    cuts = [cut(text) for text in texts(150, seed=4)]
    fast = [sought(*one) for one in cuts]
    monkeypatch.setattr(Literals, "within", lambda self, text: None)
    assert [sought(*one) for one in cuts] == fast
    assert sum(map(len, fast)) > 100


def test_no_literal_is_longer_than_what_is_searched_for_it() -> None:
    assert max(map(len, _LISTS["injection"] + _LISTS["commands"])) < tally._LONGEST


class _Blind:
    """A package whose sets are too large for it: they find nothing."""

    class Options:
        class Encoding:
            LATIN1 = 1

    class Set:
        @staticmethod
        def SearchSet(options: Any) -> Any:
            class Made:
                def Add(self, pattern: bytes) -> None: ...
                def Compile(self) -> None: ...
                def Match(self, text: bytes) -> Any:
                    return None

            return Made()

    @staticmethod
    def escape(text: str) -> str:
        return text


@pytest.mark.parametrize("found", [None, _Blind, object()])
def test_without_a_set_that_finds_everything_there_is_none(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(literals, "_re2", lambda: found)
    assert Literals(("a", "b")).within("a b") is None
