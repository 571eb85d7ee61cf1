"""What annotations make of a policy that matches: the five decisions, policies that only watch, and who wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError
from highflame_middleware.guard.rules import RuleOutcome, Subject
from highflame_middleware.policies import PolicySet
from highflame_middleware.types import Decision

PERMIT = '@id("own.permit")\npermit (principal, action, resource);\n'
STAMPS = 'when { context has agent_framework && context.agent_framework == "%s" };'


def forbid(
    id_: str, *annotations: str, when: str = 'when { context has agent_id && context.agent_id == "a" };'
) -> str:
    return f'@id("{id_}")\n' + "\n".join(annotations) + f"\nforbid (principal, action, resource) {when}\n"


def permit(
    id_: str, *annotations: str, when: str = 'when { context has agent_id && context.agent_id == "a" };'
) -> str:
    return forbid(id_, *annotations, when=when).replace("forbid (", "permit (")


def decided(directory: Path, text: str, facts: dict[str, Any] | None = None) -> RuleOutcome:
    file = directory / "own.cedar"
    file.write_text(text, "utf-8")
    rules = PolicySet.from_files(file)
    return rules.decide({"agent_id": "a"} if facts is None else facts, action="call_tool")


@pytest.mark.parametrize(
    ("annotation", "decision"),
    [
        ("", Decision.DENY),
        ('@step_up_required("admin")', Decision.STEP_UP),
        ('@step_up_required("role=owner,timeout_seconds=3600")', Decision.STEP_UP),
        ('@redaction_strategy("mask")', Decision.MODIFY),
        ('@redaction_strategy("")', Decision.DENY),
        ("@defer_on_conflict", Decision.DENY),
        ('@mode("monitor")', Decision.ALLOW),
        ('@mode("alert")', Decision.ALLOW),
    ],
)
def test_a_forbid_asks_for_what_its_annotations_say(tmp_path: Path, annotation: str, decision: Decision) -> None:
    outcome = decided(
        tmp_path, PERMIT + forbid("own.soft", annotation, '@tags("category:own, a")', '@name("Soft")')
    )
    assert outcome.decision is decision
    assert outcome.errors == ()
    shown = next(policy for policy in outcome.policies if policy.rule_id == "own.soft")
    assert shown.tags == ("category:own", "a")
    assert shown.policy_name == "Soft"
    assert shown.policy_id == "own.cedar"
    assert shown.mode == (annotation[7:-2] if "mode" in annotation else "enforce")
    assert outcome.redaction == ("mask" if decision is Decision.MODIFY else "")
    assert outcome.reason == (None if decision is Decision.ALLOW else "Soft")


@pytest.mark.parametrize(
    "annotation", ['@step_up_required("self")', '@redaction_strategy("redact")', '@mode("monitor")']
)
def test_what_nothing_permits_is_denied_however_soft_the_forbid(tmp_path: Path, annotation: str) -> None:
    outcome = decided(tmp_path, forbid("own.soft", annotation))
    assert outcome.decision is Decision.DENY
    assert outcome.reason == "No policy permits this"


def test_the_strongest_that_matched_wins(tmp_path: Path) -> None:
    step_up = forbid("own.step-up", '@step_up_required("admin")')
    modify = forbid("own.modify", '@redaction_strategy("redact")', '@severity("critical")')
    text = PERMIT + modify + step_up + forbid("own.watch", '@mode("monitor")', '@severity("critical")')
    outcome = decided(tmp_path, text)
    assert outcome.decision is Decision.STEP_UP
    assert [policy.rule_id for policy in outcome.policies] == ["own.step-up", "own.modify", "own.watch"]
    assert outcome.policies[0].annotations["step_up_required"] == "admin"
    denied = decided(tmp_path, text + forbid("own.hard"))
    assert denied.decision is Decision.DENY
    assert denied.policies[0].rule_id == "own.hard"


def test_approvals_by_different_roles_deny(tmp_path: Path) -> None:
    admin = forbid("own.admin", '@step_up_required("admin")')
    same = forbid("own.same", '@step_up_required("customer_admin")') + forbid(
        "own.self", '@step_up_required("self")'
    )
    assert decided(tmp_path, PERMIT + admin + same).decision is Decision.STEP_UP
    outcome = decided(tmp_path, PERMIT + admin + forbid("own.owner", '@step_up_required("owner")'))
    assert outcome.decision is Decision.DENY
    assert "different roles" in str(outcome.reason)


def test_a_permit_may_want_an_approval_too(tmp_path: Path) -> None:
    outcome = decided(tmp_path, PERMIT + permit("own.approved", '@step_up_required("admin")'))
    assert outcome.decision is Decision.STEP_UP
    assert [policy.rule_id for policy in outcome.policies] == ["own.approved"]
    assert decided(tmp_path, PERMIT + permit("own.approved", '@step_up_required("admin")'), {}).decision == "allow"


def test_a_permit_to_be_used_once_is_denied_where_nobody_counts(tmp_path: Path) -> None:
    outcome = decided(tmp_path, PERMIT + permit("own.once", "@single_use"))
    assert outcome.decision is Decision.DENY
    assert "own.once" in str(outcome.reason)


@pytest.mark.parametrize(("score", "decision"), [(84, "defer"), (85, "deny"), (60, "allow")])
def test_a_score_that_is_not_high_enough_defers(tmp_path: Path, score: int, decision: str) -> None:
    when = "when { context has injection_score && context.injection_score > 60 };"
    head = 'forbid (principal, action == Guardrails::Action::"call_tool", resource)'
    text = f'@id("own.grey") @defer_below_confidence("0.85") {head} {when}'
    outcome = decided(tmp_path, PERMIT + text, {"injection_score": score})
    assert outcome.decision == decision
    if decision == "defer":
        assert "own.grey" in str(outcome.reason)


@pytest.mark.parametrize(
    ("facts", "decision"),
    [
        ({}, "defer"),
        ({"session_max_sensitivity": ""}, "defer"),
        ({"session_max_sensitivity": "internal"}, "allow"),
        ({"session_max_sensitivity": "secret"}, "deny"),
        ({"agent_framework": "y"}, "deny"),
    ],
)
def test_what_is_not_known_yet_defers(tmp_path: Path, facts: dict[str, Any], decision: str) -> None:
    wants = (
        '@id("own.wants") @defer_until_context("session_max_sensitivity")\n'
        "forbid (principal is Guardrails::User, action, resource) when "
        '{ context has session_max_sensitivity && context.session_max_sensitivity == "secret" };\n'
    )
    text = PERMIT + wants + forbid("own.hard", when=STAMPS % "y")
    assert decided(tmp_path, text, facts).decision == decision
    # The policy that wants to know is about users, so an agent's call does not wait for it.
    if not facts:
        assert decided(tmp_path, text, {"agent_id": "b"}).decision == "allow"


@pytest.mark.parametrize(
    "written",
    [
        '@mode("shadow") forbid',
        '@mode("monitor") permit',
        '@redaction_strategy("blur") forbid',
        '@redaction_strategy("mask") permit',
        "@single_use forbid",
        "@step_up_required forbid",
        '@step_up_required("boss") forbid',
        '@step_up_required("Admin") forbid',
        '@step_up_required("role=admin,timeout_seconds=5") forbid',
        '@step_up_required("role=admin,timeout_seconds=99999999999999999999") forbid',
        '@step_up_required("role=admin,tiemout_seconds=600") forbid',
        '@step_up_required("timeout_seconds=600") forbid',
        '@defer_below_confidence("85") forbid',
        '@defer_below_confidence("1.5") forbid',
        '@defer_below_confidence("nan") forbid',
        "@defer_until_context forbid",
        '@defer_until_context("a.b c") forbid',
    ],
)
def test_an_annotation_that_would_not_do_what_it_says_is_an_error_with_its_place(
    tmp_path: Path, written: str
) -> None:
    file = tmp_path / "own.cedar"
    file.write_text(PERMIT + f"\n{written} (principal, action, resource);", "utf-8")
    with pytest.raises(ConfigError, match=r"own\.cedar:4: @"):
        PolicySet.from_files(file)


def test_the_scope_of_a_policy_reaches_whom_it_names(tmp_path: Path) -> None:
    file = tmp_path / "own.cedar"
    project = 'forbid (principal, action, resource in Guardrails::Project::"p1");'
    user = 'forbid (principal == Guardrails::User::"eve", action, resource);'
    app = 'forbid (principal, action, resource == Guardrails::App::"a9");'
    file.write_text(PERMIT + project + user + app, "utf-8")
    rules = PolicySet.from_files(file)
    assert [covered.policy for covered in rules.coverage()] == [
        "own.permit",
        *(f"own.cedar#{n}" for n in (2, 3, 4)),
    ]
    decide = lambda action, **ids: rules.decide({}, action=action, subject=Subject(**ids)).decision  # noqa: E731
    assert decide("process_prompt", app_id="a1", project_id="p1", session_id="s") is Decision.DENY
    assert decide("call_tool", app_id="a1", project_id="p1") is Decision.DENY
    assert decide("call_tool", agent_id="g", project_id="p1", account_id="x") is Decision.DENY
    assert decide("process_prompt", app_id="a1", project_id="p2", session_id="s") is Decision.ALLOW
    assert decide("process_prompt", user_id="eve") is Decision.DENY
    assert decide("process_prompt", user_id="eve", agent_id="g") is Decision.ALLOW
    assert decide("process_prompt", app_id="a9") is Decision.DENY
