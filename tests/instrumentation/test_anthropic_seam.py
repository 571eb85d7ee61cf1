"""The Anthropic seam beyond the table: its clients for other hosts, its own spans, batches, refusals."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib
import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anthropic
import pytest

from highflame_middleware import BlockedError, instrument, uninstrument
from highflame_middleware.codecs import load_codec
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.codecs.messages import message as event_message
from tests.codecs.messages import wrapped
from tests.instrumentation.kits import PIECES, PROMPT, SPOKEN, Case
from tests.instrumentation.kits.anthropic import ASK, CASES, KIT, message, speaking, spoken, stream_of
from tests.servers import Answer, Seen, Server, json_answer

Start = Callable[..., Instrumentation]
VERSION = tuple(map(int, anthropic.__version__.split(".")[:2]))

pytestmark = pytest.mark.filterwarnings("ignore:coroutine method 'aclose':RuntimeWarning")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def client_of(name: str, kind: str) -> Any:
    """The class of a client, if the installed version has it."""
    cls = getattr(anthropic, f"Async{name}" if kind == "async" else name, None)
    if cls is None:
        pytest.skip(f"anthropic {anthropic.__version__} has no {name}")
    return cls


# ------------------------------------------------------------------------------------------------- other hosts

KEYS = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "secret", "aws_region": "us-east-1"}


def bedrock(kind: str, url: str) -> Any:
    pytest.importorskip("boto3")
    return client_of("AnthropicBedrock", kind)(base_url=url, max_retries=0, **KEYS)


def vertex(kind: str, url: str) -> Any:
    pytest.importorskip("google.auth")
    cls = client_of("AnthropicVertex", kind)
    return cls(base_url=f"{url}/v1", project_id="p", region="r", access_token="token", max_retries=0)


def foundry(kind: str, url: str) -> Any:
    return client_of("AnthropicFoundry", kind)(base_url=f"{url}/anthropic", api_key="k", max_retries=0)


HOSTS: dict[str, tuple[Callable[[str, str], Any], str, str]] = {
    "bedrock": (bedrock, "/model/claude/invoke", "/model/claude/invoke-with-response-stream"),
    "vertex": (
        vertex,
        "/v1/projects/p/locations/r/publishers/anthropic/models/claude:rawPredict",
        "/v1/projects/p/locations/r/publishers/anthropic/models/claude:streamRawPredict",
    ),
    "foundry": (foundry, "/anthropic/v1/messages", "/anthropic/v1/messages"),
}


def answering(seen: Seen) -> Answer:
    """As each host answers: which paths stream, and how their events are framed."""
    if seen.path.endswith("/invoke-with-response-stream"):
        events = [event.partition(b"data: ")[2].strip() for event in stream_of(PIECES)]
        chunks = [event_message("chunk", wrapped(event.decode(), p="abc")) for event in events]
        return Answer(200, (("content-type", "application/vnd.amazon.eventstream"),), chunks)
    if seen.path.endswith(":streamRawPredict") or seen.json.get("stream"):
        return Answer(200, (("content-type", "text/event-stream"),), stream_of(PIECES))
    return json_answer(message({"type": "text", "text": SPOKEN}))(seen)


@pytest.mark.parametrize("name", ["messages", "messages stream", "messages stream helper"])
@pytest.mark.parametrize("host", HOSTS)
def test_clients_for_other_hosts_are_guarded_where_they_go(
    host: str, name: str, kind: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    make, plain, streamed = HOSTS[host]
    provider.respond = answering
    client = make(kind, provider.url)
    instrument(gateway=None, guard=FakeGuard(redact=["SECRET"]))
    case = CASES[name]
    result = KIT.perform(kind, client, case)
    (seen,) = provider.log
    assert seen.path == (plain if name == "messages" else streamed)
    assert seen.json["messages"][0]["content"] == "Tell me the [redacted]."
    assert case.text is not None
    assert "[redacted]" in case.text(result)
    assert "SECRET" not in case.text(result)
    (span,) = highflame_spans.finished
    assert span.attributes["gen_ai.request.model"] == "claude"
    assert span.attributes["gen_ai.response.model"] == "claude"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["messages", "messages stream"])
def test_a_denied_reply_of_another_host_never_arrives(host: str, name: str, kind: str, provider: Server) -> None:
    make, _, _ = HOSTS[host]
    provider.respond = answering
    client = make(kind, provider.url)
    instrument(gateway=None, guard=FakeGuard(deny=["The SECRET"]))
    with pytest.raises(BlockedError) as caught:
        KIT.perform(kind, client, CASES[name])
    assert caught.value.stage.label == "response"


def signature(seen: Seen) -> str:
    """What a request's signature ought to be, by its path, headers and body as they arrived."""
    given = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\S+), SignedHeaders=(\S+), Signature=\S+",
        seen.headers["authorization"],
    )
    assert given is not None
    scope, names = given.groups()
    headers = "".join(f"{name}:{seen.headers[name].strip()}\n" for name in names.split(";"))
    digest = hashlib.sha256(seen.body).hexdigest()
    canonical = f"{seen.method}\n{seen.path}\n\n{headers}\n{names}\n{digest}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4secret"
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signed = f"AWS4-HMAC-SHA256\n{seen.headers['x-amz-date']}\n{scope}\n{hashed}"
    return hmac.digest(key, signed.encode(), "sha256").hex()


