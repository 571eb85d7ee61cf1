"""Where translated calls go and what they bear; what cannot be translated; what a gateway itself says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from highflame_middleware import BlockedError, Settings, UnreadableError, UnsupportedError, instrument
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits import anthropic as claude
from tests.instrumentation.kits import google as gemini
from tests.instrumentation.kits import google_vertex as vertex
from tests.instrumentation.speakers import SPEAKERS, Speaker
from tests.instrumentation.test_translated import each_kind, every_format, streamed_or_not
from tests.servers import Answer, Server, chunk, events, json_answer, scripted, stream_answer

Start = Callable[..., Instrumentation]

CLAUDE = SPEAKERS["anthropic-messages"]


@pytest.fixture
def translated(routed: Start) -> Start:
    def start(**changes: Any) -> Instrumentation:
        given = {"api_key": "gw-key", "carries": (), "guard": FakeGuard(redact=["SECRET"]), **changes}
        return routed(on_unsupported="translate", **given)

    return start


# By gateway and format: the path, headers that must be there, the model's name.
ROUTES: dict[tuple[str, str], tuple[str, dict[str, str], str]] = {
    ("highflame", "gemini"): (
        "/v1/chat/completions",
        {"x-highflame-apikey": "gw-key", "authorization": "Bearer k-provider"},
        "gemini/m-1",
    ),
    ("highflame", "bedrock-converse"): ("/v1/chat/completions", {"x-highflame-apikey": "gw-key"}, "bedrock/m-1"),
    ("highflame-v2", "gemini"): (
        "/v1/chat/completions",
        {"x-javelin-apikey": "gw-key", "x-highflame-route": "google_univ", "authorization": "Bearer k-provider"},
        "m-1",
    ),
    ("javelin", "gemini"): ("/v1/chat/completions", {"x-javelin-model": "m-1"}, "m-1"),
    ("portkey", "gemini"): (
        "/v1/chat/completions",
        {"x-portkey-provider": "google", "authorization": "Bearer k-provider"},
        "m-1",
    ),
    ("portkey", "bedrock-converse"): ("/v1/chat/completions", {"x-portkey-provider": "bedrock"}, "m-1"),
}


@pytest.mark.parametrize(("dialect", "name"), ROUTES)
@each_kind
def test_at_each_gateway(
    dialect: str, name: str, kind: str, provider: Server, gateway: Server, translated: Start
) -> None:
    path, headers, model = ROUTES[dialect, name]
    gateway.respond = scripted([{"text": "The SECRET is out."}])
    translated(gateway=dialect)
    speaker = SPEAKERS[name]
    heard = speaker.hear(speaker.perform(kind, provider), stream=False)
    assert heard["parts"] == [["text", "The [redacted] is out."]]
    (seen,) = gateway.log
    assert (seen.path, seen.json["model"]) == (path, model)
    assert {key: seen.headers.get(key) for key in headers} == headers
    assert not [key for key in seen.headers if key.startswith(("x-goog", "x-amz", "amz-"))]
    assert "AWS4" not in seen.headers.get("authorization", "")
    assert provider.log == []


@each_kind
@pytest.mark.parametrize("name", ["anthropic-messages", "gemini"])
def test_without_a_key_of_its_own_the_gateway_gets_the_clients_where_it_looks_for_one(
    name: str, kind: str, provider: Server, gateway: Server, translated: Start
) -> None:
    gateway.respond = scripted([{"text": "Hello."}])
    translated(api_key=None)
    SPEAKERS[name].perform(kind, provider)
    (seen,) = gateway.log
    assert seen.headers["authorization"] in ("Bearer sk-provider", "Bearer k-provider")
    assert {"x-api-key", "x-goog-api-key"}.isdisjoint(seen.headers)


@each_kind
def test_a_virtual_key_keeps_the_clients_key_at_home(
    kind: str, provider: Server, gateway: Server, translated: Start
) -> None:
    gateway.respond = scripted([{"text": "Hello."}])
    translated(gateway="portkey", virtual_api_key="vk-1")
    SPEAKERS["gemini"].perform(kind, provider)
    (seen,) = gateway.log
    assert "k-provider" not in json.dumps(seen.headers)


# ------------------------------------------------------------------------------------ what cannot be translated


@each_kind
@streamed_or_not
def test_a_call_that_cannot_be_said(
    stream: bool,
    kind: str,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    translated()
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "tools": [search]}
    case = claude.Case(lambda client: client.messages.create(**asked, stream=stream))
    with pytest.raises(UnsupportedError, match=r"cannot be translated into openai-chat: .*web_search"):
        claude.KIT.perform(kind, provider, case, max_retries=2)
    assert (provider.log, gateway.log) == ([], [])
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "highflame_middleware.UnsupportedError"
    assert span.attributes["highflame.gateway.unsupported"] == "anthropic-messages"


@each_kind
def test_what_asks_no_model_for_an_answer_goes_its_own_way(
    kind: str, provider: Server, gateway: Server, translated: Start, caplog: pytest.LogCaptureFixture
) -> None:
    provider.respond = gemini.speaking(None)
    handle = translated()
    with caplog.at_level(logging.WARNING, "highflame_middleware"):
        for name in ("count", "embed"):
            gemini.KIT.perform(kind, provider, gemini.CASES[name])
    assert gateway.log == []
    assert len(provider.log) == 2
    assert all(seen.headers["x-goog-api-key"] == "k-provider" for seen in provider.log)
    assert handle.status()["google-genai"].direct == ("gemini", "gemini-embeddings")
    assert len([record for record in caplog.records if "does not carry" in record.message]) == 2


@each_kind
def test_a_format_that_is_lacking(kind: str, provider: Server, gateway: Server, translated: Start) -> None:
    """A gateway of OpenAI's family that has no responses: by default they are said as a chat nowhere."""
    speaker = SPEAKERS["openai-responses"]
    gateway.respond = scripted([{"text": "Hello."}])
    translated()
    speaker.perform(kind, provider)
    assert gateway.paths == ["/v1/responses"]


