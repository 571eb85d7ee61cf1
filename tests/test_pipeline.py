"""Guard ▸ route ▸ guard, recorded: one flow, stepped through every way that it can go, blocking and not."""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import Any

import pytest

from highflame_middleware.caller import CallContext
from highflame_middleware.codecs import load_codec
from highflame_middleware.drivers import aperform, perform
from highflame_middleware.errors import BlockedError, GuardError
from highflame_middleware.exchange import Exchange, Policy
from highflame_middleware.flow import arun, run
from highflame_middleware.guard.protocol import bind
from highflame_middleware.pipeline import audited, guarded, open_exchange, read_call
from highflame_middleware.testing import CapturedSpans, FakeGuard
from highflame_middleware.types import Decision, GuardResponse, Mode, Stage
from tests.exchanges import Record, decisions, exchange

BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "My card is 4111."}],
    "x_unknown": {"kept": True},
}


def owner_of(guard: Any, *, body: Any = BODY, **policy: Any) -> Exchange:
    codec = load_codec("openai-chat")
    return exchange(guard, body=body, texts=codec.read_call(body).texts, **policy)


class Provider:
    """What is invoked: keeps the body, and answers, raises, or refuses while its reply is read."""

    def __init__(
        self, owner: Exchange, *, reply: Any = "reply", refused: Any = None, reading: bool = False
    ) -> None:
        self._owner, self._reply, self._refused, self._reading = owner, reply, refused, reading
        self.bodies: list[Any] = []

    def __call__(self, body: Any) -> Any:
        self.bodies.append(body)
        self._owner.refused = self._refused
        self._owner.reading = self._reading
        if isinstance(self._reply, BaseException):
            raise self._reply
        return self._reply


def go(kind: str, owner: Exchange, provider: Provider) -> Any:
    if kind == "sync":
        return run(guarded(owner, provider), perform)

    async def invoke(body: Any) -> Any:
        await asyncio.sleep(0)
        return provider(body)

    async def main() -> Any:
        return await arun(guarded(owner, invoke), aperform)

    return asyncio.run(main())


def outcome(owner: Exchange) -> list[str]:
    assert isinstance(owner.recorder, Record)
    return [item if item == "end" else type(item).__name__ for item in owner.recorder.outcome]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_allowed_is_sent_as_it_is(kind: str) -> None:
    owner = owner_of(FakeGuard())
    provider = Provider(owner)
    assert go(kind, owner, provider) == "reply"
    assert provider.bodies[0] is BODY, "not even a copy"
    assert (outcome(owner), owner.returned) == (["end"], True)
    assert decisions(owner) == [("prompt", "allow", False)] * 2


def test_what_is_redacted_is_redacted_before_it_is_sent(kind: str) -> None:
    before = copy.deepcopy(BODY)
    owner = owner_of(FakeGuard(redact=["4111"]))
    provider = Provider(owner)
    go(kind, owner, provider)
    messages = [BODY["messages"][0], {"role": "user", "content": "My card is [redacted]."}]
    assert provider.bodies == [{**BODY, "messages": messages}]
    assert before == BODY, "the caller's own body is never changed"
    assert decisions(owner) == [("prompt", "allow", False), ("prompt", "modify", True)]


def test_what_is_denied_is_never_sent(kind: str) -> None:
    owner = owner_of(FakeGuard(deny=["4111"]))
    provider = Provider(owner)
    with pytest.raises(BlockedError):
        go(kind, owner, provider)
    assert (provider.bodies, outcome(owner), owner.returned) == ([], ["BlockedError"], False)


def test_of_several_verdicts_the_worst_is_raised(kind: str) -> None:
    owner = owner_of(FakeGuard(defer=["kind"], deny=["4111"]))
    with pytest.raises(BlockedError) as caught:
        go(kind, owner, Provider(owner))
    assert caught.value.decision is Decision.DENY
    assert decisions(owner) == [("prompt", "defer", True), ("prompt", "deny", True)]


@pytest.mark.parametrize("local", [True, False])
def test_without_a_verdict_nothing_is_sent(kind: str, local: bool) -> None:
    owner = owner_of(FakeGuard(fault=ValueError(), local=local))
    provider = Provider(owner)
    with pytest.raises(GuardError):
        go(kind, owner, provider)
    assert (provider.bodies, outcome(owner)) == ([], ["GuardError"])


@pytest.mark.parametrize(
    ("mode", "fail_open"), [("enforce", True), ("monitor", False), ("alert", False), ("modify", False)]
)
def test_elsewhere_it_is_sent_all_the_same(kind: str, mode: str, fail_open: bool) -> None:
    owner = owner_of(FakeGuard(fault=ValueError()), mode=mode, fail_open=fail_open)
    provider = Provider(owner)
    assert go(kind, owner, provider) == "reply"
    assert provider.bodies == [BODY]
    assert decisions(owner) == [("prompt", "error", False)] * 2


