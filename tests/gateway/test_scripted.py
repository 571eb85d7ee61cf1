"""The scripted provider speaks every OpenAI format, streamed or not, as the real SDK reads it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from highflame_middleware.gateway.messages import Request
from highflame_middleware.gateway.scripted import Play, play
from highflame_middleware.testing import ScriptedProvider
from tests.gateway_kit import ASK, asking, body_of

TOOL = {"name": "look_up", "arguments": {"city": "Bern", "days": [1, 2]}}
MESSAGES: Any = ASK["messages"]


def chat(client: Any, **fields: Any) -> Any:
    return client.chat.completions.create(model="m", messages=MESSAGES, **fields)


def respond(client: Any, **fields: Any) -> Any:
    return client.responses.create(model="m", input="Tell me.", **fields)


def complete(client: Any, **fields: Any) -> Any:
    return client.completions.create(model="m", prompt="Tell me.", **fields)


def chat_text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def response_text(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


# Each format: how to call it, what a reply in one piece says, what a stream says.
FORMATS: dict[str, tuple[Callable[..., Any], Callable[[Any], str], Callable[[list[Any]], str]]] = {
    "chat": (chat, lambda reply: reply.choices[0].message.content, chat_text),
    "responses": (respond, lambda reply: reply.output_text, response_text),
    "completions": (complete, lambda reply: reply.choices[0].text, lambda c: "".join(x.choices[0].text for x in c)),
}


def call(kind: str, scripts: list[dict[str, Any]], ask: Callable[..., Any], **fields: Any) -> Any:
    """Make a call with a real client of one kind and read it to its end."""
    provider = ScriptedProvider(scripts)
    if kind == "sync":
        with provider.openai() as client:
            reply = ask(client, **fields)
            return list(reply) if fields.get("stream") else reply

    async def run() -> Any:
        async with provider.async_openai() as client:
            reply = await ask(client, **fields)
            return [item async for item in reply] if fields.get("stream") else reply

    return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "script", [{"text": "All is well."}, {"chunks": ["All ", "is", " well."]}], ids=["text", "chunks"]
)
def test_a_text_in_every_format(name: str, script: dict[str, Any], kind: str) -> None:
    ask, whole, streamed = FORMATS[name]
    assert whole(call(kind, [script], ask)) == "All is well."
    chunks = call(kind, [script], ask, stream=True)
    assert streamed(chunks) == "All is well."
    assert len(chunks) >= 3, "a stream comes in pieces"


def test_the_pieces_of_a_stream_are_the_scripts(kind: str) -> None:
    chunks = call(kind, [{"chunks": ["se", "cret", "!"]}], chat, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in chunks]
    assert [piece for piece in pieces if piece] == ["se", "cret", "!"]


def test_tool_calls_as_chat(kind: str) -> None:
    scripts = [{"tool_calls": [TOOL, {"name": "stop", "arguments": "not { JSON"}]}]
    reply = call(kind, scripts, chat).choices[0]
    calls = [(item.function.name, item.function.arguments) for item in reply.message.tool_calls]
    assert calls == [("look_up", '{"city": "Bern", "days": [1, 2]}'), ("stop", "not { JSON")]
    assert reply.finish_reason == "tool_calls"
    found: dict[int, list[str]] = {}
    finish = None
    for chunk in call(kind, scripts, chat, stream=True):
        finish = chunk.choices[0].finish_reason or finish
        for delta in chunk.choices[0].delta.tool_calls or ():
            found.setdefault(delta.index, []).extend(filter(None, [delta.function.name, delta.function.arguments]))
    assert {index: (parts[0], "".join(parts[1:])) for index, parts in found.items()} == dict(enumerate(calls))
    assert finish == "tool_calls"


def test_tool_calls_as_responses(kind: str) -> None:
    (item,) = call(kind, [{"tool_calls": [TOOL]}], respond).output
    assert (item.type, item.name, item.arguments) == (
        "function_call",
        "look_up",
        '{"city": "Bern", "days": [1, 2]}',
    )
    events = call(kind, [{"tool_calls": [TOOL]}], respond, stream=True)
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item.arguments
    assert len(deltas) == 2
    assert events[-1].response.output[0].name == "look_up"


def test_refusals(kind: str) -> None:
    script = [{"refusal": "I had rather not."}]
    assert call(kind, script, chat).choices[0].message.refusal == "I had rather not."
    chunks = call(kind, script, chat, stream=True)
    assert (
        "".join(getattr(chunk.choices[0].delta, "refusal", None) or "" for chunk in chunks) == "I had rather not."
    )
    (message,) = call(kind, script, respond).output
    assert message.content[0].refusal == "I had rather not."
    events = call(kind, script, respond, stream=True)
    assert [event.delta for event in events if event.type == "response.refusal.delta"] == ["I had rather not."]


def test_a_stream_of_responses_numbers_its_events_and_ends_whole(kind: str) -> None:
    events = call(kind, [{"text": "All is well."}], respond, stream=True)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "All is well."
    assert events[-1].response.usage.output_tokens > 0


def test_stream_helpers_follow_it() -> None:
    provider = ScriptedProvider([{"text": "All is well."}])
    with provider.openai() as client:
        with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            assert stream.get_final_completion().choices[0].message.content == "All is well."
        with client.responses.stream(model="m", input="Tell me.") as stream:
            assert stream.get_final_response().output_text == "All is well."


def test_usage_comes_where_it_is_asked_for(kind: str) -> None:
    assert call(kind, [{"text": "one two"}], chat).usage.completion_tokens == 2
    plain = call(kind, [{"text": "one two"}], chat, stream=True)
    assert [chunk.usage for chunk in plain] == [None] * len(plain)
    asked = call(kind, [{"text": "one two"}], chat, stream=True, stream_options={"include_usage": True})
    assert (asked[-1].usage.completion_tokens, asked[-1].choices) == (2, [])


def test_more_than_one_choice(kind: str) -> None:
    assert [choice.index for choice in call(kind, [{"text": "Hi"}], chat, n=3).choices] == [0, 1, 2]


def test_embeddings_are_the_same_for_the_same_text(kind: str) -> None:
    def embed(client: Any, **fields: Any) -> Any:
        return client.embeddings.create(model="m", **fields)

    reply = call(kind, [{}], embed, input=["a", "b", "a"])
    first, second, third = [item.embedding for item in reply.data]
    assert first == third != second
    assert all(-1 <= number <= 1 for number in first)
    assert [len(item.embedding) for item in call(kind, [{}], embed, input="a", dimensions=40).data] == [40]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ({"status": 400, "code": "context_length_exceeded"}, openai.BadRequestError),
        ({"status": 401}, openai.AuthenticationError),
        ({"status": 429, "headers": {"Retry-After": 7}}, openai.RateLimitError),
        ({"status": 503}, openai.InternalServerError),
        ({}, openai.InternalServerError),
    ],
    ids=lambda value: str(value.get("status")) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_the_sdks_own(error: dict[str, Any], raised: Any, stream: bool, kind: str) -> None:
    with pytest.raises(raised) as caught:
        call(kind, [{"error": {"message": "no", **error}}], chat, stream=stream)
    assert caught.value.body["message"] == "no"
    assert caught.value.code == error.get("code", "scripted_error")
    for name, value in error.get("headers", {}).items():
        assert caught.value.response.headers[name] == str(value)


def test_errors_are_retried_as_a_providers_would_be() -> None:
    provider = ScriptedProvider([{"error": {"status": 503, "headers": {"retry-after-ms": "1"}}}])
    with provider.openai(max_retries=2) as client, pytest.raises(openai.InternalServerError):
        chat(client)
    assert len(provider.requests) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_delay_is_before_the_first_byte(stream: bool, kind: str) -> None:
    begun = time.perf_counter()
    call(kind, [{"text": "Hi", "delay": 0.1}], chat, stream=stream)
    assert time.perf_counter() - begun >= 0.1


def test_an_interval_is_between_the_events() -> None:
    with ScriptedProvider([{"chunks": ["a", "b"], "interval": 0.05}]).openai() as client:
        arrivals = [time.perf_counter() for _ in chat(client, stream=True)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(gaps) == 3
    assert min(gaps) >= 0.04


def test_a_cut_breaks_the_stream_after_that_many_events(kind: str) -> None:
    seen = []

    def read(client: Any) -> None:
        for chunk in chat(client, stream=True):
            seen.append(chunk)

    async def aread(client: Any) -> None:
        async for chunk in await chat(client, stream=True):
            seen.append(chunk)

    provider = ScriptedProvider([{"chunks": ["a", "b", "c"], "cut": 2}])
    with pytest.raises(Exception) as caught:
        if kind == "sync":
            with provider.openai() as client:
                read(client)
        else:

            async def run() -> None:
                async with provider.async_openai() as client:
                    await aread(client)

            asyncio.run(run())
    assert "ReadError" in [type(error).__name__ for error in (caught.value, caught.value.__cause__)]
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("when", "text", "model", "taken"),
    [
        ({}, "Hello", "m", True),
        ({"contains": "HELL"}, "Hello", "m", True),
        ({"contains": "bye"}, "Hello", "m", False),
        ({"model": "gpt-*"}, "Hello", "gpt-4o", True),
        ({"model": "gpt-*"}, "Hello", "o3", False),
        ({"path": "*/chat/*"}, "Hello", "m", True),
        ({"path": "*/responses"}, "Hello", "m", False),
        ({"contains": "hello", "model": "o3"}, "Hello", "m", False),
    ],
)
def test_which_calls_a_script_takes(when: dict[str, str], text: str, model: str, taken: bool) -> None:
    scene = played([{"when": when, "text": "mine"}, {"text": "other"}], asking(text, model=model))
    assert (b'"mine"' in scene.frames[0][1]) is taken


def test_the_last_text_is_looked_at_and_no_system_prompt() -> None:
    messages = [{"role": "system", "content": "pick me"}, {"role": "user", "content": "first"}]
    scripts = [{"when": {"contains": "pick me"}, "text": "system"}, {"when": {"contains": "last"}, "text": "right"}]
    messages.append({"role": "user", "content": "last"})
    assert b'"right"' in played(scripts, {"model": "m", "messages": messages}).frames[0][1]


# What a caller may send that no model could answer: a clear 4xx, never a fault of the gateway's own.
@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/v1/models", b"", 404),
        ("GET", "/v1/chat/completions", b"", 404),
        ("POST", "/v1/audio/speech", b"{}", 404),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"\xff", 400),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
        ("POST", "/v1/chat/completions", b"null", 400),
        ("POST", "/v1/chat/completions", b'{"n": "many"}', 400),
        ("POST", "/v1/chat/completions", b'{"n": 1000000000}', 400),
        ("POST", "/v1/embeddings", b'{"input": "a", "dimensions": 1000000000}', 400),
        ("POST", "/v1/embeddings", b'{"input": "a", "dimensions": -1}', 400),
        ("POST", "/v1/chat/completions", b'{"messages": 7, "stream_options": 7, "model": 7}', 200),
        ("POST", "/v1/embeddings", b'{"input": {"a": 1}}', 200),
        ("POST", "/v1/responses", b"{}", 200),
    ],
)
def test_what_cannot_be_answered_is_the_callers_fault(method: str, path: str, content: bytes, status: int) -> None:
    assert play([{"text": "Hi"}], Request(method=method, path=path, body=content)).status == status


def test_a_call_that_no_script_takes_says_so() -> None:
    scene = played([{"when": {"contains": "never"}}], asking())
    assert (scene.status, b"no script" in scene.frames[0][1]) == (404, True)


def played(scripts: list[dict[str, Any]], body: Any) -> Play:
    return play(scripts, Request(method="POST", path="/v1/chat/completions", body=body_of(body)))