@each_kind
@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (b'{"choices": "none"}', UnsupportedError, "reply cannot be translated from openai-chat"),
        (b'{"choices": [', UnreadableError, "is not JSON"),
        (b'{"a": 1, "a": 2}', UnsupportedError, "reply cannot be translated"),
    ],
    ids=["no reply", "cut off", "something else"],
)
@every_format
def test_a_reply_that_cannot_be_said(
    speaker: Speaker,
    answer: bytes,
    error: type[Exception],
    why: str,
    kind: str,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    gateway.respond = json_answer(answer)
    translated(lacks=("openai-responses",))
    with pytest.raises(error, match=why):
        speaker.perform(kind, provider)
    assert len(highflame_spans.finished) == 1


@each_kind
@every_format
def test_a_stream_that_breaks_off_is_an_error(
    speaker: Speaker,
    kind: str,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    broken = {"error": {"message": "The model has gone", "type": "server_error", "code": None}}
    gateway.respond = stream_answer(events(chunk("Hello "), broken, done=False))
    translated(lacks=("openai-responses",))
    with pytest.raises(Exception, match="The model has gone"):
        speaker.perform(kind, provider, stream=True)
    assert len(highflame_spans.finished) == 1


# ------------------------------------------------------------------------------------- the gateway's own answers

_BLOCKED = {
    "id": "chatcmpl-blocked-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gemini/m-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Highflame Security: no"},
            "finish_reason": "stop",
        }
    ],
}
_BLOCKED_PIECE = {**chunk("Highflame Security: no"), "id": "chatcmpl-blocked-1"}
_MARK = {"x_highflame_policy_decision": "deny"}
REFUSALS = {
    "whole": (False, json_answer(_BLOCKED)),
    "marked": (False, json_answer(_BLOCKED, **_MARK)),
    "an error": (False, json_answer({"error": {"message": "Highflame Security: no"}}, 403, **_MARK)),
    "streamed": (True, stream_answer(events(_BLOCKED_PIECE, chunk(finish="stop")))),
    "a stream refused with an error": (
        True,
        json_answer({"error": {"message": "Highflame Security: no"}}, 403, **_MARK),
    ),
}


@each_kind
@pytest.mark.parametrize("guarded", [False, True], ids=["alone", "guarded"])
@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("name", ["gemini", "bedrock-converse"])
def test_the_gateway_says_no(
    name: str,
    case: str,
    guarded: bool,
    kind: str,
    provider: Server,
    gateway: Server,
    translated: Start,
    highflame_spans: CapturedSpans,
) -> None:
    stream, gateway.respond = REFUSALS[case]
    translated(gateway="highflame", guard=FakeGuard() if guarded else None)
    with pytest.raises(BlockedError, match="Highflame Security: no"):
        SPEAKERS[name].perform(kind, provider, stream=stream)
    assert len(gateway.log) == 1
    (span,) = highflame_spans.finished
    assert span.attributes["error.type"] == "highflame_middleware.BlockedError"


@each_kind
@pytest.mark.parametrize("case", ["whole", "streamed"])
@pytest.mark.parametrize("name", ["gemini", "bedrock-converse"])
def test_a_no_that_is_handed_on_is_translated(
    name: str, case: str, kind: str, provider: Server, gateway: Server, translated: Start
) -> None:
    stream, gateway.respond = REFUSALS[case]
    translated(gateway="highflame", on_blocked="reply")
    speaker = SPEAKERS[name]
    reply = speaker.perform(kind, provider, stream=stream)
    heard = speaker.hear(reply, stream=stream)
    assert heard["parts"] == [["text", "Highflame Security: no"]]
    if not (stream and name == "bedrock-converse"):
        # botocore copies a reply's headers before it reads the first event.
        assert "x-highflame-policy-decision" in repr(reply)


# ------------------------------------------------------------------------------------------------- other doors


