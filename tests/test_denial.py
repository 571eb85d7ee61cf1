"""What an HTTP caller is told: one status and code for every error of the tree, in the shape of its own API."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from highflame_middleware import errors
from highflame_middleware.denial import SHAPES, deny
from highflame_middleware.evidence import Challenge
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
    "APIConnectionError": (503, "guard_unavailable"),
    "InvalidResponseError": (503, "guard_unavailable"),
    "APIError": (503, "guard_unavailable"),
    "AuthenticationError": (503, "guard_unavailable"),
    "RateLimitError": (503, "guard_unavailable"),
    "IdentityError": (401, "identity_error"),
    "TokenError": (401, "invalid_token"),
    "RevokedError": (401, "token_revoked"),
    "InsufficientError": (403, "insufficient_scope"),
    "IdentityUnavailableError": (503, "network_error"),
    "QuotaError": (429, "too_many_requests"),
    "UnreadableError": (400, "unreadable"),
    "UpstreamTimeoutError": (504, "upstream_timeout"),
    "UpstreamError": (502, "upstream_failed"),
    "UnsupportedError": (501, "unsupported_format"),
    "GatewayError": (404, "no_provider"),
    "UnprovenError": (503, "unproven"),
    "ConfigError": (500, "fault"),
    "MissingExtraError": (500, "fault"),
    "InvalidRequestError": (500, "fault"),
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


SAID = {
    "openai": ("application/json", lambda body: body["error"]["message"]),
    "anthropic": ("application/json", lambda body: body["error"]["message"]),
    "gemini": ("application/json", lambda body: body["error"]["message"]),
    "problem": ("application/problem+json", lambda body: body["detail"]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", [None, 413, 429, 503])
def test_every_shape_says_the_same(shape: str, status: int | None) -> None:
    denial = deny(errors.UnreadableError("it is 'so' — and <so>"), status=status, shape=shape)
    kind, said = SAID[shape]
    headers, body = dict(denial.headers), json.loads(denial.body)
    assert denial.status == (status or 400)
    assert (headers["content-type"], headers["content-length"]) == (kind, str(len(denial.body)))
    assert said(body) == "it is 'so' — and <so>"


def test_each_maker_finds_its_own_words() -> None:
    anthropic = json.loads(deny(blocked(Decision.DENY), shape="anthropic").body)
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "permission_error")
    gemini = json.loads(deny(blocked(Decision.STEP_UP), shape="gemini").body)["error"]
    assert (gemini["code"], gemini["status"]) == (401, "UNAUTHENTICATED")
    assert gemini["details"][0]["reason"] == "BLOCKED_STEP_UP"
    problem = json.loads(deny(blocked(Decision.DEFER), shape="problem").body)
    assert (problem["status"], problem["title"]) == (425, "Too Early")
    assert problem["type"] == "urn:highflame:problem:blocked_defer"


def test_when_to_come_back() -> None:
    def wait(error: errors.HighflameError) -> str | None:
        return dict(deny(error).headers).get("retry-after")

    assert wait(blocked(Decision.DEFER)) == "5"
    challenge = Challenge(interval=12.2, www_authenticate='Bearer acr_values="x"')
    asked = errors.BlockedError(GuardResponse(decision=Decision.DEFER, challenge=challenge), Stage.PROMPT)
    assert wait(asked) == "13"
    assert wait(errors.QuotaError(retry_after=0.2)) == "1"
    assert wait(errors.QuotaError(retry_after=1e9)) == "3600"
    assert wait(blocked(Decision.DENY)) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [('Bearer acr_values="x"', True), ("Bearer\r\nset-cookie: a", False), ("é", False), ("", False)],
)
def test_a_guards_own_challenge_is_told_where_a_header_can_carry_it(given: str, told: bool) -> None:
    response = GuardResponse(decision=Decision.STEP_UP, challenge=Challenge(www_authenticate=given))
    headers = dict(deny(errors.BlockedError(response, Stage.PROMPT)).headers)
    assert (headers["www-authenticate"] == given) is told
    assert headers["www-authenticate"].startswith("Bearer ")


def test_a_doors_own_headers_stand_in_the_place_of_ours() -> None:
    given = [("www-authenticate", "DPoP"), ("content-length", "1"), ("content-type", "text/html")]
    denial = deny(blocked(Decision.STEP_UP), headers=given)
    names = [name for name, _ in denial.headers]
    assert len(names) == len(set(names))
    headers = dict(denial.headers)
    assert (headers["www-authenticate"], headers["content-type"]) == ("DPoP", "application/json")
    assert headers["content-length"] == str(len(denial.body))
