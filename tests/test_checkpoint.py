"""Checkpoints: what adapters have texts judged by, in both colours, whole and growing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from highflame_middleware import BlockedError, Decision, GuardError, GuardResponse, Settings, bypass, context
from highflame_middleware.activities import Activity
from highflame_middleware.checkpoint import Checkpoint, StepUp, digest_of, text_at
from highflame_middleware.sessions import Vault
from highflame_middleware.testing import CapturedSpans, FakeGuard
from highflame_middleware.types import Stage

COLOURS = ("judge", "ajudge")


def judge(checkpoint: Checkpoint, how: str, *values: str, stage: Stage = Stage.PROMPT, **about: Any) -> list[Any]:
    texts = [text_at(stage, value) for value in values]
    return checkpoint.judge(texts, **about) if how == "judge" else asyncio.run(checkpoint.ajudge(texts, **about))


def made(guard: Any, **options: Any) -> Checkpoint:
    return Checkpoint(guard=guard, gateway=None, **options)


@pytest.mark.parametrize("how", COLOURS)
def test_each_text_has_its_ruling(how: str) -> None:
    checkpoint = made(FakeGuard(deny=["bomb"], redact=["SECRET"]))
    passed, edited, stopped = judge(checkpoint, how, "fine", "a SECRET", "a bomb")
    assert (passed.error, passed.text) == (None, None)
    assert edited.text == "a [redacted]"
    assert isinstance(stopped.error, BlockedError)
    assert judge(made(None), how, "a bomb")[0].error is None


@pytest.mark.parametrize("how", COLOURS)
def test_once_is_once_for_each_caller_stage_and_text(how: str) -> None:
    guard = FakeGuard(redact=["SECRET"])
    checkpoint = made(guard)
    judge(checkpoint, how, "a", "b", once=True)
    judge(checkpoint, how, "a", "b", once=True)
    assert len(guard.requests) == 2
    judge(checkpoint, how, "a", once=True, stage=Stage.RESPONSE)
    with context(user="ada"):
        judge(checkpoint, how, "a", once=True)
    judge(checkpoint, how, "a")
    assert len(guard.requests) == 5
    judge(checkpoint, how, "a SECRET", once=True, sent=True)
    judge(checkpoint, how, "a [redacted]", once=True, sent=True)
    judge(checkpoint, how, "a SECRET", once=True, sent=True)
    assert [request.content for request in guard.requests[5:]] == ["a SECRET", "a SECRET"]


@pytest.mark.parametrize("how", COLOURS)
def test_what_was_stopped_or_bypassed_has_not_passed(how: str) -> None:
    guard = FakeGuard(deny=["bomb"])
    checkpoint = made(guard)
    with bypass("an evaluation"):
        assert judge(checkpoint, how, "a bomb", once=True)[0].error is None
    for _ in range(2):
        assert judge(checkpoint, how, "a bomb", once=True)[0].error is not None
    assert len(guard.requests) == 2


@pytest.mark.parametrize("fail_open", [False, True])
def test_an_outage(fail_open: bool) -> None:
    checkpoint = made(FakeGuard(fault=RuntimeError()), fail_open=fail_open)
    (ruling,) = judge(checkpoint, "judge", "a")
    assert isinstance(ruling.error, GuardError) is not fail_open


def test_what_an_outage_let_pass_is_asked_about_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = FakeGuard(fault=RuntimeError())
    checkpoint = made(guard, fail_open=True)
    now = [1000.0]
    monkeypatch.setattr("highflame_middleware.checkpoint.monotonic", lambda: now[0])
    for later in (0, 1, 60):
        now[0] = 1000.0 + later
        judge(checkpoint, "judge", "a", once=True)
    assert len(guard.requests) == 2


def test_a_reply_that_a_vault_gave_back_is_judged_again_where_a_model_is_to_read_it() -> None:
    from highflame_middleware import EmbeddedGuard

    checkpoint = made(EmbeddedGuard(vault=Vault(types=["pii"])))
    with context(session="s"):
        (sent,) = judge(checkpoint, "judge", "I am ada@example.org", once=True, sent=True)
        (shown,) = judge(checkpoint, "judge", f"Hi: {sent.text}", stage=Stage.RESPONSE, once=True)
        assert shown.text == "Hi: I am ada@example.org"
        (again,) = judge(checkpoint, "judge", shown.text, stage=Stage.RESPONSE, once=True, sent=True)
    assert again.text is not None
    assert "ada@" not in again.text


@pytest.mark.parametrize("colour", ["blocking", "asynchronous"])
def test_a_growing_text_is_what_it_is_as_a_whole_and_has_been_judged_then(colour: str) -> None:
    checkpoint = Checkpoint(Settings())
    text = "Card 4111 1111 1111 1111, mail nobody."
    growing = checkpoint.growing(Stage.RESPONSE)

    async def main() -> str:
        return "".join([await growing.afeed(one) for one in text]) + await growing.afinish()

    if colour == "blocking":
        out = "".join(map(growing.feed, text)) + growing.finish()
    else:
        out = asyncio.run(main())
    assert out == "Card [REDACTED:credit_card], mail nobody."
    assert growing.edited
    guard = FakeGuard(deny=["bomb"])
    stopped = made(guard).growing(Stage.RESPONSE)
    stopped.feed("a b")
    stopped.feed("omb")
    with pytest.raises(BlockedError):
        stopped.finish()


def test_an_approval_is_of_these_arguments() -> None:
    checkpoint = made(FakeGuard(step_up=["pay"]))
    text = text_at(Stage.TOOL_CALL, '{"to": "pay"}', tool="send", is_json=True)
    (ruling,) = checkpoint.judge([text])
    step = StepUp.of(ruling, "send", {"to": "pay"})
    assert step is not None
    assert step.digest == digest_of("send", {"to": "pay"}) != digest_of("send", {"to": "pay "})
    assert "pay" not in repr(step).replace("payload", "")
    checkpoint.remember(text)
    assert checkpoint.judge([text], once=True)[0].error is None
    (denied,) = made(FakeGuard(deny=["pay"])).judge([text])
    assert StepUp.of(denied, "send", {}) is None


def test_what_the_guard_is_told() -> None:
    seen: list[Any] = []

    def guard(request: Any) -> GuardResponse:
        seen.append(request)
        return GuardResponse(decision=Decision.ALLOW)

    text = text_at(Stage.TOOL_CALL, '{"to": "ada"}', tool="send", is_json=True)
    made(guard).judge([text], descriptions={"send": "Sends."}, call_id="c1")
    (request,) = seen
    assert (request.tool.name, request.tool.description, request.tool.arguments) == (
        "send",
        "Sends.",
        {"to": "ada"},
    )
    assert request.call_id == "c1"


def test_quiet_leaves_no_record(highflame_spans: CapturedSpans, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = made(FakeGuard(deny=["bomb"]), quiet=True)
    judge(checkpoint, "judge", "a bomb")
    with Activity("chat", "m", quiet=True):
        pass
    assert highflame_spans.finished == []
    assert caplog.records == []


def test_an_activity_is_one_span_and_says_how_it_ended(highflame_spans: CapturedSpans) -> None:
    with (
        pytest.raises(ValueError, match="x"),
        Activity("execute_tool", "look_up", **{"gen_ai.tool.call.id": "c"}) as one,
    ):
        one.note(**{"gen_ai.usage.input_tokens": 3, "other": None})
        raise ValueError("x")
    one.end()
    (span,) = highflame_spans.finished
    assert span.name == "execute_tool look_up"
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "gen_ai.tool.call.id": "c",
        "gen_ai.usage.input_tokens": 3,
        "error.type": "ValueError",
    }
    assert span.status.description is None
