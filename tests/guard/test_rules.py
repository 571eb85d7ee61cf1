"""Facts in, a decision out: what facts are called, which decision counts, and several rules as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError
from highflame_middleware.guard.rules import (
    NOBODY,
    Fact,
    RuleOutcome,
    Rules,
    Subject,
    Together,
    canonical,
    strongest,
)
from highflame_middleware.types import Decision, DeterminingPolicy


@pytest.mark.parametrize(
    ("facts", "read"),
    [
        ({"injection_confidence": 90}, {"injection_score": 90}),
        ({"injection_score": 40, "injection_confidence": 90}, {"injection_score": 90}),
        ({"injection_score": 90, "prompt_injection_score": 40}, {"injection_score": 90}),
        ({"contains_secrets": True, "secrets_detected": False}, {"secrets_detected": True}),
        ({"secrets_detected": True, "contains_secrets": False}, {"secrets_detected": True}),
        ({"contains_invisible_chars": False}, {"invisible_chars_detected": False}),
        ({"pii_types": ("ssn",)}, {"pii_types": ("ssn",), "pii_detected": True}),
        ({"pii_types": ()}, {"pii_types": ()}),
        ({"secret_count": 2}, {"secret_count": 2, "secrets_detected": True}),
        ({"secret_count": 2, "secrets_detected": False}, {"secret_count": 2, "secrets_detected": False}),
        ({"whatever": "x"}, {"whatever": "x"}),
        # A fact of the wrong type stays as it is, so that rules can say so.
        ({"injection_score": 40, "injection_confidence": "90"}, {"injection_score": "90"}),
    ],
)
def test_facts_are_read_under_the_names_of_policies(facts: dict[str, Fact], read: dict[str, Fact]) -> None:
    assert canonical(facts) == read


def test_the_strongest_decision_counts() -> None:
    order = ["deny", "step_up", "defer", "modify", "allow"]
    for place, stronger in enumerate(order):
        for weaker in order[place:]:
            assert strongest(Decision(weaker), Decision(stronger)) == stronger
    assert strongest() is Decision.ALLOW


class _Says:
    def __init__(self, decision: str, **fields: Any) -> None:
        policies = (DeterminingPolicy(rule_id=decision),)
        self.outcome = RuleOutcome(Decision(decision), f"because of {decision}", policies, **fields)
        self.asked: list[tuple[dict[str, Fact], str, Subject]] = []

    def decide(self, facts: Mapping[str, Fact], *, action: str, subject: Subject = NOBODY) -> RuleOutcome:
        self.asked.append((dict(facts), action, subject))
        return self.outcome


def test_several_rules_are_as_strong_as_the_strongest() -> None:
    softer, harder = (
        _Says("modify", redaction="mask", ignored=("a", "b")),
        _Says("deny", ignored=("b",), errors=("x",)),
    )
    passing = _Says("allow", ignored=("b", "c"))
    rules = Together(softer, harder, passing)
    assert isinstance(rules, Rules)
    subject = Subject(session_id="s")
    outcome = rules.decide({"b": 1}, action="call_tool", subject=subject)
    assert outcome.decision is Decision.DENY
    assert outcome.reason == "because of deny"
    assert [policy.rule_id for policy in outcome.policies] == ["deny", "modify"]
    assert outcome.ignored == ("b",)
    assert outcome.errors == ("x",)
    assert outcome.redaction == ""
    assert softer.asked == harder.asked == passing.asked == [({"b": 1}, "call_tool", subject)]
    assert Together(passing, softer).decide({}, action="call_tool").redaction == "mask"


def test_no_rules_are_none() -> None:
    with pytest.raises(ConfigError):
        Together()
