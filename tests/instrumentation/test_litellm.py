"""litellm over its own HTTP handlers and over the OpenAI SDK: caught, and its verdicts come through unwrapped."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
litellm = pytest.importorskip("litellm", exc_type=ImportError)

from highflame_middleware import BlockedError, bypass  # noqa: E402
from highflame_middleware.instrumentation import Instrumentation  # noqa: E402
from highflame_middleware.testing import CapturedSpans, FakeGuard  # noqa: E402
from tests.instrumentation.kits import PIECES, PROMPT  # noqa: E402
from tests.instrumentation.kits.cohere_server import speaking as speaking_cohere  # noqa: E402
from tests.servers import Answer, Respond, Seen, Server, chunk, events  # noqa: E402

Start = Callable[..., Instrumentation]

pytestmark = pytest.mark.filterwarnings("ignore")

# By the provider: the model's name to litellm, and where its API is below a host.
MODELS = {
    "anthropic": ("anthropic/claude-3-5-sonnet-20241022", ""),
    "gemini": ("gemini/gemini-1.5-flash", "/v1beta"),
    "cohere": ("cohere/command-r", "/v2/chat"),
    "mistral": ("mistral/mistral-large-latest", "/v1"),
    "groq": ("groq/openai/gpt-oss-20b", "/openai/v1"),
    "openai": ("openai/gpt-4o", "/v1"),
}
CALLS = [
    pytest.param(name, kind, stream, id=f"{name}-{kind}{'-stream' if stream else ''}")
    for name in MODELS
    for kind in ("sync", "async")
    for stream in (False, True)
    # litellm cannot read the names of the events that Cohere sends, instrumented or not.
    if not (name == "cohere" and stream)
]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm, "suppress_debug_info", True)


def call(name: str, kind: str, stream: bool, url: str, **options: Any) -> str:
    """What a completion says."""
    model, path = MODELS[name]
    given = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "api_key": "k",
        "api_base": f"{url}{path}",
        "stream": stream,
        "max_tokens": 10,
        **options,
    }
    if kind == "sync":
        reply = litellm.completion(**given)
        return _joined(list(reply)) if stream else reply.choices[0].message.content

    async def made() -> str:
        reply = await litellm.acompletion(**given)
        return _joined([item async for item in reply]) if stream else reply.choices[0].message.content

    return _loop().run_until_complete(made())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all tests: litellm keeps its clients, which belong to the loop that they were made in."""
    return asyncio.new_event_loop()


@pytest.fixture(autouse=True, scope="module")
def _closed() -> Iterator[None]:
    yield
    if hasattr(litellm, "close_litellm_async_clients"):
        _loop().run_until_complete(litellm.close_litellm_async_clients())
    _loop().close()


def _joined(chunks: list[Any]) -> str:
    return "".join(item.choices[0].delta.content or "" for item in chunks if item.choices)


def speaking(pieces: list[str] | None = None) -> Respond:
    """A server that speaks as the provider does whose path it is asked at."""
    said = pieces or PIECES
    cohere = speaking_cohere(pieces)

    def respond(seen: Seen) -> Answer:
        path, _, query = seen.path.partition("?")
        if path.endswith("/messages"):
            streamed = seen.json.get("stream") is True
            return _stream(_anthropic_events(said)) if streamed else _whole(_anthropic("".join(said)))
        if "generatecontent" in path.lower():
            replies = [_gemini(piece) for piece in said]
            return _stream(events(*replies, done=False)) if "sse" in query else _whole(_gemini("".join(said)))
        if path.endswith("/chat"):
            return cohere(seen)
        if seen.json.get("stream"):
            return _stream(events(*(chunk(piece) for piece in said), chunk(finish="stop")))
        return _whole(_openai("".join(said)))

    return respond


def _openai(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    fields = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "on_demand"}
    return {**fields, "choices": [choice], "usage": usage}


def _anthropic(text: str) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    fields = {"id": "m", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    return {**fields, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None}


def _anthropic_events(said: list[str]) -> Iterator[bytes]:
    def event(**data: Any) -> bytes:
        return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()

    message = {**_anthropic(""), "content": [], "stop_reason": None}
    yield event(type="message_start", message=message)
    yield event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})
    for piece in said:
        yield event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event(type="content_block_stop", index=0)
    yield event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
    yield event(type="message_stop")


def _gemini(text: str) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


def _whole(body: Any) -> Answer:
    content = json.dumps(body).encode()
    return Answer(200, (("content-type", "application/json"),), [content], length=len(content))


def _stream(frames: Any) -> Answer:
    return Answer(200, (("content-type", "text/event-stream"),), list(frames))


@pytest.mark.parametrize(("name", "kind", "stream"), CALLS)
def test_guarded_routed_and_recorded_once(
    name: str,
    kind: str,
    stream: bool,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"]))
    said = call(name, kind, stream, provider.url)
    assert said == "The [redacted] is out."
    assert provider.log == []
    (seen,) = gateway.log
    assert b"SECRET" not in seen.body
    if (name, kind, stream) != ("anthropic", "sync", True):
        # This one it leaves before its last event and never closes or lets go of: its span ends with the process.
        assert len(highflame_spans.finished) == 1


@pytest.mark.parametrize(("name", "kind", "stream"), CALLS)
def test_a_denied_prompt_is_one_error_and_never_leaves(
    name: str, kind: str, stream: bool, provider: Server, gateway: Server, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        call(name, kind, stream, provider.url, num_retries=2)
    assert (provider.log, gateway.log) == ([], [])


@pytest.mark.parametrize(("name", "kind", "stream"), CALLS)
def test_a_denied_reply_is_one_error_and_not_asked_for_again(
    name: str, kind: str, stream: bool, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking(["All is ", "OUT."])
    routed(guard=FakeGuard(deny=["OUT"]))
    with pytest.raises(BlockedError):
        call(name, kind, stream, provider.url, num_retries=2)
    assert len(gateway.log) == 1


def test_an_error_of_the_provider_stays_litellms(provider: Server, gateway: Server, routed: Start) -> None:
    """Also where the caller is busy with a verdict: he asks another model because of it."""
    gateway.respond = lambda seen: Answer(404, chunks=[b'{"error": {"message": "gone"}}'])
    routed(guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(litellm.NotFoundError):
        try:
            call("mistral", "sync", False, provider.url)
        except BlockedError:
            with bypass("asked for"):
                call("mistral", "sync", False, provider.url)


def test_taken_back(provider: Server, routed: Start) -> None:
    before = litellm.main.exception_type
    handle = routed()
    assert litellm.main.exception_type is not before
    handle.uninstrument()
    assert litellm.main.exception_type is before
    assert litellm.utils.exception_type is before
