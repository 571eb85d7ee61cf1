"""The test kit, as the tests of an application use it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest
from opentelemetry import trace

from highflame_middleware import BlockedError, ConfigError, GuardError, GuardRequest, instrument
from highflame_middleware.testing import CapturedSpans, FakeGuard, ScriptedProvider, captured_spans, serve_on_thread
from highflame_middleware.testing.spans import render_tree
from highflame_middleware.types import Decision, Stage
from tests.gateway_kit import asking

MESSAGES: Any = asking("Hi!")["messages"]


def judge(guard: FakeGuard, text: str, kind: str) -> Any:
    request = GuardRequest(content=text)
    return guard.evaluate(request) if kind == "sync" else anyio.run(guard.aevaluate, request)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("words", "text", "decision"),
    [
        ({"deny": ["bomb"]}, "a bomb", Decision.DENY),
        ({"deny": ["bomb"]}, "a Bomb", Decision.ALLOW),
        ({"step_up": ["pay"]}, "pay now", Decision.STEP_UP),
        ({"defer": ["wait"]}, "wait", Decision.DEFER),
        ({"redact": ["4711"]}, "4711 and 4711", Decision.MODIFY),
        ({"deny": ["x"], "redact": ["x"]}, "x", Decision.DENY),
        ({}, "", Decision.ALLOW),
    ],
)
def test_a_fake_guard_does_as_told(words: dict[str, Any], text: str, decision: Decision, kind: str) -> None:
    guard = FakeGuard(**words)
    assert judge(guard, text, kind).decision is decision
    assert [request.content for request in guard.requests] == [text]


def test_a_fake_guards_redactions_are_by_place() -> None:
    guard = FakeGuard(redact=["a.c", "x"], replacement="#")
    entries = guard.evaluate(GuardRequest(content="a.c abc x")).redaction_entries
    assert [(entry.start_pos, entry.end_pos, entry.replacement) for entry in entries] == [(0, 3, "#"), (8, 9, "#")]


@pytest.mark.parametrize("local", [True, False])
def test_a_fake_guard_can_fail(local: bool) -> None:
    guard = FakeGuard(fault=ValueError("down"), local=local)
    provider = ScriptedProvider([{"text": "Hello."}])
    with instrument(guard=guard, gateway=None), provider.openai() as client, pytest.raises(GuardError):
        client.chat.completions.create(model="m", messages=MESSAGES)
    assert provider.requests == []


WAYS: dict[str, Callable[[ScriptedProvider], Any]] = {}


def _way(function: Callable[[ScriptedProvider], Any]) -> Callable[[ScriptedProvider], Any]:
    WAYS[function.__name__.strip("_")] = function
    return function


@_way
def _in_process(provider: ScriptedProvider) -> Any:
    with provider.openai() as client:
        return client.chat.completions.create(model="m", messages=MESSAGES)


@_way
def _asynchronously(provider: ScriptedProvider) -> Any:
    async def run() -> Any:
        async with provider.async_openai() as client:
            return await client.chat.completions.create(model="m", messages=MESSAGES)

    return anyio.run(run)


@_way
def _served(provider: ScriptedProvider) -> Any:
    with provider.serve() as url, openai.OpenAI(api_key="test", base_url=url) as client:
        return client.chat.completions.create(model="m", messages=MESSAGES)


@_way
def _through_a_transport(provider: ScriptedProvider) -> Any:
    with httpx.Client(transport=provider.transport(httpx), base_url="http://any/v1") as client:
        reply = client.post("/chat/completions", json=asking("Hi!"))
    return openai.types.chat.ChatCompletion.model_validate(reply.json())


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("guarded", [True, False])
def test_a_provider_answers_and_remembers(name: str, guarded: bool, highflame_instrument: Any) -> None:
    provider = ScriptedProvider([{"text": "Hello."}])
    if guarded:
        highflame_instrument(guard=FakeGuard(), gateway=None)
    assert WAYS[name](provider).choices[0].message.content == "Hello."
    assert provider.requests == [asking("Hi!")]
    assert provider.headers[0]["content-type"] == "application/json"


def test_a_provider_remembers_whatever_it_is_sent() -> None:
    provider = ScriptedProvider([{"text": "Hello."}])
    with httpx.Client(transport=provider.transport(httpx), base_url="http://any/v1") as client:
        client.get("/models")
        client.post("/files", content=b"\x00\xff")
        client.post("/chat/completions", json={"n": 1})
    assert provider.requests == [None, b"\x00\xff", {"n": 1}]


def test_a_provider_heeds_no_settings_of_the_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application's own default provider, keys and mode are not the fake's."""
    monkeypatch.chdir(tmp_path)
    Path("highflame.toml").write_text('default_provider = "mine"\ngateway_keys = ["k"]\n', "utf-8")
    monkeypatch.setenv("HIGHFLAME_MODE", "enforce")
    assert _served(ScriptedProvider([{"text": "Hello."}])).choices[0].message.content == "Hello."


