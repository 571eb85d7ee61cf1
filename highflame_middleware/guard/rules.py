"""What is decided about a text from what the detectors say of it: facts in, a decision with its reasons out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from ..types import Decision, DeterminingPolicy

__all__ = ["NOBODY", "Fact", "RuleOutcome", "Rules", "Subject", "canonical", "strongest"]

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
