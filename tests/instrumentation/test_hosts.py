"""Whoever uses httpx or httpx2 alone: what is caught beyond the table, what is not, and nothing twice."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from types import ModuleType
from typing import Any

import openai
import pytest

from highflame_middleware import BlockedError, Gateway, Settings, UnreadableError, instrument
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits.plain import BODIES, speaking
from tests.servers import Answer, Server, json_answer

Start = Callable[..., Instrumentation]

CHAT = "/v1/chat/completions"
BODY = BODIES[CHAT]
LIBRARIES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


def answering(library: ModuleType, seen: list[Any]) -> Any:
    """A client whose transport notes every request and answers it."""

    def answer(request: Any) -> Any:
        request.read()
        seen.append(request)
        return library.Response(200, json={"choices": [{"message": {"content": "The SECRET is out."}}]})

    return library.Client(transport=library.MockTransport(answer), trust_env=False)


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("https://api.openai.com/v1/chat/completions", BODY),
        ("https://api.groq.com/openai/v1/chat/completions", BODY),
        ("https://openrouter.ai/api/v1/chat/completions", BODY),
        ("https://api.mistral.ai/v1/fim/completions", {"prompt": "Tell me the SECRET."}),
        ("https://api.cohere.com/v1/chat", {"message": "Tell me the SECRET."}),
        ("https://api.voyageai.com/v1/rerank", {"query": "Tell me the SECRET.", "documents": []}),
        ("https://res.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1", BODY),
    ],
)
def test_calls_to_known_hosts_are_caught(library: ModuleType, url: str, body: Any) -> None:
    seen: list[Any] = []
    with instrument(guard=FakeGuard(redact=["SECRET"])), answering(library, seen) as client:
        reply = client.post(url, json=body)
    (request,) = seen
    assert str(request.url) == url
    assert b"[redacted]" in request.content
    assert b"SECRET" not in request.content
    if "choices" in reply.text and "cohere" not in url and "rerank" not in url:
        assert "SECRET" not in reply.text


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "https://api.openai.com/v1/traces/ingest"),
        ("POST", "https://api.openai.com/v1/files"),
        ("GET", "https://api.openai.com/v1/models"),
        ("POST", "https://example.com/v1/chat/completions"),
        ("POST", "http://localhost:11434/v1/chat/completions"),
    ],
)
def test_what_is_no_call_to_a_known_host_is_not_touched(
    library: ModuleType, method: str, url: str, highflame_spans: CapturedSpans
) -> None:
    seen: list[Any] = []
    with instrument(guard=FakeGuard(deny=["SECRET"])), answering(library, seen) as client:
        reply = client.request(method, url, json=BODY)
    assert seen[0].content == reply.request.content
    assert "SECRET" in reply.text
    assert highflame_spans.finished == []


def test_excluded(library: ModuleType, provider: Server, routed: Start) -> None:
    handle = routed(guard=FakeGuard(deny=["SECRET"]), exclude=(library.__name__,))
    assert handle.status()[library.__name__].state == "excluded"
    with library.Client() as client:
        client.post(f"{provider.url}{CHAT}", json=BODY)
    assert provider.log[0].json == BODY


def test_an_excluded_sdk_is_not_caught_by_the_net_below_it(
    provider: Server, gateway: Server, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]), exclude=("openai",))
    for cls in (openai.OpenAI, openai.AzureOpenAI):
        options = {"base_url": f"{provider.url}/v1", "api_key": "k"}
        more = {"api_version": "1"} if cls is openai.AzureOpenAI else {}
        with cls(**options, **more) as client:
            client.chat.completions.create(model="m", messages=BODY["messages"])
    assert (len(provider.log), gateway.log) == (2, [])


def test_the_gateway_itself_is_left_alone(library: ModuleType, gateway: Server, routed: Start) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with library.Client() as client:
        client.post(f"{gateway.url}{CHAT}", json=BODY)
    assert gateway.paths == [CHAT]


@pytest.mark.parametrize("base", ["/v1", "/openai/v1", "/api/v1"])
def test_the_gateway_is_asked_below_its_own_base_url(
    library: ModuleType, base: str, provider: Server, gateway: Server, routed: Start
) -> None:
    routed()
    with library.Client() as client:
        client.post(f"{provider.url}{base}/chat/completions?a=b%2Fc", json=BODY)
    assert gateway.paths == ["/v1/chat/completions?a=b%2Fc"]


def test_a_request_can_be_sent_again(library: ModuleType, provider: Server, gateway: Server, routed: Start) -> None:
    """It stays the caller's own: neither readdressed nor edited, and judged each time."""
    guard = FakeGuard(redact=["SECRET"])
    routed(guard=guard)
    with library.Client() as client:
        request = client.build_request("POST", f"{provider.url}{CHAT}", json=BODY)
        for _ in range(2):
            client.send(request)
    assert json.loads(request.content) == BODY
    assert request.url.port == provider.port
    assert [b"SECRET" in seen.body for seen in gateway.log] == [False, False]
    assert sum(asked.stage.label == "prompt" for asked in guard.requests if asked.stage) == 2


