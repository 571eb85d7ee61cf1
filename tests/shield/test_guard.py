"""``guard="shield"``: Shield behind every door, within the deadline, and the documented branch for each fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from highflame_middleware import (
    BlockedError,
    Decision,
    DecisionEvent,
    GuardError,
    GuardRequest,
    HighflameError,
    Mode,
    Settings,
    Stage,
    instrument,
)
from highflame_middleware.cli import main
from highflame_middleware.policy import policy_of
from highflame_middleware.shield.guard import ShieldGuard
from tests.servers import Answer, Server, json_answer
from tests.shield.kit import ALLOW, KEY, ScriptedShield, html, problem, slow

SAID = "my card is 4111 1111 1111 1111"


def settings_for(there: ScriptedShield, **changes: Any) -> Settings:
    given = {
        "guard": "shield",
        "api_key": KEY,
        "shield_url": there.url,
        "token_url": there.token_url,
        "account_id": "acc-1",
        "project_id": "pro-1",
        "deadline": 1.0,
        "reroute_hosts": ("*",),
        **changes,
    }
    return Settings(**given)


def blocking(url: str) -> Any:
    with httpx.Client() as client:
        return client.post(f"{url}/v1/chat/completions", json=body(), timeout=10)


def asynchronous(url: str) -> Any:
    async def ask() -> Any:
        async with httpx.AsyncClient() as client:
            return await client.post(f"{url}/v1/chat/completions", json=body(), timeout=10)

    return asyncio.run(ask())


def body() -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": SAID}]}


BOTH = pytest.mark.parametrize("ask", [blocking, asynchronous], ids=lambda ask: ask.__name__)

# What Shield does; what is left of the call in enforce, with fail_open: it goes through, or this is raised.
FAULTS: dict[str, tuple[Any, Any, type[HighflameError] | None]] = {
    "down": (None, None, None),
    "slow": (slow(0.6, json_answer(ALLOW)), None, None),
    "hanging": (lambda seen: Answer(200, hang=True), None, None),
    "500": (problem(500), None, None),
    "a page": (html(200), None, None),
    "a garbage verdict": (json_answer({"verdict": "fine"}), None, None),
    "429": (problem(429), None, None),
    "no token endpoint": (json_answer(ALLOW), html(503), None),
    "401 twice": (problem(401), None, GuardError),
    "422": (problem(422), None, GuardError),
    "403": (problem(403), None, GuardError),
    "a rejected key": (json_answer(ALLOW), json_answer({"error": "invalid_grant"}, 400), GuardError),
}


# Modes that only report are alike; one fault of each kind shows that the third and fourth are too.
_SHORT = {"down", "hanging", "a garbage verdict", "422"}
CASES = [(fault, mode) for fault in FAULTS for mode in Mode if mode in ("enforce", "monitor") or fault in _SHORT]


@BOTH
@pytest.mark.parametrize(("fault", "mode"), CASES)
def test_each_fault_takes_its_branch(
    there: ScriptedShield, provider: Server, fault: str, mode: Mode, ask: Callable[[str], Any]
) -> None:
    """Closed in enforce, or open for outages if that is set; within the deadline, and never in the other modes."""
    answer, token, surfaces = FAULTS[fault]
    changes: dict[str, Any] = {"deadline": 0.3 if fault in ("slow", "hanging") else 3.0}
    if answer is None:
        changes["shield_url"] = "http://127.0.0.1:9"
    else:
        there.answers = [answer]
    there.tokens = [token] if token is not None else []
    for fail_open in (False, True):
        events: list[DecisionEvent] = []
        settings = settings_for(there, mode=mode, fail_open=fail_open, on_decision=events.append, **changes)
        stops = mode is Mode.ENFORCE and (surfaces is not None or not fail_open)
        began = time.monotonic()
        with instrument(settings=settings):
            if stops:
                with pytest.raises(GuardError):
                    ask(provider.url)
            else:
                assert ask(provider.url).status_code == 200
        # Two evaluations at most: the prompt's and the reply's.
        assert time.monotonic() - began < 2 * changes["deadline"] + 2.0
        assert {event.decision for event in events} == {"error"}
        assert all(event.enforced is stops for event in events)
        assert all(SAID not in (event.reason or "") and KEY not in (event.reason or "") for event in events)
    assert len(provider.log) == (2 if mode is not Mode.ENFORCE else int(surfaces is None))


@BOTH
@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        (json_answer({**ALLOW, "decision": "deny", "policy_reason": "no"}), Decision.DENY),
        (json_answer({"decision": "step_up", "auth_req_id": "q"}, 401), Decision.STEP_UP),
        (problem(425, type="https://aarm.dev/defer/x"), Decision.DEFER),
        (json_answer({**ALLOW, "decision": "modify"}), Decision.MODIFY),
        (json_answer({**ALLOW, "decision": "of tomorrow"}), Decision.DENY),
    ],
)
def test_a_verdict_that_stops(
    there: ScriptedShield, provider: Server, answer: Any, decision: Decision, ask: Callable[[str], Any]
) -> None:
    there.answers = [answer]
    with instrument(settings=settings_for(there)), pytest.raises(BlockedError) as caught:
        ask(provider.url)
    assert caught.value.decision is decision
    assert provider.log == []
    if decision is Decision.STEP_UP:
        assert caught.value.response.challenge is not None
        assert caught.value.response.challenge.auth_req_id == "q"


@BOTH
def test_a_text_is_edited_in_characters(there: ScriptedShield, provider: Server, ask: Callable[[str], Any]) -> None:
    at = len(b"my card is ")
    entry = {"type": "card", "start_pos": at, "end_pos": at + 19, "replacement": "[CARD]", "original": ""}
    there.answers = [json_answer({"decision": "modify", "redaction_entries": [entry]}), json_answer(ALLOW)]
    with instrument(settings=settings_for(there)):
        ask(provider.url)
    (sent,) = provider.log
    assert sent.json["messages"][0]["content"] == "my card is [CARD]"
    asked = there.asked[0]
    assert (asked.json["content"], asked.json["mode"], asked.headers["x-account-id"]) == (SAID, "enforce", "acc-1")


@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_what_shield_would_have_said_is_on_record(there: ScriptedShield, provider: Server, mode: str) -> None:
    there.answers = [json_answer({**ALLOW, "actual_decision": "deny", "mode_overridden": True})]
    events: list[DecisionEvent] = []
    with instrument(settings=settings_for(there, mode=mode, on_decision=events.append)):
        assert blocking(provider.url).status_code == 200
    assert there.asked[0].json["mode"] == mode
    assert {(event.decision, event.enforced) for event in events} == {("deny", False)}


def test_a_policy_in_monitor_lets_pass_where_we_enforce(there: ScriptedShield) -> None:
    there.answers = [json_answer({**ALLOW, "actual_decision": "deny", "effective_mode": "monitor"})]
    with there.client() as client:
        assert ShieldGuard(client).evaluate(GuardRequest(content="x")).allowed


def test_told_to_redact_what_is_left_is_taken(there: ScriptedShield) -> None:
    there.answers = [json_answer({**ALLOW, "redacted_content": "my card is [CARD]"})]
    with there.client() as client:
        verdict = ShieldGuard(client).evaluate(GuardRequest(content=SAID, mode=Mode.MODIFY))
    assert (verdict.decision, verdict.redacted_content) == (Decision.MODIFY, "my card is [CARD]")


def test_empty_texts_are_not_asked_about_but_calls_are(there: ScriptedShield) -> None:
    with there.client() as client:
        guard = ShieldGuard(client)
        assert guard.evaluate(GuardRequest(content="")).allowed
        assert asyncio.run(guard.aevaluate(GuardRequest(content=""))).allowed
        assert there.asked == []
        guard.evaluate(GuardRequest.at(Stage.TOOL_CALL, ""))
    assert there.asked[0].json["content"] == "{}"


def test_the_policy_is_one_of_a_guard_that_may_wait(there: ScriptedShield) -> None:
    policy = policy_of(settings_for(there))
    assert policy.guard is not None
    assert (policy.guard.name, policy.guard.local, policy.guard.window) == ("shield", False, None)
    assert KEY not in repr(policy)


class TestDoctor:
    def test_it_reaches_shield(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        there.answers = [json_answer({"count": 2, "detectors": [{"name": "pii"}, {"name": "secrets"}]})]
        said = self.told(there, monkeypatch, capsys)
        assert f"shield      127.0.0.1:{there.server.port}: reachable, takes the key (2 detectors)" in said
        assert "read by nothing" not in said

    def test_it_says_why_not(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        there.answers = [problem(401)]
        said = self.told(there, monkeypatch, capsys)
        assert "Shield answered 401 Unauthorized: it does not take the key or token" in said
        assert KEY not in said

    def told(
        self, there: ScriptedShield, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> str:
        for name, value in {
            "GATEWAY": "none",
            "GUARD": "shield",
            "API_KEY": KEY,
            "BASE_URL": there.url,
            "TOKEN_URL": there.token_url,
            "PROJECT_ID": "p",
        }.items():
            monkeypatch.setenv(f"HIGHFLAME_{name}", value)
        monkeypatch.setattr("highflame_middleware.cli._prove_seams", list)
        main(["doctor"])
        return capsys.readouterr().out
