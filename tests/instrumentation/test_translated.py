"""Calls that a gateway does not carry, translated: SDKs of four formats, a gateway that speaks OpenAI's chat."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from highflame_middleware import BlockedError
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.speakers import SPEAKERS, Speaker
from tests.servers import Answer, Seen, Server, chunk, events, json_answer, scripted, stream_answer

Start = Callable[..., Instrumentation]

BERN = {"name": "weather", "arguments": {"city": "Bern"}}
ROME = {"name": "weather", "arguments": {"city": "Rome"}}
# What the gateway's model answers, what the caller hears of it, why it ended.
REPLIES: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "text": ({"chunks": ["Rain in ", "Bern."]}, [["text", "Rain in Bern."]], "stop"),
    "a tool": ({"tool_calls": [BERN]}, [["call", 0, "weather", {"city": "Bern"}]], "tool_calls"),
    "two tools at once": (
        {"tool_calls": [BERN, ROME]},
        [["call", 0, "weather", {"city": "Bern"}], ["call", 1, "weather", {"city": "Rome"}]],
        "tool_calls",
    ),
    "redacted": ({"chunks": ["The SEC", "RET is", " out."]}, [["text", "The [redacted] is out."]], "stop"),
}
FINISHES = {
    "anthropic-messages": {"stop": "end_turn", "tool_calls": "tool_use"},
    "gemini": {"stop": "STOP", "tool_calls": "STOP"},
    "bedrock-converse": {"stop": "end_turn", "tool_calls": "tool_use"},
    "openai-responses": {"stop": "completed", "tool_calls": "completed"},
}
PROVIDERS = {
    "anthropic-messages": "anthropic",
    "gemini": "gcp.gemini",
    "bedrock-converse": "aws.bedrock",
    "openai-responses": "openai",
}
# The names that each format's API has for an error of this status.
FAULTS = {
    "anthropic-messages": {400: "invalid_request_error", 429: "rate_limit_error", 502: "api_error"},
    "gemini": {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 502: "INTERNAL"},
    "bedrock-converse": {400: "ValidationException", 429: "ThrottlingException", 502: "InternalServerException"},
    "openai-responses": {400: "a_code", 429: "a_code", 502: "a_code"},
}

every_format = pytest.mark.parametrize("speaker", SPEAKERS.values(), ids=SPEAKERS)
each_kind = pytest.mark.parametrize("kind", ["sync", "async"])
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def translated(routed: Start) -> Start:
    def start(**changes: Any) -> Instrumentation:
        given = {"api_key": "gw-key", "carries": (), "lacks": ("openai-responses",), **changes}
        return routed(on_unsupported="translate", **given)

    return start


@every_format
@each_kind
@streamed_or_not
@pytest.mark.parametrize("case", REPLIES)
def test_every_reply(
    case: str,
    stream: bool,
    kind: str,
    speaker: Speaker,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    script, parts, finish = REPLIES[case]
    gateway.respond = scripted([script])
    handle = translated(guard=FakeGuard(redact=["SECRET"]))
    heard = speaker.hear(speaker.perform(kind, provider, stream=stream), stream=stream)
    assert heard["parts"] == parts
    assert heard["finish"] == finish
    assert provider.log == []
    (seen,) = gateway.log
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer gw-key"
    assert seen.headers["content-type"] == "application/json"
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert not [name for name in seen.headers if name.startswith(("x-api", "x-goog", "x-amz", "anthropic", "amz-"))]
    body = seen.json
    assert (body["model"], body.get("stream", False), body["max_completion_tokens"]) == ("m-1", stream, 64)
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool"]
    system, user, assistant, first, second = body["messages"]
    assert (system["content"], user["content"]) == ("Be brief.", "Weather? My [redacted] is 1.")
    calls = [json.loads(call["function"]["arguments"]) for call in assistant["tool_calls"]]
    assert calls == [{"city": "Bern"}, {"city": "Rome"}]
    assert [result["tool_call_id"] for result in (first, second)] == [
        call["id"] for call in assistant["tool_calls"]
    ]
    assert "The [redacted] is 7." in first["content"]
    assert "Sun." in second["content"]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]
    assert b"SECRET" not in seen.body
    (span,) = highflame_spans.finished
    said = span.attributes
    assert said["gen_ai.provider.name"] == PROVIDERS[speaker.format]
    assert said["gen_ai.request.model"] == "m-1"
    assert said["highflame.gateway"] == "openai-compatible"
    assert said["highflame.gateway.translated"] == "openai-chat"
    assert said["server.port"] == gateway.port
    assert said["gen_ai.response.finish_reasons"] == (FINISHES[speaker.format][finish],)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (
        heard["usage"]["input"],
        heard["usage"]["output"],
    )
    assert said["gen_ai.usage.output_tokens"] > 0
    assert handle.status()[speaker.kit.sdk if speaker.kit.sdk != "bedrock" else "botocore"].direct == ()


@every_format
@each_kind
@streamed_or_not
def test_without_a_guard(
    stream: bool, kind: str, speaker: Speaker, provider: Server, gateway: Server, translated: Start
) -> None:
    gateway.respond = scripted([{"text": "The SECRET is out."}])
    translated(guard=None)
    heard = speaker.hear(speaker.perform(kind, provider, stream=stream), stream=stream)
    assert heard["parts"] == [["text", "The SECRET is out."]]
    assert b"SECRET" in gateway.log[0].body


@every_format
@each_kind
@streamed_or_not
@pytest.mark.parametrize("deny", ["Weather", "bomb"], ids=["prompt", "reply"])
def test_a_verdict(
    deny: str,
    stream: bool,
    kind: str,
    speaker: Speaker,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    gateway.respond = scripted([{"chunks": ["Take a ", "bomb", " and run."]}])
    translated(guard=FakeGuard(deny=[deny]))
    with pytest.raises(BlockedError):
        speaker.perform(kind, provider, stream=stream)
    assert len(gateway.log) == (deny == "bomb")
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "highflame_middleware.BlockedError"


@every_format
@each_kind
@streamed_or_not
@pytest.mark.parametrize("status", [400, 429, 502])
def test_an_error_of_the_gateway(
    status: int,
    stream: bool,
    kind: str,
    speaker: Speaker,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    error = {"message": "Too much of it", "type": "a_type", "param": None, "code": "a_code"}
    gateway.respond = json_answer({"error": error}, status)
    translated(guard=FakeGuard())
    with pytest.raises(speaker.errors[status], match="Too much of it") as caught:
        speaker.perform(kind, provider, stream=stream)
    assert speaker.told(caught.value) == FAULTS[speaker.format][status]
    assert len(highflame_spans.finished) == 1
    assert provider.log == []


@every_format
@each_kind
def test_an_error_that_is_no_json(
    kind: str, speaker: Speaker, provider: Server, gateway: Server, translated: Start
) -> None:
    page = Answer(502, (("content-type", "text/html"),), [b"<html>Bad gateway</html>"])
    gateway.respond = lambda seen: page
    translated(guard=FakeGuard())
    with pytest.raises(speaker.errors[502]):
        speaker.perform(kind, provider)


@each_kind
@pytest.mark.parametrize("name", ["anthropic-messages", "openai-responses", "bedrock-converse"])
def test_what_is_tried_again_is_translated_again(
    name: str, kind: str, provider: Server, gateway: Server, translated: Start, highflame_spans: CapturedSpans
) -> None:
    speaker = SPEAKERS[name]
    answers = iter([json_answer({"error": {"message": "busy"}}, 429, retry_after="0")])
    finally_ = scripted([{"text": "Hello."}])
    gateway.respond = lambda seen: next(answers, finally_)(seen)
    translated(guard=FakeGuard())
    reply = speaker.perform(kind, provider, **speaker.kit.retrying)
    assert speaker.hear(reply, stream=False)["parts"] == [["text", "Hello."]]
    assert [seen.body for seen in gateway.log] == [gateway.log[0].body] * 2
    assert len(highflame_spans.finished) == 1


@every_format
@each_kind
def test_a_stream_comes_event_by_event(
    kind: str,
    speaker: Speaker,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    """The first words can be read, and the reply left, while the gateway is still to say the rest."""
    first = [chunk("Hello "), chunk("again. ")]
    gateway.respond = stream_answer(events(*first, done=False), hang=True)
    translated(guard=FakeGuard(redact=["SECRET"]), stream="passthrough")
    heard: list[str] = []

    def take(item: Any) -> bool:
        heard.append(json.dumps(speaker.event(item)[1], default=str))
        return "Hello" in heard[-1]

    if kind == "sync":
        client = speaker.kit.make("sync", provider.url)
        reply = speaker.ask(getattr(client, "runtime", client), True)
        stream = speaker.events(reply)
        assert any(take(item) for item in stream)
        stream.close()
    else:
        _aleave(speaker, provider, take)
    assert gateway.left.wait(5)
    (span,) = highflame_spans.finished
    assert "error.type" not in span.attributes


def _aleave(speaker: Speaker, provider: Server, take: Callable[[Any], bool]) -> None:
    import asyncio

    async def read(client: Any) -> None:
        stream = speaker.events(await speaker.ask(getattr(client, "runtime", client), True))
        async for item in stream:
            if take(item):
                break
        else:
            pytest.fail("the first words never came")
        done = (getattr(stream, "aclose", None) or stream.close)()
        if done is not None:
            await done

    async def main() -> None:
        made = speaker.kit.make("async", provider.url)
        if hasattr(made, "__aenter__"):
            async with made as client:
                await read(client)
        else:
            await read(made)

    asyncio.run(main())


@each_kind
@streamed_or_not
@every_format
def test_a_length_that_is_declared(
    speaker: Speaker, stream: bool, kind: str, provider: Server, gateway: Server, translated: Start
) -> None:
    """What is handed on is longer or shorter than what came."""

    def respond(seen: Seen) -> Answer:
        answer = scripted([{"text": "Hello."}])(seen)
        content = b"".join(answer.chunks)
        return replace(answer, chunks=[content], length=len(content))

    gateway.respond = respond
    translated(guard=None)
    reply = speaker.perform(kind, provider, stream=stream)
    assert speaker.hear(reply, stream=stream)["parts"] == [["text", "Hello."]]
    if speaker.format == "bedrock-converse":
        assert "content-length" not in reply["ResponseMetadata"]["HTTPHeaders"]


@pytest.mark.parametrize("dialect", ["openai-compatible", "portkey"])
def test_the_span_ends_with_the_stream_whoever_reads_on(
    dialect: str, provider: Server, gateway: Server, translated: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = stream_answer(events(chunk("Hello."), chunk(finish="stop")), hang=True)
    translated(gateway=dialect, guard=FakeGuard(), carries=(), lacks=("anthropic", "openai-responses"))
    speaker = SPEAKERS["anthropic-messages"]
    stream = speaker.ask(speaker.kit.make("sync", provider.url), True)
    assert any(event.type == "message_stop" for event in stream)
    assert len(highflame_spans.finished) == 1
    stream.close()
    assert len(highflame_spans.finished) == 1