def test_redirects_are_one_call(
    library: ModuleType, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    speak = speaking()

    def respond(seen: Any) -> Answer:
        if seen.path == CHAT:
            return Answer(307, (("location", f"{gateway.url}/v1/moved/chat/completions"),), length=0)
        return speak(seen)

    gateway.respond = respond
    routed(guard=FakeGuard(redact=["SECRET"]))
    with library.Client(follow_redirects=True) as client:
        reply = client.post(f"{provider.url}{CHAT}", json=BODY)
    assert "[redacted]" in reply.text
    assert len(gateway.log) == 2
    assert len(highflame_spans.finished) == 1
    assert provider.log == []


def test_hooks_of_the_client_see_the_body_that_is_sent(
    library: ModuleType, provider: Server, routed: Start
) -> None:
    seen = []
    routed(guard=FakeGuard(redact=["SECRET"]))
    hooks = {"request": [lambda request: seen.append(request.content)], "response": [lambda reply: reply.read()]}
    with library.Client(event_hooks=hooks) as client:
        client.post(f"{provider.url}{CHAT}", json=BODY)
    assert b"[redacted]" in seen[0]


def test_a_body_that_cannot_be_read(library: ModuleType, provider: Server, gateway: Server, routed: Start) -> None:
    """Refused where the guard must not be passed by; else routed as it is."""

    def pieces() -> Any:
        yield json.dumps(BODY).encode()

    routed(guard=FakeGuard(deny=["SECRET"]))
    headers = {"content-type": "application/json"}
    with library.Client() as client:
        for content in (pieces(), b"{", b'{"messages": [], "messages": []}', b"\x1f\x8b"):
            with pytest.raises(UnreadableError):
                client.post(f"{provider.url}{CHAT}", content=content, headers=headers)
    assert (provider.log, gateway.log) == ([], [])


def test_a_body_that_cannot_be_read_passes_in_monitor(
    library: ModuleType, provider: Server, gateway: Server, routed: Start
) -> None:
    async def pieces() -> Any:
        yield json.dumps(BODY).encode()

    async def call() -> None:
        async with library.AsyncClient() as client:
            await client.post(f"{provider.url}{CHAT}", content=pieces())

    routed(guard=FakeGuard(deny=["SECRET"]), mode="monitor")
    asyncio.run(call())
    assert gateway.log[0].json == BODY
    assert provider.log == []


def test_forms_are_uploads(library: ModuleType, provider: Server, gateway: Server, routed: Start) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with library.Client() as client:
        client.post(f"{provider.url}{CHAT}", files={"file": b"SECRET"}, data={"prompt": "SECRET"})
    assert (len(provider.log), gateway.log) == (1, [])


@pytest.mark.parametrize("caught", ["*", "127.0.0.1"])
def test_a_gateway_in_this_process_is_not_guarded_twice(
    library: ModuleType, caught: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    """Neither what comes to it guarded already, nor what it guards itself and sends to its upstream."""
    provider.respond = speaking()
    guard = FakeGuard(redact=["SECRET"])
    with closing(Gateway(providers={"it": {"base_url": f"{provider.url}/v1"}}, guard=guard)) as gateway:
        with instrument(settings=Settings(guard=guard, reroute_hosts=(caught,))):
            with library.Client(transport=gateway.transport(library), base_url="http://gateway.invalid") as client:
                client.post(CHAT, json=BODY)
    assert len(provider.log) == 1
    assert [asked.content for asked in guard.requests] == ["Tell me the SECRET.", "The SECRET is out."]
    assert len(highflame_spans.finished) == 1


def test_an_sdks_call_is_not_guarded_twice(provider: Server, routed: Start, highflame_spans: CapturedSpans) -> None:
    guard = FakeGuard(redact=["SECRET"])
    routed(guard=guard)
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k") as client:
        client.chat.completions.create(model="m", messages=BODY["messages"])
    assert len(guard.requests) == 2
    assert len(highflame_spans.finished) == 1


def test_a_call_made_within_another_is_a_call_too(provider: Server, gateway: Server, routed: Start) -> None:
    """Of another API, or to another host: an SDK's own request is known by where it goes."""
    import httpx

    routed(guard=FakeGuard(deny=["SECRET"]))

    def key() -> str:
        httpx.post(f"{provider.url}/v1/responses", json=BODIES["/v1/responses"])
        return "fetched"

    # Azure's clients have taken a function for their token in every version.
    options: Any = {"azure_ad_token_provider": key, "api_version": "1", "azure_endpoint": provider.url}
    with openai.AzureOpenAI(**options) as client, pytest.raises(BlockedError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    assert (provider.log, gateway.log) == ([], [])


@pytest.mark.parametrize("name", LIBRARIES)
def test_importing_a_library_loads_nothing_but_the_table_of_hosts(name: str) -> None:
    """The pipeline comes with the first call, the engine with it."""
    script = (
        "import sys\n"
        "from highflame_middleware import instrument\n"
        "handle = instrument()\n"
        f"import {name}\n"
        f"assert handle.status()[{name!r}].state == 'patched', handle.status()\n"
        "print([m for m in sys.modules if m.startswith('highflame_middleware.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    for heavy in ("pipeline", "screens", "bodies", "engine", "telemetry", "instrumentation.wire"):
        assert f"highflame_middleware.{heavy}'" not in done.stdout


def test_retries_of_an_sdk_are_one_call(routed: Start, provider: Server, gateway: Server) -> None:
    """Of those whose requests would otherwise be caught one by one."""
    cohere = pytest.importorskip("cohere")
    answers = [json_answer({"message": "later"}, 429, retry_after="0"), speaking(["Well."])]

    def respond(seen: Any) -> Answer:
        return answers[min(len(gateway.log) - 1, 1)](seen)

    gateway.respond = respond
    guard = FakeGuard()
    routed(guard=guard)
    with cohere.ClientV2(api_key="k", base_url=provider.url) as client:
        client.chat(model="m", messages=BODY["messages"], request_options={"max_retries": 2})
    assert len(gateway.log) == 2
    assert len(guard.requests) == 2, "a prompt and a reply"
