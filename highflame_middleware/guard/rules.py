"""What is decided about a text from what the detectors say of it: facts in, a decision with its reasons out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

from ..errors import ConfigError
from ..types import Decision, DeterminingPolicy

__all__ = ["NOBODY", "Fact", "Listed", "RuleOutcome", "Rules", "Subject", "Together", "canonical", "strongest"]

# What a detector says, under Shield's context key: secrets_detected, injection_score, pii_types.
# Scores are whole numbers from 0 to 100. What no detector has looked for is absent, not false.
Fact: TypeAlias = bool | int | str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose call it is, as far as that is known; an empty id is an unknown one."""

    user_id: str = ""
    agent_id: str = ""
    session_id: str = ""
    app_id: str = ""
    project_id: str = ""
    account_id: str = ""


NOBODY = Subject()


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What rules make of the facts of one text.

    ``reason`` is fit to be shown, and holds no word of the text. ``policies``
    are those that brought the decision about, the one that counts first; with them
    are those that only watch (``mode`` monitor or alert). ``redaction`` names the way in which a
    modify is to be done: redact, mask, anonymize or replace; empty where the engine may choose.
    ``errors`` say what went wrong on the way; where there are any, the decision is a deny.
    ``ignored`` are the facts that the rules cannot be told for this action.
    """

    decision: Decision
    reason: str | None = None
    policies: tuple[DeterminingPolicy, ...] = ()
    redaction: str = ""
    errors: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@runtime_checkable
class Rules(Protocol):
    """Decides about a text by its facts. It never raises: rules that cannot decide deny, and say why."""

    def decide(self, facts: Mapping[str, Fact], *, action: str, subject: Subject = NOBODY) -> RuleOutcome:
        """Decide about a text that ``action`` (Shield's: ``process_prompt``, ``call_tool``…) is about."""
        ...


@runtime_checkable
class Listed(Protocol):
    """Rules that can say which they are, and what they read: for whoever looks for the reason of a decision."""

    @property
    def policies(self) -> tuple[DeterminingPolicy, ...]:
        """The rules in force, as a verdict shows them."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """The facts that they read, under the keys of `canonical`."""
        ...


class Together:
    """Several rules as one: each is asked, and the strongest of their decisions counts.

    >>> Together()
    Traceback (most recent call last):
    highflame_middleware.errors.ConfigError: Together() needs rules
    """

    __slots__ = ("_rules",)

    def __init__(self, *rules: Rules) -> None:
        if not rules:
            raise ConfigError("Together() needs rules")
        self._rules = rules

    def decide(self, facts: Mapping[str, Fact], *, action: str, subject: Subject = NOBODY) -> RuleOutcome:
        """Decide about a text by its facts: the first of the strongest outcomes, with the policies of all."""
        outcomes = [rules.decide(facts, action=action, subject=subject) for rules in self._rules]
        decision = strongest(*(outcome.decision for outcome in outcomes))
        counts = next(outcome for outcome in outcomes if outcome.decision is decision)
        others = [outcome for outcome in outcomes if outcome is not counts]
        shown = [
            policy for outcome in others if outcome.decision is not Decision.ALLOW for policy in outcome.policies
        ]
        left = [set(outcome.ignored) for outcome in outcomes]
        return replace(
            counts,
            policies=(*counts.policies, *shown),
            errors=tuple(error for outcome in (counts, *others) for error in outcome.errors),
            ignored=tuple(sorted(left[0].intersection(*left))),
        )

    @property
    def policies(self) -> tuple[DeterminingPolicy, ...]:
        """The policies of those that can list them."""
        return tuple(policy for rules in self._rules if isinstance(rules, Listed) for policy in rules.policies)

    @property
    def reads(self) -> frozenset[str]:
        """The facts that those read."""
        return frozenset[str]().union(*(rules.reads for rules in self._rules if isinstance(rules, Listed)))

    def __repr__(self) -> str:
        return f"Together({', '.join(map(repr, self._rules))})"


# Stronger decisions first: where several policies speak, the strongest counts.
_STRENGTH = (Decision.DENY, Decision.STEP_UP, Decision.DEFER, Decision.MODIFY, Decision.ALLOW)


def strongest(*decisions: Decision) -> Decision:
    """The decision that counts where several have been taken; allow where there is none.

    >>> strongest(Decision.MODIFY, Decision.STEP_UP)
    <Decision.STEP_UP: 'step_up'>
    """
    return min(decisions, key=_STRENGTH.index, default=Decision.ALLOW)


# What Shield's detectors call a fact, and what its policies read.
_READ_AS = {
    "injection_confidence": "injection_score",
    "prompt_injection_score": "injection_score",
    "jailbreak_confidence": "jailbreak_score",
    "contains_secrets": "secrets_detected",
    "contains_invisible_chars": "invisible_chars_detected",
}


def canonical(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Facts under the keys that policies read; where two say the same thing, the graver one is kept.

    >>> canonical({"injection_confidence": 90, "injection_score": 40, "pii_types": ("ssn",)})
    {'injection_score': 90, 'pii_types': ('ssn',), 'pii_detected': True}
    """
    read: dict[str, Fact] = {}
    for key, fact in facts.items():
        name = _READ_AS.get(key, key)
        known = read.get(name, fact)
        graver = type(fact) is type(known) and isinstance(fact, int) and isinstance(known, int) and known > fact
        read[name] = known if graver else fact
    if "pii_detected" not in read and (read.get("pii_types") or read.get("pii_count")):
        read["pii_detected"] = True
    if "secrets_detected" not in read and (read.get("secret_types") or read.get("secret_count")):
        read["secrets_detected"] = True
    return read
