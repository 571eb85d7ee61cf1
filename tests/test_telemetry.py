"""Spans and log records: one span a call, the conventions' names, nothing of what was said."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from highflame_middleware import BlockedError, Decision, GuardResponse, Mode, Signal, Stage, context, instrument
from highflame_middleware.caller import CallContext
from highflame_middleware.codecs.parts import Summary
from highflame_middleware.guard.verdict import DecisionEvent
from highflame_middleware.telemetry import CallFacts, Recorder, parent_of, trace_headers
from highflame_middleware.testing import CapturedSpans, FakeGuard, ScriptedProvider
from tests.servers import Server, chunk, events, json_answer, stream_answer

MESSAGES: Any = [{"role": "user", "content": "hello"}]
VALIDATOR = Path(__file__).resolve().parents[2] / "shared" / "tools" / "otel" / "validate_genai.py"


def attributes(spans: CapturedSpans) -> dict[str, Any]:
    (span,) = spans.finished
    return dict(span.attributes)


def test_a_chat_call(highflame_spans: CapturedSpans, provider: Server) -> None:
    usage = {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    body = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024", "choices": [choice]}
    provider.respond = json_answer({**body, "usage": usage, "system_fingerprint": "fp", "service_tier": "default"})
    openai = pytest.importorskip("openai")
    with instrument(guard=None), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        with context(user="ada", role="admin", session="s-1"):
            client.chat.completions.create(
                model="gpt-4o",
                messages=MESSAGES,
                temperature=0.5,
                top_p=0.9,
                max_tokens=10,
                seed=4,
                stop=["END"],
                n=1,
                response_format={"type": "json_object"},
                service_tier="flex",
            )
    (span,) = highflame_spans.finished
    assert (span.name, span.kind, span.status.status_code.name) == ("chat gpt-4o", trace.SpanKind.CLIENT, "UNSET")
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.seed": 4,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "c-1",
        "gen_ai.response.model": "gpt-4o-2024",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "openai.api.type": "chat_completions",
        "openai.request.service_tier": "flex",
        "openai.response.service_tier": "default",
        "openai.response.system_fingerprint": "fp",
        "server.address": "127.0.0.1",
        "server.port": provider.port,
        "session.id": "s-1",
        "user.id": "ada",
        "user.roles": ("admin",),
    }


def test_a_streamed_call(highflame_spans: CapturedSpans) -> None:
    provider = ScriptedProvider([{"text": "one two three"}])
    with instrument(), provider.openai() as client:
        stream = client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        assert highflame_spans.finished == [], "not ended before the stream is"
        list(stream)
    found = attributes(highflame_spans)
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert found["gen_ai.usage.output_tokens"] == 3
    assert found["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.parametrize(
    ("call", "name", "api_type"),
    [
        (lambda c: c.embeddings.create(model="e", input="hi"), "embeddings e", None),
        (lambda c: c.completions.create(model="t", prompt="hi"), "text_completion t", None),
        (lambda c: c.responses.create(model="r", input="hi", conversation="conv_1"), "chat r", "responses"),
    ],
)
def test_other_operations(call: Any, name: str, api_type: str | None, highflame_spans: CapturedSpans) -> None:
    with instrument(), ScriptedProvider([{"text": "hi"}]).openai() as client:
        call(client)
    (span,) = highflame_spans.finished
    assert span.name == name
    assert span.attributes.get("openai.api.type") == api_type
    assert span.attributes["gen_ai.usage.input_tokens"] > 0
    assert span.attributes.get("gen_ai.conversation.id") == ("conv_1" if api_type else None)


def test_an_operation_without_a_codec_is_on_record(highflame_spans: CapturedSpans, provider: Server) -> None:
    openai = pytest.importorskip("openai")
    provider.respond = json_answer({"object": "list", "data": []})
    with instrument(), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        client.models.list()
    (span,) = highflame_spans.finished
    assert span.name == "GET /models"
    assert "gen_ai.operation.name" not in span.attributes


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_an_error_of_the_provider(status: int, highflame_spans: CapturedSpans, provider: Server) -> None:
    openai = pytest.importorskip("openai")
    provider.respond = json_answer({"error": {"message": "SECRET prompt quoted"}}, status)
    with instrument(guard=None), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="m", messages=MESSAGES)
    (span,) = highflame_spans.finished
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == f"openai.{type(caught.value).__name__}"
    assert span.status.description is None, "a provider's message may quote the prompt"
    assert span.events == ()


def test_nothing_that_was_said_is_recorded(
    highflame_spans: CapturedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    provider = ScriptedProvider([{"chunks": ["a SEC", "RET reply"]}])
    guard = FakeGuard(redact=["SECRET"], deny=["forbidden"])
    with (
        caplog.at_level(logging.DEBUG, "highflame_middleware"),
        instrument(guard=guard),
        provider.openai() as client,
    ):
        for content in ("a SECRET prompt", "a forbidden SECRET"):
            for stream in (False, True):
                try:
                    reply = client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": content}], stream=stream
                    )
                    list(reply)
                except BlockedError as error:
                    assert "SECRET" not in f"{error!r} {error.response!r}"
    told = [span.to_json() for span in highflame_spans.finished] + [repr(vars(record)) for record in caplog.records]
    assert len(highflame_spans.finished) == 4
    assert not [text for text in told if "SECRET" in text or "forbidden SEC" in text]


def test_a_decision_is_an_event_and_a_log_record(
    highflame_spans: CapturedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    verdict = GuardResponse(
        decision=Decision.DENY,
        policy_reason="no weapons",
        signals=(Signal(name="toxicity", score=91),),
        request_id="r1",
    )
    with caplog.at_level(logging.DEBUG, "highflame_middleware.guard"):
        with instrument(guard=lambda request: verdict, mode="monitor"), ScriptedProvider([{}]).openai() as client:
            client.chat.completions.create(model="m", messages=MESSAGES)
    (decision,) = highflame_spans.decisions()
    assert decision == {
        "name": "<lambda>",
        "stage": "prompt",
        "mode": "monitor",
        "decision": "deny",
        "enforced": False,
        "reason": "no weapons",
        "signals": ("toxicity:91",),
        "latency_ms": 0.0,
        "content_hash": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.message == "reported deny at the prompt stage (mode monitor, guard <lambda>): no weapons"
    assert record.highflame_decision.request_id == "r1"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("mode", "decision", "level"),
    [
        ("enforce", "deny", logging.WARNING),
        ("enforce", "allow", logging.DEBUG),
        ("monitor", "deny", logging.INFO),
        ("alert", "deny", logging.WARNING),
    ],
)
def test_how_loud_a_decision_is(mode: str, decision: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG, "highflame_middleware.guard"),
        instrument(guard=lambda request: Decision(decision), mode=mode),
        ScriptedProvider([{}]).openai() as client,
    ):
        try:
            client.chat.completions.create(model="m", messages=MESSAGES)
        except BlockedError:
            pass
    assert {record.levelno for record in caplog.records} == {level}


def test_the_span_is_current_in_the_call_and_not_after(highflame_spans: CapturedSpans) -> None:
    """HTTP instrumentations nest below it; what the caller does between two chunks does not."""
    inside = []
    provider = ScriptedProvider([{"text": "a b"}])
    handle = provider._gateway.handle

    def noting(request: Any) -> Any:
        inside.append(trace.get_current_span().get_span_context().span_id)
        return handle(request)

    provider._gateway.forward = noting  # type: ignore[method-assign]
    with instrument(guard=None), provider.openai() as client:
        outer = trace.get_current_span()
        for _ in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            assert trace.get_current_span() is outer
    seam = next(span for span in highflame_spans.finished if span.parent is None)
    assert inside == [seam.context.span_id]


def test_asynchronous_calls_side_by_side_have_a_parent_each(highflame_spans: CapturedSpans) -> None:
    tracer = highflame_spans.provider.get_tracer("test")
    provider = ScriptedProvider([{"text": "a b", "delay": 0.01, "interval": 0.002}])

    async def one(client: Any, number: int) -> int:
        with tracer.start_as_current_span(f"parent {number}") as parent:
            stream = await client.chat.completions.create(model=f"m{number}", messages=MESSAGES, stream=True)
            async for _ in stream:
                assert trace.get_current_span() is parent
        return parent.get_span_context().span_id

    async def all_of_them() -> list[int]:
        async with provider.async_openai() as client:
            return list(await asyncio.gather(*(one(client, number) for number in range(8))))

    with instrument():
        parents = asyncio.run(all_of_them())
    for number, parent in enumerate(parents):
        (span,) = highflame_spans.named(f"chat m{number}")
        assert span.parent.span_id == parent


def test_one_trace_from_the_inbound_request_to_the_gateway(
    highflame_spans: CapturedSpans, gateway: Server, provider: Server, routed: Any
) -> None:
    openai = pytest.importorskip("openai")
    routed(guard=None)
    inbound = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": "user=ada"}
    with parent_of(inbound.items()), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
    (span,) = highflame_spans.finished
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    sent = gateway.log[0].headers
    assert sent["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{span.context.span_id:016x}-01"
    assert "baggage" not in sent


def test_a_provider_that_is_called_directly_is_sent_no_trace(
    highflame_spans: CapturedSpans, provider: Server
) -> None:
    openai = pytest.importorskip("openai")
    with instrument(guard=None), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
    assert len(highflame_spans.finished) == 1
    assert "traceparent" not in provider.log[0].headers


def test_an_inbound_trace_yields_to_a_span_that_is_there(highflame_spans: CapturedSpans) -> None:
    with highflame_spans.provider.get_tracer("test").start_as_current_span("server") as server:
        with parent_of([("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]):
            assert trace.get_current_span() is server


@pytest.mark.parametrize("header", ["", "garbage", "00-0-0-00", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_malformed_inbound_trace_is_no_trace(header: str) -> None:
    with parent_of([("traceparent", header)]):
        assert not trace.get_current_span().get_span_context().is_valid


def test_a_span_ends_once_whoever_ends_it(highflame_spans: CapturedSpans) -> None:
    recorder = Recorder(CallFacts(name="chat m", provider="openai"), CallContext())
    recorder.summarise(Summary(id="1", finish_reasons=("stop",)))
    threads = [threading.Thread(target=end) for end in [recorder.end, lambda: recorder.fail(ValueError())] * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(highflame_spans.finished) == 1


def test_a_recorder_without_facts_notes_on_the_current_span(highflame_spans: CapturedSpans) -> None:
    event = DecisionEvent(guard="g", stage=Stage.PROMPT, mode=Mode.ENFORCE, decision="deny", enforced=True)
    with highflame_spans.provider.get_tracer("test").start_as_current_span("server"):
        recorder = Recorder(None, CallContext())
        recorder.decide(event)
        recorder.fail(ValueError())
    (span,) = highflame_spans.finished
    assert [made["decision"] for made in highflame_spans.decisions()] == ["deny"]
    assert span.status.status_code.name == "UNSET", "the server's span is not ours to end or fail"


def test_without_an_sdk_nothing_is_recorded_and_nothing_breaks() -> None:
    recorder = Recorder(CallFacts(name="chat m", provider="openai"), CallContext())
    assert not recorder.recording
    assert trace_headers(recorder.span) == {}
    recorder.end()


def test_the_spans_follow_the_conventions(highflame_spans: CapturedSpans, tmp_path: Path) -> None:
    """Against a validator of the GenAI registry, where there is one beside the checkout."""
    if not VALIDATOR.is_file():
        pytest.skip(f"no validator at {VALIDATOR}")
    pytest.importorskip("yaml")
    pytest.importorskip("jsonschema")
    provider = ScriptedProvider([{"when": {"contains": "fail"}, "error": {"status": 500}}, {"text": "a b c"}])
    with instrument(guard=FakeGuard(deny=["forbidden"], redact=["b"])), provider.openai() as client:
        for content in ("hello", "fail", "forbidden"):
            for stream in (False, True):
                messages: Any = [{"role": "user", "content": content}]
                try:
                    list(client.chat.completions.create(model="m", messages=messages, stream=stream, temperature=1))
                except Exception as error:
                    assert type(error).__name__ in ("BlockedError", "InternalServerError")
        client.responses.create(model="m", input="hello")
        client.completions.create(model="m", prompt="hello")
        client.embeddings.create(model="m", input="hello", dimensions=4)
    document = {"spans": [_as_data(span) for span in highflame_spans.finished], "metrics": [], "events": []}
    file = tmp_path / "telemetry.json"
    file.write_text(json.dumps(document))
    done = subprocess.run([sys.executable, str(VALIDATOR), str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    # Three calls twice over and three other operations; the provider in this process adds none of its own.
    assert len(document["spans"]) == 9


def _as_data(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "attributes": {
            key: list(value) if isinstance(value, tuple) else value for key, value in span.attributes.items()
        },
        "scope": span.instrumentation_scope.name,
        "events": [{"name": event.name, "attributes": dict(event.attributes)} for event in span.events],
    }


def test_a_stream_that_nobody_records_is_not_read(provider: Server) -> None:
    """No guard and no tracer: the reply's bytes pass with nothing under them."""
    openai = pytest.importorskip("openai")
    provider.respond = stream_answer(events(chunk("hi")))
    with instrument(guard=None), openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        assert "Guarded" not in type(stream.response.stream).__name__
        assert len(list(stream)) == 1