@pytest.mark.parametrize("guard", [FakeGuard(deny=["4111"]), FakeGuard(redact=["4111"]), None])
@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_who_only_looks_on_changes_nothing(kind: str, mode: str, guard: Any) -> None:
    owner = owner_of(guard, mode=mode)
    provider = Provider(owner)
    assert go(kind, owner, provider) == "reply"
    assert provider.bodies[0] is BODY
    assert [enforced for *_, enforced in decisions(owner)] == ([] if guard is None else [False, False])


def test_an_error_of_the_call_is_the_callers(kind: str) -> None:
    owner = owner_of(FakeGuard())
    with pytest.raises(ConnectionError):
        go(kind, owner, Provider(owner, reply=ConnectionError()))
    assert (outcome(owner), owner.returned) == (["ConnectionError"], False)


REFUSED = BlockedError(GuardResponse(decision=Decision.DENY), Stage.RESPONSE)


@pytest.mark.parametrize("reply", ["what stands in its place", ValueError("an SDK that stumbles over it")])
def test_a_reply_that_was_refused_on_the_way_is_raised(kind: str, reply: Any) -> None:
    owner = owner_of(FakeGuard())
    with pytest.raises(BlockedError) as caught:
        go(kind, owner, Provider(owner, reply=reply, refused=REFUSED))
    assert caught.value is REFUSED
    assert (outcome(owner), owner.returned) == (["BlockedError"], False)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_who_leaves_is_not_held(fault: BaseException) -> None:
    owner = owner_of(FakeGuard())
    with pytest.raises(type(fault)):
        go("sync", owner, Provider(owner, reply=fault))
    assert outcome(owner) == [type(fault).__name__]


def test_a_call_whose_reply_is_still_read_has_not_ended(kind: str) -> None:
    owner = owner_of(FakeGuard())
    go(kind, owner, Provider(owner, reading=True))
    assert (outcome(owner), owner.returned) == ([], True)
    owner.close()
    assert outcome(owner) == ["end"]


# ------------------------------------------------------------------------------------------------- reading a call


def test_a_call_is_read_by_its_codec() -> None:
    call = read_call(
        provider="openai",
        method="POST",
        path="/chat/completions",
        codec=load_codec("openai-chat"),
        body={**BODY, "stream": True},
        caller=CallContext(),
    )
    assert (call.model, call.stream, [text.value for text in call.texts]) == (
        "gpt-4o",
        True,
        ["Be kind.", "My card is 4111."],
    )


def test_the_url_says_the_model_before_the_body_does() -> None:
    call = read_call(
        provider="azure",
        method="POST",
        path="/x",
        codec=load_codec("openai-chat"),
        body=BODY,
        caller=CallContext(),
        model="deployed",
    )
    assert call.model == "deployed"


def test_without_a_codec_nothing_is_read() -> None:
    call = read_call(provider="openai", method="GET", path="/files", codec=None, body=BODY, caller=CallContext())
    assert (call.model, call.texts, call.codec, call.body) == (None, (), None, BODY)


# ------------------------------------------------------------------------------------------------- on record

CODEC = load_codec("openai-chat")
NAMES: dict[str, tuple[dict[str, Any], str]] = {
    "an operation and its model": ({"codec": CODEC, "body": BODY}, "chat gpt-4o"),
    "an operation alone": ({"codec": CODEC, "body": {}}, "chat"),
    "neither": ({"codec": None, "body": None, "method": "GET", "path": "/v1/files"}, "GET /v1/files"),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_call_is_called(name: str, highflame_spans: CapturedSpans) -> None:
    fields, expected = NAMES[name]
    given = {"provider": "openai", "method": "POST", "path": "/chat/completions", "caller": CallContext(), **fields}
    owner = open_exchange(read_call(**given), Policy(guard=None), server="api.openai.com", port=443)
    owner.recorder.end()
    (span,) = highflame_spans.finished
    assert span.name == expected
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("api.openai.com", 443)


POLICY = Policy(guard=bind(FakeGuard()), mode=Mode.ALERT, fail_open=True, deadline=0.5, stream="sentence")


def test_a_bypass_takes_the_guard_off_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "highflame_middleware.guard")
    policy = audited(POLICY, Record(), CallContext(bypass="last night's set"))
    assert (policy.guard, policy.mode, policy.fail_open) == (None, Mode.ALERT, True)
    assert caplog.messages == ["bypassed the guard for one call: last night's set"]


@pytest.mark.parametrize(
    ("policy", "caller"), [(POLICY, CallContext()), (Policy(guard=None), CallContext(bypass="nothing to bypass"))]
)
def test_elsewhere_the_policy_stays(policy: Policy, caller: CallContext, caplog: pytest.LogCaptureFixture) -> None:
    assert audited(policy, Record(), caller) is policy
    assert caplog.messages == []


def test_a_bypassed_call_asks_nobody(kind: str, highflame_spans: CapturedSpans) -> None:
    guard = FakeGuard(deny=["4111"])
    call = read_call(
        provider="openai", method="POST", path="/x", codec=CODEC, body=BODY, caller=CallContext(bypass="a test")
    )
    owner = open_exchange(call, Policy(guard=bind(guard)))
    assert go(kind, owner, Provider(owner)) == "reply"
    assert guard.requests == []
    (span,) = highflame_spans.finished
    assert span.attributes["highflame.guardrail.bypass"] == "a test"