def test_what_bedrock_gets_is_signed_as_it_was_sent(kind: str, provider: Server) -> None:
    """The guard's edit comes before the signature, which would otherwise be refused."""
    provider.respond = answering
    client = bedrock(kind, provider.url)
    instrument(gateway=None, guard=FakeGuard(redact=["SECRET"]))
    KIT.perform(kind, client, CASES["messages"])
    (seen,) = provider.log
    assert b"[redacted]" in seen.body
    assert seen.headers["authorization"].endswith(f"Signature={signature(seen)}")


# ------------------------------------------------------------------------------------------------- its own spans


def traced(kind: str, server: Server, spans: CapturedSpans) -> Any:
    return KIT.make(kind, server.url, open_telemetry={"tracer_provider": spans.provider})


needs_spans = pytest.mark.skipif(VERSION < (2, 0), reason="this version makes no spans of its own")


@needs_spans
@pytest.mark.parametrize(
    "name", ["messages", "messages stream", "messages stream helper", "beta messages", "models list"]
)
def test_each_call_has_one_span(
    name: str, kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    gateway.respond = provider.respond = speaking()
    client = traced(kind, provider, highflame_spans)
    routed(guard=FakeGuard())
    KIT.perform(kind, client, CASES[name])
    (span,) = highflame_spans.finished
    assert span.instrumentation_scope.name == "highflame_middleware"
    uninstrument()
    highflame_spans.clear()
    KIT.perform(kind, traced(kind, provider, highflame_spans), CASES[name])
    (span,) = highflame_spans.finished
    assert span.instrumentation_scope.name == "com.anthropic.sdk.python", "as it was before"


@needs_spans
def test_without_our_span_the_sdk_makes_its_own(provider: Server, gateway: Server, routed: Start) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    gateway.respond = speaking()
    client = KIT.make("sync", provider.url, open_telemetry={"tracer_provider": tracers})
    routed(guard=FakeGuard())
    KIT.perform("sync", client, CASES["messages"])
    (span,) = exporter.get_finished_spans()
    assert span.instrumentation_scope.name == "com.anthropic.sdk.python"


def test_what_a_span_says(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 7,
    }
    gateway.respond = json_answer(message({"type": "text", "text": "Hi."}, usage=usage))
    routed(guard=FakeGuard())
    settings = {"top_k": 3, "temperature": 0.5, "stop_sequences": ["END"]}
    call = Case(lambda c: c.messages.create(**ASK, extra_body=settings))
    KIT.perform(kind, provider, call)
    (span,) = highflame_spans.finished
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 125,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_write.input_tokens": 20,
    }
    assert {name: span.attributes.get(name) for name in expected} == expected
    assert span.name == "chat claude"


# ------------------------------------------------------------------------------------------------- more calls


