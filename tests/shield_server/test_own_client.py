"""Our own client, and the guard that asks Shield, against the engine served as Shield: both ends of one wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from highflame_middleware import AuthenticationError, EmbeddedGuard, GuardRequest, Highflame, Settings
from highflame_middleware.policy import guard_of
from highflame_middleware.shield_server import Key, PendingApproval, Price, ShieldApp
from highflame_middleware.testing import serve_on_thread
from highflame_middleware.types import Decision, GuardResponse, Mode, Stage
from tests.shield_server.kit import INJECTION, KEY, SECRET, Says, asking

TEXTS = [
    ("Hello", Stage.PROMPT),
    (INJECTION, Stage.PROMPT),
    (INJECTION, Stage.TOOL_RESULT),
    (f"clé 🔑 {SECRET} und 4111 1111 1111 1111", Stage.RESPONSE),
    ('{"cmd": "rm -rf / --no-preserve-root"}', Stage.TOOL_CALL),
    (f"half \ud800 {SECRET}", Stage.PROMPT),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = ShieldApp(
        keys=[Key(secret=KEY, account_id="acme", project_id="one")],
        prices={"m": Price(input=1.0, output=2.0)},
    )
    with serve_on_thread(app) as served:
        yield served


def _client(url: str, **options: Any) -> Highflame:
    return Highflame(KEY, base_url=url, token_url=f"{url}/oauth2/token", **options)


def test_every_resource(url: str) -> None:
    with _client(url) as client:
        assert client.guard.evaluate_prompt("Hello").allowed
        assert client.guard.evaluate_tool_call("search", {"query": "x"}).allowed
        events = list(client.guard.stream(content=INJECTION, content_type="prompt", action="process_prompt"))
        assert events[-1].type == "decision"
        found = client.detect.run(content=INJECTION, content_type="prompt")
        assert found.context["injection_score"] >= 86
        assert "injection" in {detector.name for detector in client.detectors.list()}
        assert client.debug.policies().has_policies
        assert client.usage.report(model="m", input_tokens=2, output_tokens=1, usage_id="u").cost_micros == 4


async def test_every_resource_asynchronously(url: str) -> None:
    async with _client(url) as client:
        assert (await client.guard.aevaluate_prompt(INJECTION)).denied
        assert (await client.detectors.alist())[0].name
        assert (await client.debug.apolicies()).has_policies


@pytest.mark.parametrize(
    ("text", "stage"), TEXTS, ids=lambda value: str(value)[:12].encode("ascii", "replace").decode()
)
@pytest.mark.parametrize("mode", list(Mode))
def test_the_guard_over_the_network_says_what_the_engine_says(
    url: str, text: str, stage: Stage, mode: Mode
) -> None:
    settings = Settings(guard="shield", api_key=KEY, shield_url=url, token_url=f"{url}/oauth2/token", deadline=5)
    request = GuardRequest.at(stage, text, mode=mode)
    own = EmbeddedGuard().evaluate(request)
    if stage is Stage.TOOL_RESULT:
        # Over the network a tool's result is a response that has a tool.
        from highflame_middleware.types import ToolContext

        request = GuardRequest.at(stage, text, mode=mode, tool=ToolContext(name="fetch"))
    verdict = guard_of(settings).evaluate(request)
    assert (verdict.actual_decision or verdict.decision) is own.decision
    if mode.blocks:
        assert verdict.decision is own.decision
        assert verdict.redacted_content == (
            own.redacted_content and own.redacted_content.replace("\ud800", "\ufffd")
        )
        spans = [(entry.type, entry.start_pos, entry.end_pos) for entry in verdict.redaction_entries]
        assert spans == [(entry.type, entry.start_pos, entry.end_pos) for entry in own.redaction_entries]
        assert [signal.name for signal in verdict.signals] == [signal.name for signal in sorted_by_gravity(own)]


def sorted_by_gravity(verdict: GuardResponse) -> list[Any]:
    gravity = {"critical": 0, "high": 1, "medium": 2, "low": 3}
    return sorted(verdict.signals, key=lambda signal: (gravity[signal.severity], -signal.score))


def test_a_rejected_key_and_a_restarted_server() -> None:
    with serve_on_thread(ShieldApp(keys=[KEY])) as url:
        with Highflame("zid_sk_other", base_url=url, token_url=f"{url}/oauth2/token") as client:
            with pytest.raises(AuthenticationError):
                client.guard.evaluate_prompt("Hello")
    running: list[Any] = [ShieldApp(keys=[KEY])]

    async def current(scope: Any, receive: Any, send: Any) -> None:
        await running[-1](scope, receive, send)

    with serve_on_thread(current) as url, _client(url) as client:
        assert client.guard.evaluate_prompt("Hello").allowed
        running.append(ShieldApp(keys=[KEY]))  # which signs with another secret
        assert client.guard.evaluate_prompt("Hello").allowed


def test_a_step_up_from_end_to_end() -> None:
    told = threading.Event()
    waiting: list[PendingApproval] = []

    def notify(pending: PendingApproval) -> None:
        waiting.append(pending)
        told.set()

    guard = Says(GuardResponse(decision=Decision.STEP_UP))
    app = ShieldApp(guard=guard, keys=[KEY], on_step_up=notify, approval_interval=0.05)
    with serve_on_thread(app) as url, _client(url) as client:
        verdict = client.guard.evaluate_tool_call("pay", {"to": "acme"})
        assert (verdict.decision, verdict.suspended) == (Decision.STEP_UP, True)
        assert told.wait(5)
        assert app.approvals.settle(waiting[0].auth_req_id, approved=True)
        token = client.guard.await_step_up(verdict, timeout=5)
        with Highflame(access_token=token, base_url=url) as upgraded:
            assert upgraded.guard.evaluate_tool_call("pay", {"to": "acme"}).decision is Decision.ALLOW
            assert upgraded.guard.evaluate_tool_call("pay", {"to": "acme"}).decision is Decision.STEP_UP
        again = client.guard.evaluate_tool_call("pay", {"to": "other"})
        assert app.approvals.settle(waiting[-1].auth_req_id, approved=True)
        token = client.guard.await_step_up(again, timeout=5)
        assert client.guard.evaluate_tool_call("pay", {"to": "other"}, token=token).decision is Decision.ALLOW
        again = client.guard.evaluate_tool_call("pay", {"to": "other"})
        assert app.approvals.settle(waiting[-1].auth_req_id, approved=False)
        with pytest.raises(AuthenticationError, match="was refused"):
            client.guard.await_step_up(again, timeout=5)


async def test_a_deferred_call() -> None:
    with serve_on_thread(ShieldApp(guard=Says(GuardResponse(decision=Decision.DEFER)))) as url:
        async with _client(url) as client:
            verdict = await client.guard.aevaluate_prompt("Hello")
            assert (verdict.decision, verdict.allowed) == (Decision.DEFER, False)


async def test_shield_in_front_of_shield() -> None:
    with serve_on_thread(ShieldApp(keys=[KEY])) as url:
        settings = Settings(
            guard="shield", api_key=KEY, shield_url=url, token_url=f"{url}/oauth2/token", deadline=5
        )
        async with asking(ShieldApp(guard=guard_of(settings), deadline=5)) as client:
            asked = {"content": f"{INJECTION}", "content_type": "prompt", "action": "process_prompt"}
            for mode, decision in (("enforce", "deny"), ("monitor", "allow")):
                answer = (await client.post("/v1/shield/guard", json={**asked, "mode": mode})).json()
                assert (answer["decision"], answer["actual_decision"]) == (decision, "deny")