def test_scripts_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ConfigError, match="'txt'"):
        ScriptedProvider([{"txt": "Hello."}])


def test_a_provider_in_front_of_an_instrumented_sdk(
    highflame_instrument: Any, highflame_spans: CapturedSpans
) -> None:
    provider = ScriptedProvider([{"text": "The code is 4711."}])
    guard = FakeGuard(redact=["4711"], deny=["bomb"])
    highflame_instrument(guard=guard, gateway=None)
    assert _in_process(provider).choices[0].message.content == "The code is [redacted]."
    assert [request.stage for request in guard.requests] == [Stage.PROMPT, Stage.RESPONSE]
    with provider.openai() as client, pytest.raises(BlockedError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "bomb"}])
    assert len(provider.requests) == 1
    assert [span.name for span in highflame_spans.finished] == ["chat m", "chat m"]
    assert [made["decision"] for made in highflame_spans.decisions()] == ["modify", "deny"]


def test_captured_spans_leave_the_global_provider_alone(highflame_instrument: Any) -> None:
    before = trace.get_tracer_provider()
    highflame_instrument(guard=None, gateway=None)
    provider = ScriptedProvider([{"text": "Hello."}])
    with captured_spans() as outer:
        _in_process(provider)
        with captured_spans() as inner:
            _in_process(provider)
        _in_process(provider)
    _in_process(provider)
    assert trace.get_tracer_provider() is before
    assert (len(outer.finished), len(inner.finished)) == (2, 1)
    assert len(outer.named("chat m")) == 2
    assert outer.named("another") == []
    outer.clear()
    assert outer.finished == []


def test_spans_as_a_tree(highflame_instrument: Any) -> None:
    with captured_spans() as spans:
        highflame_instrument(guard=FakeGuard(redact=["Hello"]), gateway=None)
        tracer = spans.provider.get_tracer("test")
        with tracer.start_as_current_span("request"), tracer.start_as_current_span("detail"):
            _in_process(ScriptedProvider([{"text": "Hello."}]))
    first, second, third, *rest = spans.tree().splitlines()
    assert (first.split()[:2], second.split()[:2], third.split()[:3]) == (
        ["INTERNAL", "request"],
        ["INTERNAL", "detail"],
        ["CLIENT", "chat", "m"],
    )
    assert [len(line) - len(line.lstrip()) for line in (first, second, third)] == [0, 2, 4]
    assert [line.strip() for line in rest] == ["· response: modify, enforced (no reason given)"]
    hidden = render_tree(spans.finished, hide=lambda span: span.name == "detail").splitlines()
    assert "detail" not in str(hidden)
    assert hidden[1].startswith("  CLIENT")


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def test_serving_ends_with_its_block() -> None:
    with serve_on_thread(_hello) as url:
        assert httpx.get(url).text == "hello"
        assert _server_threads() == 1
    assert _server_threads() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_serving_ends_over_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), serve_on_thread(_hello):
        raise ZeroDivisionError
    assert _server_threads() == 0


def test_serving_does_not_wait_for_a_stream_that_nobody_reads() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await anyio.sleep(60)

    begun = time.monotonic()
    with serve_on_thread(endless) as url, httpx.Client() as client:
        with client.stream("GET", url) as response:
            assert next(response.iter_raw()) == b"x"
            begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert _server_threads() == 0


def test_an_app_that_does_not_start_says_so() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="did not start"), serve_on_thread(failing):
        raise AssertionError("it is not served")
    assert _server_threads() == 0


def _server_threads() -> int:
    return sum(thread.name == "highflame-test-server" for thread in threading.enumerate())


def test_the_fixtures_come_with_the_package_and_clean_up(tmp_path: Path) -> None:
    """In a test run of somebody else's: the plugin is there, and one test's instrumentation is gone in the next."""
    (tmp_path / "test_app.py").write_text(
        textwrap.dedent(
            """
            from highflame_middleware.instrumentation import installation
            from highflame_middleware.testing import FakeGuard, ScriptedProvider
            import openai
            ORIGINAL = openai._base_client.SyncAPIClient.request

            def test_first(highflame_instrument, highflame_spans):
                highflame_instrument(guard=FakeGuard(), gateway=None)
                assert openai._base_client.SyncAPIClient.request is not ORIGINAL
                with ScriptedProvider([{"text": "Hello."}]).openai() as client:
                    client.responses.create(model="m", input="Hi")
                assert len(highflame_spans.finished) == 1
                raise RuntimeError("whatever it did")

            def test_second(highflame_spans):
                assert openai._base_client.SyncAPIClient.request is ORIGINAL
                assert highflame_spans.finished == []
            """
        ),
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "whatever it did" in done.stdout
