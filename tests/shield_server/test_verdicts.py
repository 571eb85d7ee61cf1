"""What Shield answers: every decision under every mode, what is told beside it, and whose rules it comes from."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from highflame_middleware import EmbeddedGuard
from highflame_middleware.engine.ruleset import BuiltInRules
from highflame_middleware.shield_server import Key, ShieldApp
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Mode
from tests.shield_server.kit import ASKED, BEARER, INJECTION, KEY, SECRET, Says, asking

ALLOW = GuardResponse(decision=Decision.ALLOW)

_MODIFY = GuardResponse(decision=Decision.MODIFY, redacted_content="H[...]")
_TABLE = [
    # decision, mode: status, decision, actual, overridden, alerted, redacted
    ("allow", "enforce", 200, "allow", "allow", False, False, False),
    ("allow", "alert", 200, "allow", "allow", False, False, False),
    ("deny", "enforce", 200, "deny", "deny", False, False, False),
    ("deny", "monitor", 200, "allow", "deny", True, False, False),
    ("deny", "alert", 200, "allow", "deny", True, True, False),
    ("deny", "modify", 200, "allow", "deny", True, False, False),
    ("modify", "enforce", 200, "modify", "modify", False, False, True),
    ("modify", "monitor", 200, "allow", "modify", True, False, False),
    ("modify", "alert", 200, "allow", "modify", True, True, False),
    ("modify", "modify", 200, "modify", "modify", False, False, True),
    ("step_up", "enforce", 401, "step_up", "step_up", False, False, False),
    ("step_up", "monitor", 200, "allow", "step_up", True, False, False),
    ("step_up", "modify", 200, "allow", "step_up", True, False, False),
    ("defer", "enforce", 425, "defer", "defer", False, False, False),
    ("defer", "alert", 200, "allow", "defer", True, True, False),
]


@pytest.mark.parametrize("row", _TABLE, ids=lambda row: f"{row[0]}-{row[1]}")
@pytest.mark.parametrize("default", [False, True])
async def test_every_decision_under_every_mode(row: tuple[Any, ...], default: bool) -> None:
    decided, mode, status, decision, actual, overridden, alerted, redacted = row
    verdict = _MODIFY if decided == "modify" else GuardResponse(decision=Decision(decided))
    app = ShieldApp(guard=Says(verdict), mode=mode if default else "enforce")
    async with asking(app) as client:
        answer = await client.post("/v1/shield/guard", json=ASKED if default else {**ASKED, "mode": mode})
        stream = await client.post("/v1/shield/guard/stream", json=ASKED if default else {**ASKED, "mode": mode})
    assert answer.status_code == status
    streamed = json.loads(stream.text.rpartition("data: ")[2])["data"]
    for body in (answer.json(), streamed):
        assert (body["decision"], body["actual_decision"], body["effective_mode"]) == (decision, actual, mode)
        assert (body.get("mode_overridden", False), body.get("alerted", False)) == (overridden, alerted)
        assert ("mode_reason" in body) is overridden
        assert body.get("redacted_content") == ("H[...]" if redacted else None)
        assert (body["signals"], isinstance(body["latency_ms"], int)) == ([], True)
        assert body["request_id"]
        assert body["timestamp"]


async def test_a_modify_that_cannot_be_applied_is_a_deny() -> None:
    async with asking(
        ShieldApp(guard=Says(GuardResponse(decision=Decision.MODIFY, policy_reason="Cards")))
    ) as client:
        answer = (await client.post("/v1/shield/guard", json=ASKED)).json()
        assert (answer["decision"], answer["actual_decision"]) == ("deny", "modify")
        assert answer["policy_reason"] == "Cards; what was to be taken out cannot be: the text is stopped"


async def test_arguments_stay_json() -> None:
    broken = GuardResponse(decision=Decision.MODIFY, redacted_content='{"a": ')
    asked = {"content": '{"a": 1}', "content_type": "tool_call", "action": "call_tool"}
    async with asking(ShieldApp(guard=Says(broken))) as client:
        assert (await client.post("/v1/shield/guard", json=asked)).json()["decision"] == "deny"


async def test_policies_that_only_watch_are_told() -> None:
    from highflame_middleware.types import DeterminingPolicy

    watching = DeterminingPolicy(rule_id="new-rule", mode="alert", effect="forbid")
    verdict = GuardResponse(decision=Decision.ALLOW, determining_policies=(watching,))
    async with asking(ShieldApp(guard=Says(verdict))) as client:
        answer = (await client.post("/v1/shield/guard", json=ASKED)).json()
    assert (answer["decision"], answer["actual_decision"], answer["effective_mode"]) == ("allow", "deny", "alert")
    assert (answer["alerted"], answer["mode_reason"]) == (True, "new-rule has the mode alert")


async def test_an_alert_is_told_beside_a_stronger_word() -> None:
    from highflame_middleware.types import DeterminingPolicy

    policies = (
        DeterminingPolicy(rule_id="stops", mode="enforce", effect="forbid"),
        DeterminingPolicy(rule_id="new-rule", mode="alert", effect="forbid"),
    )
    guard = Says(GuardResponse(decision=Decision.DENY, determining_policies=policies))
    async with asking(ShieldApp(guard=guard)) as client:
        for mode, overridden in (("enforce", False), ("monitor", True)):
            answer = (await client.post("/v1/shield/guard", json={**ASKED, "mode": mode})).json()
            assert (answer["actual_decision"], answer["alerted"]) == ("deny", True)
            assert answer.get("mode_overridden", False) is overridden


async def test_what_a_session_has_become_is_told() -> None:
    from highflame_middleware.types import SessionDelta

    delta = SessionDelta(turn_count=3, cumulative_risk=12.5, max_sensitivity="internal")
    async with asking(ShieldApp(guard=Says(GuardResponse(decision=Decision.ALLOW, session_delta=delta)))) as client:
        answer = (await client.post("/v1/shield/guard", json={**ASKED, "session_id": "s"})).json()
    assert answer["session_delta"] == {"turn_count": 3, "cumulative_risk": 12.5, "max_sensitivity": "internal"}


async def test_originals_are_told_where_that_is_wanted() -> None:
    async with asking(ShieldApp(originals=True)) as client:
        answer = (await client.post("/v1/shield/guard", json={**ASKED, "content": f"é {SECRET}"})).json()
    entry = answer["redaction_entries"][0]
    assert (entry["start_pos"], entry["end_pos"], entry["original"]) == (3, 3 + len(SECRET), SECRET)


async def test_conditions_are_explained() -> None:
    async with asking(ShieldApp()) as client:
        asked = {**ASKED, "content": INJECTION, "explain": True}
        explained = (await client.post("/v1/shield/guard", json=asked)).json()
        shown = (await client.get("/v1/shield/debug/policies")).json()
    told = explained["explanation"]["explanations"][0]
    assert (told["policy_id"], told["effect"]) == ("security.injection", "forbid")
    condition = told["condition_results"][0]
    assert (condition["field"], condition["operator"], condition["expected"]) == ("injection_score", ">=", 86)
    assert condition["matched"]
    assert condition["actual"] >= 86
    assert explained["root_causes"][0]["triggered_policies"] == ["security.injection"]
    assert explained["explanation"]["unmatched_policies"] == []
    assert "security.injection" in shown["policies"][0]["rule_ids"]


async def test_detectors_that_are_not_here_are_named() -> None:
    async with asking(ShieldApp()) as client:
        asked = {**ASKED, "content": INJECTION, "detectors": ["injection", "pii_model"]}
        answer = (await client.post("/v1/shield/guard", json=asked)).json()
    assert answer["decision"] == "deny"
    assert answer["eval_errors"] == "not run, for they are not here: pii_model"


async def test_a_guard_of_ones_own_may_know_any_detector() -> None:
    guard = Says(GuardResponse(decision=Decision.ALLOW, context={"mood": "calm", "mood_score": 3}))
    async with asking(ShieldApp(guard=guard)) as client:
        asked = {**ASKED, "detectors": ["mood"], "optimize": True, "debug": True}
        answer = (await client.post("/v1/shield/guard", json=asked)).json()
        found = (await client.post("/v1/shield/detect", json={**ASKED, "detectors": ["mood"]})).json()
        shown = (await client.get("/v1/shield/debug/policies")).json()
    assert guard.asked[0].detectors == ("mood",)
    assert "eval_errors" not in answer
    assert answer["optimization"]["fallback_to_all"] is True
    assert found["context"] == answer["detectors"][0]["context"] == {"mood": "calm", "mood_score": 3}
    assert (shown["has_policies"], shown["policies"]) == (False, [])


async def test_rules_and_options_of_ones_own() -> None:
    async with asking(ShieldApp(rules=BuiltInRules(without=["security"]))) as client:
        answer = (await client.post("/v1/shield/guard", json={**ASKED, "content": INJECTION})).json()
        assert answer["decision"] == "allow"
    async with asking(ShieldApp(guard=EmbeddedGuard(redact=["email"]))) as client:
        answer = (await client.post("/v1/shield/guard", json={**ASKED, "content": "ada@example.com"})).json()
        assert answer["redacted_content"] == "[REDACTED:email]"


async def test_policies_in_cedar() -> None:
    pytest.importorskip("cedarpy", reason="the extra policy is not installed")
    from highflame_middleware.policies import PolicySet

    async with asking(ShieldApp(rules=PolicySet.default())) as client:
        asked = {**ASKED, "content": SECRET, "explain": True, "optimize": True}
        answer = (await client.post("/v1/shield/guard", json=asked)).json()
        shown = (await client.get("/v1/shield/debug/policies")).json()
    assert answer["decision"] == "deny"  # where the built-in rules would have taken it out
    ids = {policy["rule_id"] for policy in answer["determining_policies"]}
    assert ids
    assert ids <= {id_ for policy in shown["policies"] for id_ in policy["rule_ids"]}
    assert answer["explanation"]["unmatched_policies"] == []
    assert "secrets_detected" in answer["optimization"]["required_context_keys"]


def test_every_detector_of_the_engine_is_described() -> None:
    from highflame_middleware.engine.readers.table import READERS
    from highflame_middleware.guard.protocol import bind
    from highflame_middleware.shield_server.detectors import _DETECTORS, Inventory

    assert set(READERS) <= set(_DETECTORS)
    inventory = Inventory(bind(EmbeddedGuard()), EmbeddedGuard())
    content = f"{INJECTION} {SECRET} 4111 1111 1111 1111 \u200b" + "\u2062" * 9
    asked = GuardRequest(content=content, session_id="s", mode=Mode.MODIFY)  # which reads to the end
    facts = EmbeddedGuard().evaluate(asked).context
    assert {inventory.owner(key) for key in facts} >= {"injection", "secrets", "pii", "security"}
    # What a text itself tells, and not what it is asked with, has somebody who found it.
    assert {key for key in facts if inventory.owner(key) == "request"} <= {"content_type", "direction", "role"}


async def test_an_action_of_ones_own() -> None:
    async with asking(ShieldApp(guard=Says(ALLOW), actions=["list"])) as client:
        assert (await client.post("/v1/shield/guard", json={**ASKED, "action": "list"})).status_code == 200


async def test_every_evaluation_leaves_a_record(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Any] = []
    with caplog.at_level(logging.DEBUG, "highflame_middleware.guard"):
        app = ShieldApp(keys=[Key(secret=KEY, name="agent")], on_decision=events.append)
        async with asking(app, headers=BEARER) as client:
            for mode in ("enforce", "monitor"):
                asked = {**ASKED, "content": f"{INJECTION} {SECRET}", "mode": mode, "session_id": "s"}
                await client.post("/v1/shield/guard", json=asked)
    assert [(event.decision, event.enforced, event.user) for event in events] == [
        ("deny", True, "agent"),
        ("deny", False, "agent"),
    ]
    assert len([record for record in caplog.records if record.name == "highflame_middleware.guard"]) == 2
    assert SECRET not in caplog.text
    assert KEY not in caplog.text


async def test_a_listener_that_raises_changes_nothing() -> None:
    def listen(event: Any) -> None:
        raise RuntimeError("listening is hard")

    async with asking(ShieldApp(on_decision=listen)) as client:
        assert (await client.post("/v1/shield/guard", json=ASKED)).json()["decision"] == "allow"