@pytest.mark.parametrize("name", ["count_tokens", "batches create"])
def test_a_denied_prompt_is_neither_counted_nor_queued(
    name: str, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    if not KIT.possible(CASES[name]):
        pytest.skip(f"anthropic {anthropic.__version__} has no {name}")
    routed(guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        KIT.perform(kind, provider, CASES[name])
    assert gateway.log == provider.log == []


def test_a_batchs_results_are_guarded(kind: str, provider: Server) -> None:
    if not KIT.possible(CASES["batches create"]):
        pytest.skip(f"anthropic {anthropic.__version__} has no batches")
    said = message({"type": "text", "text": "The SECRET is out."})
    lines = [{"custom_id": str(number), "result": {"type": "succeeded", "message": said}} for number in range(3)]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    def respond(seen: Seen) -> Answer:
        if seen.path.endswith("/results"):
            return Answer(200, (("content-type", "application/x-jsonl"),), [content[:99], content[99:]])
        batch = {"id": "b", "type": "message_batch", "processing_status": "ended"}
        return json_answer({**batch, "results_url": f"{provider.url}/v1/messages/batches/b/results"})(seen)

    provider.respond = respond
    instrument(gateway=None, guard=FakeGuard(redact=["SECRET"]))

    def blocking() -> list[Any]:
        with KIT.make("sync", provider.url) as client:
            return list(client.messages.batches.results("b"))

    async def awaited() -> list[Any]:
        async with KIT.make("async", provider.url) as client:
            return [line async for line in await client.messages.batches.results("b")]

    results = blocking() if kind == "sync" else asyncio.run(awaited())
    assert [line.custom_id for line in results] == ["0", "1", "2"]
    assert {spoken(line.result.message) for line in results} == {"The [redacted] is out."}


def test_arguments_stay_json(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"]))
    for name in ("messages tools", "messages get_final_message"):
        reply = KIT.perform(kind, provider, CASES[name])
        assert reply.content[1].input == {"q": "the [redacted]"}


def test_a_call_in_the_history_is_guarded_as_one_text(provider: Server, gateway: Server, routed: Start) -> None:
    guard = FakeGuard(redact=["SECRET"])
    routed(guard=guard)
    gateway.respond = speaking()
    history = [
        {"role": "user", "content": "Go."},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "find", "input": {"q": "SECRET"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "The SECRET."}]},
    ]
    KIT.perform("sync", provider, Case(lambda c: c.messages.create(**{**ASK, "messages": history})))
    sent = gateway.log[0].json["messages"]
    assert sent[1]["content"][0]["input"] == {"q": "[redacted]"}
    assert sent[2]["content"][0]["content"] == "The [redacted]."
    asked = [(request.stage, request.tool.name if request.tool else None) for request in guard.requests[:3]]
    assert asked == [("prompt", None), ("tool_call", "find"), ("tool_result", "find")]


# ------------------------------------------------------------------------------------------------- refusals


def asked_for() -> Any:
    pydantic = importlib.import_module("pydantic")
    return pydantic.create_model("Answer", answer=(str, ...))


def parsing() -> Case:
    case = Case(lambda c: c.messages.parse(**ASK, output_format=asked_for()), None, "messages.parse")
    if not KIT.possible(case):
        pytest.skip(f"anthropic {anthropic.__version__} has no parse()")
    return case


def test_parse_raises_the_verdict_and_not_what_it_makes_of_a_refusal(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking(['{"answer": ', '"OUT"}'])
    routed(guard=FakeGuard(deny=["OUT"]))
    with pytest.raises(BlockedError):
        KIT.perform(kind, provider, parsing(), max_retries=2)
    assert len(gateway.log) == 1


def test_parse_reads_a_refusal_of_ours(kind: str, provider: Server) -> None:
    """As a gateway may answer with one."""
    provider.respond = json_answer(load_codec("anthropic-messages").refuse("Blocked."))
    for case in (CASES["messages"], parsing()):
        reply = KIT.perform(kind, provider, case)
        assert (reply.content, reply.stop_reason) == ([], "refusal")
        assert reply.stop_details.explanation == "Blocked."


def test_a_verdict_is_not_taken_to_another_model(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    """The SDK's own middleware asks the next model where one refuses."""
    middleware: Any = _middleware()
    gateway.respond = speaking(["All is OUT."])
    routed(guard=FakeGuard(deny=["OUT"]))
    client = KIT.make(kind, provider.url, middleware=[middleware([{"model": "other"}])])
    with pytest.raises(BlockedError):
        KIT.perform(kind, client, CASES["beta messages"])
    assert len(gateway.log) == 1


def _middleware() -> Any:
    try:
        module: ModuleType = importlib.import_module("anthropic.lib.middleware")
    except ModuleNotFoundError:
        pytest.skip(f"anthropic {anthropic.__version__} has no middleware")
    if not hasattr(module, "BetaRefusalFallbackMiddleware"):
        pytest.skip(f"anthropic {anthropic.__version__} has no middleware for refusals")
    return module.BetaRefusalFallbackMiddleware


def test_a_stream_that_is_stopped_raises_where_it_is_read(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking(["All is ", "OUT."])
    routed(guard=FakeGuard(deny=["OUT"]))
    for name in ("messages text_stream", "messages get_final_message", "messages streaming response stream"):
        with pytest.raises(BlockedError):
            KIT.perform(kind, provider, CASES[name])


def test_requests_keep_what_the_sdk_says_of_itself(kind: str, provider: Server) -> None:
    """Not routed, only guarded: the provider gets what a bare client would have sent, but for the redaction."""
    provider.respond = speaking()
    KIT.perform(kind, provider, CASES["messages"])
    instrument(gateway=None, guard=FakeGuard(redact=["SECRET"]))
    KIT.perform(kind, provider, CASES["messages"])
    bare, guarded = provider.log
    changing = {"content-length", "x-stainless-retry-count", "idempotency-key"}

    def kept(seen: Seen) -> dict[str, str]:
        return {name: value for name, value in seen.headers.items() if name not in changing}

    assert (bare.path, kept(bare)) == (guarded.path, kept(guarded))
    assert bare.json["messages"][0]["content"] == PROMPT
    assert guarded.json == {**bare.json, "messages": [{"role": "user", "content": "Tell me the [redacted]."}]}
