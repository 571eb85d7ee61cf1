"""What follows from the policies that matched: the strongest of what they ask for, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..guard.rules import RuleOutcome, strongest
from ..types import Decision
from .reading import Policy

__all__ = ["called_for", "denied", "enforced", "outcome_of", "waits_for"]

_GRAVITY = {"critical": 0, "high": 1, "medium": 2, "low": 3}


def enforced(policies: Iterable[Policy]) -> list[Policy]:
    """Those that decide; the others only watch."""
    return [policy for policy in policies if policy.mode == "enforce"]


def called_for(policy: Policy, context: Mapping[str, Any]) -> Decision:
    """What a policy that matched asks for, with these facts.

    A permit that may be used once is a deny: nobody here keeps count, and Shield, too, denies a call
    whose token it cannot keep count of.
    """
    if policy.single_use:
        return Decision.DENY
    scores = (context[key] for key in policy.keys if key in context)
    if any(type(score) is int and score < policy.defer_below for score in scores):
        return Decision.DEFER
    return policy.calls_for


def waits_for(policies: Iterable[Policy], principal: str, context: Mapping[str, Any]) -> list[Policy]:
    """Those that want a fact to be there before anything is decided, where it is not."""
    wanting = (policy for policy in enforced(policies) if policy.defer_until and principal in policy.principals)
    return [policy for policy in wanting if context.get(policy.defer_until) in (None, "", [])]


def outcome_of(
    matched: Sequence[Policy], waiting: Sequence[Policy], context: Mapping[str, Any], ignored: tuple[str, ...]
) -> RuleOutcome:
    """The outcome where at least one permit has matched, or a forbid that denies."""
    calls = {policy: called_for(policy, context) for policy in enforced(matched)}
    calls |= {policy: strongest(calls.get(policy, Decision.ALLOW), Decision.DEFER) for policy in waiting}
    decision = strongest(*calls.values())
    roles = {policy.role for policy, call in calls.items() if call is Decision.STEP_UP} - {"self"}
    if decision is Decision.STEP_UP and len(roles) > 1:
        return denied(f"approval by different roles is asked for: {', '.join(sorted(roles))}", ignored=ignored)
    ranked = sorted(
        (policy for policy, call in calls.items() if call is not Decision.ALLOW or decision is Decision.ALLOW),
        key=lambda policy: (calls[policy] is not decision, _GRAVITY.get(policy.severity or "", 4)),
    )
    watching = [policy for policy in matched if policy.mode != "enforce"]
    return RuleOutcome(
        decision,
        None if decision is Decision.ALLOW else _reason(ranked[0], decision),
        tuple(policy.shown for policy in (*ranked, *watching)),
        redaction=ranked[0].redaction if decision is Decision.MODIFY else "",
        ignored=ignored,
    )


def denied(error: str, *, ignored: tuple[str, ...] = ()) -> RuleOutcome:
    """A deny because the policies cannot decide; never silent, and never with a value in it."""
    return RuleOutcome(Decision.DENY, f"The policies cannot decide: {error}", errors=(error,), ignored=ignored)


def _reason(policy: Policy, decision: Decision) -> str:
    if decision is Decision.DEFER and policy.defer_until:
        return f"Deferred by {policy.id}: it needs {policy.defer_until}"
    if decision is Decision.DEFER:
        return f"Deferred by {policy.id}: a score is not high enough to go by"
    if decision is Decision.DENY and policy.single_use:
        return f"Denied: {policy.id} may be used once, which nobody here counts"
    return policy.reason