@each_kind
@streamed_or_not
def test_the_gateway_in_this_process(stream: bool, kind: str, provider: Server) -> None:
    settings = Settings(
        gateway="embedded",
        providers={"echo": {"scripts": [{"chunks": ["The SEC", "RET", " is out."]}]}},
        default_provider="echo",
        on_unsupported="translate",
        guard=FakeGuard(redact=["SECRET"]),
        reroute_hosts=("*",),
    )
    with instrument(settings=settings) as handle:
        heard = CLAUDE.hear(CLAUDE.perform(kind, provider, stream=stream), stream=stream)
        assert heard["parts"] == [["text", "The [redacted] is out."]]
        assert handle.status()["anthropic"].direct == ()
    assert provider.log == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_plain_request(stream: bool, provider: Server, gateway: Server, translated: Start) -> None:
    gateway.respond = scripted([{"chunks": ["The SEC", "RET", " is out."]}])
    translated()
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "SECRET"}], "stream": stream}
    with httpx.Client() as client:
        request = client.build_request("POST", f"{provider.url}/v1/messages", json=body)
        reply = client.send(request)
    if stream:
        data = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
        said = "".join(event["delta"].get("text", "") for event in data if event["type"] == "content_block_delta")
        assert data[-1]["type"] == "message_stop"
    else:
        said = reply.json()["content"][0]["text"]
    assert said == "The [redacted] is out."
    assert reply.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert json.loads(request.content) == body, "the caller's own request is as it was"
    (seen,) = gateway.log
    assert (seen.path, seen.json["messages"]) == (
        "/v1/chat/completions",
        [{"role": "user", "content": "[redacted]"}],
    )


def test_a_compressed_reply(provider: Server, gateway: Server, translated: Start) -> None:
    import gzip

    def respond(seen: Any) -> Answer:
        whole = b"".join(scripted([{"text": "Hello."}])(seen).chunks)
        packed = (("content-type", "application/json"), ("content-encoding", "gzip"))
        return Answer(200, packed, [gzip.compress(whole)])

    gateway.respond = respond
    translated()
    assert CLAUDE.hear(CLAUDE.perform("sync", provider), stream=False)["parts"] == [["text", "Hello."]]


@each_kind
@streamed_or_not
@every_format
def test_monitoring_translates_all_the_same(
    speaker: Speaker, stream: bool, kind: str, provider: Server, gateway: Server, translated: Start
) -> None:
    gateway.respond = scripted([{"chunks": ["The SEC", "RET", " is out."]}])
    guard = FakeGuard(redact=["SECRET"])
    translated(mode="monitor", guard=guard, lacks=("openai-responses",))
    heard = speaker.hear(speaker.perform(kind, provider, stream=stream), stream=stream)
    assert heard["parts"] == [["text", "The SECRET is out."]]
    assert any(request.content == "The SECRET is out." for request in guard.requests)


@each_kind
def test_side_by_side_with_the_guard(kind: str, provider: Server, gateway: Server, translated: Start) -> None:
    gateway.respond = scripted([{"text": "Hello."}])
    translated(guard_timing="parallel", guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        CLAUDE.perform(kind, provider)
    translated_body = gateway.log[0].json if gateway.log else {"messages": [{"role": "system"}]}
    assert translated_body["messages"][0]["role"] == "system"


@each_kind
@pytest.mark.parametrize("case", ["generate", "stream"])
def test_gemini_on_vertex(case: str, kind: str, provider: Server, gateway: Server, translated: Start) -> None:
    gateway.respond = scripted([{"chunks": ["The SEC", "RET", " is out."]}])
    translated()
    row = vertex.KIT.cases[case]
    reply = vertex.KIT.perform(kind, provider, row)
    assert row.text is not None
    assert row.text(reply) == "The [redacted] is out."
    (seen,) = gateway.log
    assert (seen.path, seen.json["model"]) == ("/v1/chat/completions", "m")
    assert seen.headers["authorization"] == "Bearer gw-key"
    assert provider.log == []


@each_kind
@streamed_or_not
def test_claude_on_vertex(stream: bool, kind: str, provider: Server, gateway: Server, translated: Start) -> None:
    """There the path names the model; on Bedrock a stream has another frame, so that those calls go directly."""
    import anthropic

    gateway.respond = scripted([{"chunks": ["The SEC", "RET", " is out."]}])
    translated()
    made = anthropic.AsyncAnthropicVertex if kind == "async" else anthropic.AnthropicVertex
    given = {"project_id": "p", "region": "eu", "access_token": "t", "max_retries": 0}
    kit = replace(claude.KIT, make=lambda _, url, **__: made(base_url=f"{url}/v1", **given))
    messages: Any = [{"role": "user", "content": "SECRET"}]
    asked = {"model": "claude-x", "max_tokens": 9, "messages": messages, "stream": stream}
    reply = kit.perform(kind, provider, claude.Case(lambda client: client.messages.create(**asked)))
    assert CLAUDE.hear(reply, stream=stream)["parts"] == [["text", "The [redacted] is out."]]
    (seen,) = gateway.log
    assert (seen.path, seen.json["model"]) == ("/v1/chat/completions", "claude-x")
    assert provider.log == []
