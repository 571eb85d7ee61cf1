"""What an HTTP caller is told: one status and code for every error of the tree, in OpenAI's shape."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from highflame_middleware import errors
from highflame_middleware.denial import deny
from highflame_middleware.types import Decision, GuardResponse, Stage

DECISIONS = {
    Decision.DENY: (403, "blocked_deny"),
    Decision.MODIFY: (403, "blocked_modify"),
    Decision.STEP_UP: (401, "blocked_step_up"),
    Decision.DEFER: (425, "blocked_defer"),
}
FAULTS = {
    "GuardError": (503, "guard_unavailable"),
    "GuardTimeoutError": (503, "guard_unavailable"),
    "UnreadableError": (400, "unreadable"),
    "UpstreamTimeoutError": (504, "upstream_timeout"),
    "UpstreamError": (502, "upstream_failed"),
    "UnsupportedError": (501, "unsupported_format"),
    "GatewayError": (404, "no_provider"),
    "UnprovenError": (503, "unproven"),
    "ConfigError": (500, "fault"),
    "MissingExtraError": (500, "fault"),
    "HighflameError": (500, "fault"),
}


def blocked(decision: Decision, reason: str | None = "a card number") -> errors.BlockedError:
    return errors.BlockedError(GuardResponse(decision=decision, policy_reason=reason), Stage.PROMPT)


def test_the_tables_are_complete() -> None:
    assert set(FAULTS) | {"BlockedError"} == {
        name for name in errors.__all__ if inspect.isclass(getattr(errors, name))
    }
    assert set(DECISIONS) == set(Decision) - {Decision.ALLOW}


@pytest.mark.parametrize("decision", DECISIONS)
def test_each_decision(decision: Decision) -> None:
    denial = deny(blocked(decision))
    headers, error = dict(denial.headers), json.loads(denial.body)["error"]
    assert (denial.status, error["code"]) == DECISIONS[decision]
    assert error == {"message": error["message"], "type": "highflame_error", "param": None, "code": error["code"]}
    assert error["message"].endswith("a card number")
    assert headers["x-highflame-policy-decision"] == decision.value
    asked = 'Bearer error="insufficient_user_authentication", acr_values="urn:highflame:aarm:step_up"'
    assert headers.get("www-authenticate") == (asked if decision is Decision.STEP_UP else None)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault(name: str) -> None:
    denial = deny(getattr(errors, name)("what is wrong"))
    error = json.loads(denial.body)["error"]
    assert (denial.status, error["code"]) == FAULTS[name]
    assert error["message"] == "what is wrong"
    assert "x-highflame-policy-decision" not in dict(denial.headers)


@pytest.mark.parametrize("reason", ["x", "ünï €", "\ud800 alone", "a\r\nb: c", "", 'quo"te'])
def test_headers_describe_the_body_and_hold_nothing_of_the_reason(reason: str) -> None:
    denial = deny(blocked(Decision.DENY, reason))
    headers = dict(denial.headers)
    assert headers["content-length"] == str(len(denial.body))
    assert headers["content-type"] == "application/json"
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert (reason or "no reason") in json.loads(denial.body)["error"]["message"]


def test_the_door_may_know_better() -> None:
    denial = deny(errors.UnreadableError("too long"), status=413, code="too_large")
    assert (denial.status, json.loads(denial.body)["error"]["code"]) == (413, "too_large")


def test_a_derived_error_is_told_like_what_it_derives_from() -> None:
    class Mine(errors.UpstreamTimeoutError):
        pass

    found: Any = deny(Mine("x"))
    assert found.status == 504
