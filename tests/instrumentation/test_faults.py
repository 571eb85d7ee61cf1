"""Bad input and faults at the SDK door: a clear error or an untouched pass, nothing lost, no span left open."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from highflame_middleware import (
    BlockedError,
    Decision,
    GuardError,
    GuardRequest,
    GuardResponse,
    GuardTimeoutError,
    UnreadableError,
    bypass,
)
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits.openai import MESSAGES, speaking
from tests.servers import Answer, Server, chunk, events, json_answer, stream_answer

Start = Callable[..., Instrumentation]


@pytest.fixture
def client(provider: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as made:
        yield made


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model="m", messages=MESSAGES, **options)


# ------------------------------------------------------------------------------- the gateway


def test_an_unreachable_gateway_is_named_and_nothing_goes_to_the_provider(
    client: openai.OpenAI, provider: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    routed(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(openai.APIConnectionError) as caught:
        ask(client)
    assert "openai-compatible gateway at http://127.0.0.1:9/v1" in "".join(caught.value.__notes__)
    assert provider.log == []
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "openai.APIConnectionError"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            json_answer(b"<html>It works!</html>", content_type="text/html"),
            "The reply is text/html, where openai-chat",
        ),
        (json_answer(b'{"choices": [{"mess'), "is not JSON, though it says so"),
        (json_answer(b"\xff\xfe\x00"), "is not JSON, though it says so"),
        (json_answer(b"[" * 100_000), "is not JSON, though it says so"),
    ],
    ids=["HTML", "truncated JSON", "not UTF-8", "deeply nested"],
)
def test_a_reply_that_cannot_be_read(
    answer: Any, message: str, client: openai.OpenAI, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = answer
    handle = routed(guard=FakeGuard())
    with pytest.raises(UnreadableError, match=message):
        ask(client)
    assert highflame_spans.finished[0].attributes["error.type"] == "highflame_middleware.UnreadableError"
    handle.uninstrument()


@pytest.mark.parametrize("options", [{"mode": "monitor"}, {"fail_open": True}], ids=["monitor", "fail open"])
def test_a_reply_that_cannot_be_read_passes_where_the_policy_says_so(
    options: dict[str, Any], client: openai.OpenAI, gateway: Server, routed: Start
) -> None:
    gateway.respond = json_answer(b"<html>It works!</html>", content_type="text/html")
    routed(guard=FakeGuard(), **options)
    assert (
        client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES).text
        == "<html>It works!</html>"
    )


def test_a_reply_of_more_than_can_be_held(
    client: openai.OpenAI, gateway: Server, routed: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highflame_middleware.screens.MAX_HELD", 1000)
    gateway.respond = speaking(["word "] * 2000)
    routed(guard=FakeGuard())
    with pytest.raises(UnreadableError, match="longer than 1000 bytes"):
        ask(client)
    with pytest.raises(UnreadableError, match="cannot be guarded with the 1000 bytes kept"):
        list(ask(client, stream=True))


def test_a_stream_cut_in_the_middle_of_an_event(
    client: openai.OpenAI, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    whole = events(chunk("All is"), chunk(" well"), done=False)
    gateway.respond = stream_answer([*whole, b'data: {"choices": [{"delta": {"con'], cut=True)
    routed(guard=FakeGuard())
    seen = []
    with pytest.raises(Exception) as caught:
        for part in ask(client, stream=True):
            seen.append(part.choices[0].delta.content)
    assert not isinstance(caught.value, BlockedError)
    # The guard has no window, so it is asked at the end, which never came: what it did not see does not pass.
    assert seen == []
    (span,) = highflame_spans.finished
    assert span.status.status_code.name == "ERROR"


def test_a_stream_that_ends_in_the_middle_of_an_event(
    client: openai.OpenAI, gateway: Server, routed: Start
) -> None:
    """Ended in order, but with half an event and no [DONE]: what was whole is judged and passes."""
    gateway.respond = stream_answer([*events(chunk("All is"), chunk(" SECRET"), done=False), b'data: {"choi'])
    routed(guard=FakeGuard(redact=["SECRET"]))
    assert "".join(part.choices[0].delta.content for part in ask(client, stream=True)) == "All is [redacted]"


@pytest.mark.parametrize("how", ["break and close", "with", "drop", "exception"])
def test_leaving_a_stream_that_never_ends(
    how: str, client: openai.OpenAI, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = stream_answer(events(chunk("One."), chunk(" Two."), done=False), hang=True)
    routed()

    def leave() -> None:
        stream = ask(client, stream=True)
        if how == "with":
            with stream:
                next(iter(stream))
        elif how == "drop":
            next(iter(stream))
        elif how == "exception":
            with pytest.raises(ZeroDivisionError), stream:
                for _ in stream:
                    raise ZeroDivisionError
        else:
            for _ in stream:
                break
            stream.close()

    leave()
    gc.collect()
    assert gateway.left.wait(5), "the upstream is closed at once"
    assert len(highflame_spans.finished) == 1
    assert highflame_spans.finished[0].status.status_code.name == "UNSET"


@pytest.mark.parametrize("how", ["break and close", "async with", "cancel"])
def test_leaving_an_asynchronous_stream(
    how: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = stream_answer(events(chunk("One."), chunk(" Two."), done=False), hang=True)
    routed()

    async def leave() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
            stream = await ask(client, stream=True)
            if how == "cancel":

                async def read() -> None:
                    async for _ in stream:
                        pass

                task = asyncio.ensure_future(read())
                await asyncio.sleep(0.2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            elif how == "async with":
                async with stream:
                    async for _ in stream:
                        break
            else:
                async for _ in stream:
                    break
                await stream.close()
            assert await asyncio.to_thread(gateway.left.wait, 5), "the upstream is closed at once"

    asyncio.run(leave())
    assert len(highflame_spans.finished) == 1


def test_cancelling_a_call_that_waits(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = lambda seen: Answer(200, hang=True)
    routed()

    async def cancel() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
            task = asyncio.ensure_future(ask(client))
            while not gateway.log:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel())
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"].endswith("CancelledError")


# --------------------------------------------------------------------------------- the guard


class Hanging:
    """A guard that does not come back for a minute; ``asynchronous`` or not."""

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        time.sleep(60)
        raise AssertionError

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        await asyncio.sleep(60)
        raise AssertionError


class HangingBlocking:
    def evaluate(self, request: GuardRequest) -> GuardResponse:
        return Hanging().evaluate(request)


def both_ways(provider: Server, options: dict[str, Any]) -> list[Callable[[], Any]]:
    def blocking() -> Any:
        with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
            return ask(client, **options)

    def awaited() -> Any:
        async def call() -> Any:
            async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
                return await ask(client, **options)

        return asyncio.run(call())

    return [blocking, awaited]


@pytest.mark.parametrize("guard", [Hanging(), HangingBlocking()], ids=["both kinds", "blocking only"])
def test_a_guard_that_hangs(guard: Any, provider: Server, gateway: Server, routed: Start) -> None:
    routed(guard=guard, deadline=0.2)
    for call in both_ways(provider, {}):
        began = time.monotonic()
        with pytest.raises(GuardTimeoutError, match=r"no verdict within 0.2 s \(setting: deadline\)"):
            call()
        assert time.monotonic() - began < 10
    assert gateway.log == provider.log == []


def test_a_guard_that_raises(provider: Server, gateway: Server, routed: Start) -> None:
    routed(guard=FakeGuard(fault=ValueError("SECRET in the guard's own error")))
    for call in both_ways(provider, {}):
        with pytest.raises(GuardError) as caught:
            call()
        assert "The guard 'fake' raised ValueError" in str(caught.value)
        assert "SECRET" not in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)
    assert gateway.log == provider.log == []


@pytest.mark.parametrize("answer", [None, 1, object(), {"decision": "allow"}])
def test_a_guard_that_answers_nonsense(answer: Any, provider: Server, gateway: Server, routed: Start) -> None:
    routed(guard=lambda request: answer)
    for call in both_ways(provider, {}):
        with pytest.raises(GuardError, match="return a GuardResponse, a Decision or a bool"):
            call()
    assert gateway.log == []


@pytest.mark.parametrize("options", [{"mode": "monitor"}, {"mode": "alert"}, {"fail_open": True}])
@pytest.mark.parametrize("guard", [FakeGuard(fault=ValueError()), Hanging()], ids=["raises", "hangs"])
def test_an_outage_of_the_guard_where_it_must_not_stop_the_call(
    guard: Any,
    options: dict[str, Any],
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    gateway.respond = speaking()
    routed(guard=guard, deadline=0.1, **options)
    for call in both_ways(provider, {}):
        assert call().choices[0].message.content == "The SECRET is out."
    decisions = highflame_spans.decisions()
    assert {made["decision"] for made in decisions} == {"error"}
    assert not any(made["enforced"] for made in decisions)
    assert len(decisions) == 4, "on record all the same: prompt and response, twice"


def test_a_guard_of_one_kind_serves_both(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    threads = []

    async def awaited(request: GuardRequest) -> bool:
        threads.append(threading.current_thread().name)
        await asyncio.sleep(0)
        return "SECRET" not in request.content

    routed(guard=awaited)
    for call in both_ways(provider, {}):
        with pytest.raises(BlockedError):
            call()
    assert threads == ["highflame-guard", "MainThread"]


def test_an_unknown_decision_is_a_deny(client: openai.OpenAI, routed: Start) -> None:
    routed(guard=lambda request: Decision("perhaps"))
    with pytest.raises(BlockedError) as caught:
        ask(client)
    assert caught.value.decision is Decision.DENY


def test_a_modify_that_cannot_be_applied_is_a_deny(client: openai.OpenAI, gateway: Server, routed: Start) -> None:
    routed(guard=lambda request: GuardResponse(decision=Decision.MODIFY))
    with pytest.raises(BlockedError):
        ask(client)
    assert gateway.log == []


def test_bypassing_the_guard_is_on_record(
    client: openai.OpenAI, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = speaking()
    guard = FakeGuard(deny=["SECRET"])
    routed(guard=guard)
    with bypass("replaying an incident"):
        assert ask(client).choices[0].message.content == "The SECRET is out."
    assert guard.requests == []
    assert highflame_spans.finished[0].attributes["highflame.guardrail.bypass"] == "replaying an incident"
    with pytest.raises(BlockedError):
        ask(client)


# ------------------------------------------------------------------------------ what is sent


@pytest.mark.parametrize("content", [b"not JSON: SECRET", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_not_sent(
    content: bytes, client: openai.OpenAI, gateway: Server, routed: Start
) -> None:
    if "content" not in openai._models.FinalRequestOptions.model_fields:
        pytest.skip(f"openai {openai.__version__} sends JSON bodies only")
    routed(guard=FakeGuard())
    with pytest.raises(UnreadableError, match="is not JSON: it could not be guarded"):
        client.post("/chat/completions", cast_to=object, content=content)
    assert gateway.log == []


def test_a_body_given_as_bytes_is_read_and_edited(client: openai.OpenAI, gateway: Server, routed: Start) -> None:
    if "content" not in openai._models.FinalRequestOptions.model_fields:
        pytest.skip(f"openai {openai.__version__} sends JSON bodies only")
    routed(guard=FakeGuard(redact=["SECRET"]))
    content = json.dumps({"model": "m", "messages": MESSAGES}).encode()
    client.post("/chat/completions", cast_to=object, content=content)
    assert gateway.log[0].json["messages"][0]["content"] == "Tell me the [redacted]."


def test_models_in_a_body_are_read_as_the_sdk_writes_them(
    client: openai.OpenAI, gateway: Server, routed: Start
) -> None:
    """A reply's message handed back as history is an object of the SDK's, not a dict."""
    from openai.types.chat import ChatCompletionMessage

    routed(guard=FakeGuard(redact=["SECRET"]))
    history: Any = [ChatCompletionMessage(role="assistant", content="It was SECRET."), *MESSAGES]
    client.chat.completions.create(model="m", messages=history)
    assert b"SECRET" not in gateway.log[0].body
    assert gateway.log[0].json["messages"][0] == {"role": "assistant", "content": "It was [redacted]."}


def test_a_hundred_megabytes_of_prompt(client: openai.OpenAI, gateway: Server, routed: Start) -> None:
    """Bounded by the engine: a text that it will not read is a missing verdict, quickly."""
    routed(guard="embedded")
    began = time.process_time()
    with pytest.raises(GuardError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "words " * 17_000_000}])
    assert gateway.log == []
    assert time.process_time() - began < 20


def test_a_deeply_nested_body(client: openai.OpenAI, gateway: Server, routed: Start) -> None:
    """The SDK itself gives up first or sends it; nothing of ours overflows."""
    routed(guard=FakeGuard(redact=["SECRET"]))
    nested: Any = "SECRET"
    for _ in range(300):
        nested = [nested]
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": nested}])
    assert b"SECRET" not in gateway.log[0].body


def test_the_callers_objects_are_not_changed(client: openai.OpenAI, routed: Start) -> None:
    routed(guard=FakeGuard(redact=["SECRET"]))
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "The SECRET."}]}]
    extra = {"note": ["SECRET"]}
    client.chat.completions.create(model="m", messages=messages, extra_body=extra)
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "The SECRET."}]}]
    assert extra == {"note": ["SECRET"]}
