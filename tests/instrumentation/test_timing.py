"""``guard_timing="parallel"``: guard and call run side by side; nothing is handed out before the verdict."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from highflame_middleware import BlockedError, GuardRequest, GuardResponse, GuardTimeoutError
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits.openai import KIT, MESSAGES, speaking
from tests.servers import Answer, Seen, Server, chunk, events, json_answer

Start = Callable[..., Instrumentation]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Meeting:
    """A guard and a server that each wait for the other to have begun: in turns, neither would ever end."""

    local = False

    def __init__(self, *, denies: str = "") -> None:
        self._both = threading.Barrier(2)
        self._denies = denies

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        if request.stage == "prompt":
            self._both.wait(5)
        return FakeGuard(deny=[self._denies] if self._denies else []).evaluate(request)

    def respond(self, seen: Seen) -> Answer:
        self._both.wait(5)
        return speaking()(seen)


def ask(kind: str, server: Server, *, stream: bool = False, **options: Any) -> Any:
    """Call, and read to the end what comes."""
    if kind == "sync":
        with KIT.make("sync", server.url, **options) as client:
            reply = client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
            return list(reply) if stream else reply

    async def call() -> Any:
        async with KIT.make("async", server.url, **options) as client:
            reply = await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
            return [item async for item in reply] if stream else reply

    return asyncio.run(call())


@pytest.mark.parametrize("stream", [False, True])
def test_the_call_is_made_while_its_texts_are_judged(
    kind: str, stream: bool, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    meeting = Meeting()
    gateway.respond = meeting.respond
    routed(guard=meeting, guard_timing="parallel", deadline=5)
    ask(kind, provider, stream=stream)
    assert (provider.log, len(gateway.log)) == ([], 1)
    assert len(highflame_spans.finished) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_denied_call_hands_out_nothing(
    kind: str, stream: bool, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    meeting = Meeting(denies="SECRET")
    gateway.respond = meeting.respond
    routed(guard=meeting, guard_timing="parallel", deadline=5)
    with pytest.raises(BlockedError) as caught:
        ask(kind, provider, stream=stream)
    assert caught.value.stage.label == "prompt"
    assert len(gateway.log) == 1, "it had left already"
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "highflame_middleware.BlockedError"


def test_a_denied_stream_is_closed_upstream(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    meeting = Meeting(denies="SECRET")

    def respond(seen: Seen) -> Answer:
        meeting.respond(seen)
        return Answer(200, (("content-type", "text/event-stream"),), events(chunk("a"), done=False), hang=True)

    gateway.respond = respond
    routed(guard=meeting, guard_timing="parallel", deadline=5)
    with pytest.raises(BlockedError):
        ask(kind, provider, stream=True)
    assert gateway.left.wait(5)
    assert len(highflame_spans.finished) == 1


def test_an_asynchronous_call_is_cut_short_by_the_verdict(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = lambda seen: Answer(200, chunks=[b"{"], hang=True)
    routed(guard=FakeGuard(deny=["SECRET"], local=False), guard_timing="parallel", deadline=5)
    begun = time.perf_counter()
    with pytest.raises(BlockedError):
        ask("async", provider)
    assert time.perf_counter() - begun < 4
    assert len(highflame_spans.finished) == 1


def test_a_text_that_has_left_cannot_be_edited(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    routed(guard=FakeGuard(redact=["SECRET"]), guard_timing="parallel")
    with pytest.raises(BlockedError) as caught:
        ask(kind, provider)
    assert caught.value.decision == "modify"


def test_the_verdict_comes_before_the_calls_own_error(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = json_answer({"error": {"message": "busy"}}, 429)
    handle = routed(guard=FakeGuard(deny=["SECRET"], local=False), guard_timing="parallel")
    with pytest.raises(BlockedError):
        ask(kind, provider)
    handle.uninstrument()
    routed(guard=FakeGuard(local=False), guard_timing="parallel")
    with pytest.raises(openai.RateLimitError):
        ask(kind, provider)


def test_a_hung_guard_fails_closed(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    class Hung:
        def evaluate(self, request: GuardRequest) -> GuardResponse:
            time.sleep(3)
            raise AssertionError("nobody waits for this")

    gateway.respond = speaking()
    routed(guard=Hung(), guard_timing="parallel", deadline=0.1)
    with pytest.raises(GuardTimeoutError):
        ask(kind, provider)


def test_in_monitor_the_reply_comes_and_the_decision_is_on_record(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = speaking()
    routed(guard=FakeGuard(deny=["SECRET"], local=False), guard_timing="parallel", mode="monitor")
    assert "SECRET" in ask(kind, provider).choices[0].message.content
    assert {(made["stage"], made["enforced"]) for made in highflame_spans.decisions()} == {
        ("prompt", False),
        ("response", False),
    }
