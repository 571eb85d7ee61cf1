"""What a mode makes of a verdict, as Shield says it: the decision that counts, and what it would have been.

==========  ==============================  =============================================
mode        the decision                    beside it
==========  ==============================  =============================================
enforce     the guard's; a modify that      `actual_decision`; where policies that only
            cannot be applied is a deny     watch have matched, what they would have said
monitor     allow                           `actual_decision`, `mode_reason`
alert       allow                           the same, and `alerted`
modify      modify where there is anything  `actual_decision`
            to take out, else allow
==========  ==============================  =============================================
"""

from __future__ import annotations

from dataclasses import replace

from ..guard.redaction import apply_modify
from ..types import Decision, DeterminingPolicy, GuardRequest, GuardResponse, Mode, Stage

__all__ = ["overridden"]

_WATCHING = ("alert", "monitor")


def overridden(request: GuardRequest, verdict: GuardResponse) -> GuardResponse:
    """The verdict under the mode of its request.

    >>> no = GuardResponse(decision=Decision.DENY, policy_reason="No")
    >>> watched = overridden(GuardRequest(content="x", mode=Mode.MONITOR), no)
    >>> watched.decision.value, watched.actual_decision.value, watched.mode_reason
    ('allow', 'deny', 'the mode is monitor: nothing is enforced')
    """
    verdict = replace(verdict, alerted=verdict.alerted or any(_alerts(one) for one in verdict.determining_policies))
    mode = request.mode
    # What a guard that is asked over the network has made of the mode already.
    actual = verdict.actual_decision or verdict.decision
    if mode is Mode.ENFORCE:
        return _enforced(request, _watched(verdict))
    if mode is Mode.MODIFY:
        text = apply_modify(request.content, verdict, is_json=request.stage is Stage.TOOL_CALL)
        if text is not None and text != request.content:
            return _under(mode, Decision.MODIFY, actual, replace(verdict, redacted_content=text))
    allowed = replace(
        verdict,
        redacted_content=None,
        redaction_entries=(),
        alerted=verdict.alerted or (mode is Mode.ALERT and actual is not Decision.ALLOW),
    )
    return _under(mode, Decision.ALLOW, actual, allowed)


def _enforced(request: GuardRequest, verdict: GuardResponse) -> GuardResponse:
    actual = verdict.actual_decision or verdict.decision
    verdict = replace(verdict, actual_decision=actual, effective_mode=verdict.effective_mode or Mode.ENFORCE.value)
    if verdict.decision is not Decision.MODIFY:
        return verdict
    text = apply_modify(request.content, verdict, is_json=request.stage is Stage.TOOL_CALL)
    if text is None:
        reason = "what was to be taken out cannot be: the text is stopped"
        said = f"{verdict.policy_reason}; {reason}" if verdict.policy_reason else reason
        return replace(
            verdict,
            decision=Decision.DENY,
            policy_reason=said,
            redacted_content=None,
            redaction_entries=(),
        )
    return replace(verdict, redacted_content=text)


def _watched(verdict: GuardResponse) -> GuardResponse:
    """With what policies of a milder mode than enforce would have said, where they alone have matched."""
    if verdict.decision is not Decision.ALLOW or verdict.mode_overridden:
        return verdict
    watching = [policy for policy in verdict.determining_policies if _only_watches(policy)]
    if not watching:
        return verdict
    strictest = next(mode for mode in _WATCHING if any(policy.mode == mode for policy in watching))
    return replace(
        verdict,
        actual_decision=Decision.DENY,
        effective_mode=strictest,
        mode_overridden=True,
        mode_reason=f"{watching[0].rule_id} has the mode {watching[0].mode}",
    )


def _only_watches(policy: DeterminingPolicy) -> bool:
    return policy.mode in _WATCHING and policy.effect != "permit"


def _alerts(policy: DeterminingPolicy) -> bool:
    return policy.mode == "alert" and policy.effect != "permit"


def _under(mode: Mode, decision: Decision, actual: Decision, verdict: GuardResponse) -> GuardResponse:
    changed = decision is not actual
    done = "redacted, and never stopped" if mode is Mode.MODIFY else "nothing is enforced"
    return replace(
        verdict,
        decision=decision,
        actual_decision=actual,
        effective_mode=mode.value,
        mode_overridden=changed,
        mode_reason=f"the mode is {mode.value}: {done}" if changed else None,
    )
