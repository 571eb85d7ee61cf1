"""The OpenAI seam beyond the table: Azure, retries, redirects, headers, credentials, custom clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from highflame_middleware import BlockedError, Settings, context, instrument
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits import Case
from tests.instrumentation.kits.openai import CASES, KIT, MESSAGES, speaking
from tests.servers import Answer, Server, json_answer

Start = Callable[..., Instrumentation]


def make(kind: str, server: Server, **options: Any) -> Any:
    return KIT.make(kind, server.url, **options)


def make_azure(kind: str, server: Server, **options: Any) -> Any:
    cls = openai.AsyncAzureOpenAI if kind == "async" else openai.AzureOpenAI
    given = {"api_key": "az-key", "api_version": "2024-06-01", "azure_endpoint": server.url, "max_retries": 0}
    return cls(**{**given, **options})


def perform(kind: str, client: Any, case: Case) -> Any:
    return KIT.perform(kind, client, case)


pytestmark = pytest.mark.filterwarnings("ignore:coroutine method 'aclose':RuntimeWarning")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_resources_cached_before(provider: Server, gateway: Server, routed: Start) -> None:
    with make("sync", provider) as client:
        completions = client.chat.completions
        routed()
        completions.create(model="m", messages=MESSAGES)
    assert (provider.log, len(gateway.log)) == ([], 1)


def test_with_options_and_copy(kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    client = make(kind, provider)
    routed()
    perform(kind, client.with_options(timeout=5.0, max_retries=1), CASES["chat"])
    assert (provider.log, len(gateway.log)) == ([], 1)


def test_a_subclass_that_overrides_request(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    seen = []
    base: Any = openai.AsyncOpenAI if kind == "async" else openai.OpenAI

    class Custom(base):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(args)
            return super().request(*args, **kwargs)

    routed()
    perform(kind, Custom(api_key="k", base_url=f"{provider.url}/v1"), CASES["chat"])
    assert len(seen) == 1
    assert (provider.log, len(gateway.log), len(highflame_spans.finished)) == ([], 1, 1)


def test_the_module_level_client(provider: Server, gateway: Server, routed: Start, monkeypatch: Any) -> None:
    monkeypatch.setattr(openai, "api_key", "k")
    monkeypatch.setattr(openai, "base_url", f"{provider.url}/v1/")
    monkeypatch.setattr(openai, "_client", None)
    routed()
    openai.chat.completions.create(model="m", messages=MESSAGES)
    assert (provider.log, len(gateway.log)) == ([], 1)
    client: Any = openai._client
    client.close()


@pytest.mark.parametrize("deployment", [None, "gpt-dep"])
@pytest.mark.parametrize("name", ["chat", "chat stream", "embeddings", "files list"])
def test_azure(
    name: str, deployment: str | None, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"]))
    perform(kind, make_azure(kind, provider, azure_deployment=deployment), CASES[name])
    assert provider.log == []
    (seen,) = gateway.log
    assert not seen.path.startswith("/v1/openai")
    assert "api-version" not in seen.path
    assert seen.headers["api-key"] == "az-key", "the client's own key, since the gateway was given none"


def test_azure_on_a_header_routed_gateway(provider: Server, gateway: Server, routed: Start) -> None:
    routed(gateway="highflame-v2", api_key="hf-key")
    perform("sync", make_azure("sync", provider), CASES["chat"])
    (seen,) = gateway.log
    assert seen.path == "/v1/openai/deployments/m/chat/completions?api-version=2024-06-01"
    assert seen.headers["x-highflame-provider"] == f"{provider.url}/openai"
    assert seen.headers["x-highflame-route"] == seen.headers["x-javelin-route"] == "azureopenai_univ"
    assert provider.log == []


def test_streaming_responses_are_guarded_where_they_are_read(
    kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"], deny=["OUT"]))

    def blocking(stream: bool) -> bytes:
        with make("sync", provider) as client:
            create = client.chat.completions.with_streaming_response.create
            with create(model="m", messages=MESSAGES, stream=stream) as response:
                return b"".join(response.iter_bytes())

    async def awaited(stream: bool) -> bytes:
        async with make("async", provider) as client:
            create = client.chat.completions.with_streaming_response.create
            async with create(model="m", messages=MESSAGES, stream=stream) as response:
                return b"".join([chunk async for chunk in response.iter_bytes()])

    read = blocking if kind == "sync" else lambda stream: asyncio.run(awaited(stream))
    for stream in (False, True):
        assert b"SECRET" not in read(stream)
    gateway.respond = speaking(["All is OUT."])
    for stream in (False, True):
        with pytest.raises(BlockedError):
            read(stream)


def test_retries_are_one_call_and_two_requests(
    kind: str, provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans
) -> None:
    answers = iter([json_answer({"error": {"message": "busy"}}, 503, retry_after="0"), speaking()])
    gateway.respond = lambda seen: next(answers)(seen)
    guard = FakeGuard()
    routed(guard=guard)
    perform(kind, make(kind, provider, max_retries=1), CASES["chat"])
    assert (provider.log, len(gateway.log)) == ([], 2)
    assert len(highflame_spans.finished) == 1
    assert [request.stage for request in guard.requests] == ["prompt", "response"]


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_custom_http_clients(library: str, kind: str, provider: Server, gateway: Server, routed: Start) -> None:
    module = pytest.importorskip(library)
    if library == "httpx2" and int(openai.__version__.partition(".")[0]) < 3:
        pytest.skip("openai before 3 takes httpx clients only")
    gateway.respond = speaking()
    routed(guard=FakeGuard(redact=["SECRET"]))
    http_client = (module.AsyncClient if kind == "async" else module.Client)()
    result = perform(kind, make(kind, provider, http_client=http_client), CASES["chat"])
    assert (provider.log, len(gateway.log)) == ([], 1)
    assert "SECRET" not in result.choices[0].message.content


def test_a_call_made_for_a_call_is_a_call_of_its_own(provider: Server, gateway: Server, routed: Start) -> None:
    """A token fetched with plain HTTP while a request is prepared is none of ours."""
    httpx = pytest.importorskip("httpx")

    def fetch_token() -> str:
        httpx.get(f"{provider.url}/token")
        return "fetched"

    routed()
    client = openai.AzureOpenAI(
        azure_ad_token_provider=fetch_token, api_version="1", azure_endpoint=provider.url, max_retries=0
    )
    perform("sync", client, CASES["chat"])
    assert provider.paths == ["/token"]
    assert len(gateway.log) == 1
    assert gateway.log[0].headers["authorization"] == "Bearer fetched"


def test_requests_of_others_are_not_touched(provider: Server, gateway: Server, routed: Start) -> None:
    httpx = pytest.importorskip("httpx")
    # Those of nobody's SDK have a seam of their own.
    routed(guard=FakeGuard(deny=["SECRET"]), exclude=("httpx",))
    provider.respond = json_answer({"choices": [{"message": {"content": "SECRET"}}]})
    reply = httpx.post(f"{provider.url}/v1/chat/completions", json={"messages": MESSAGES})
    assert "SECRET" in reply.text
    assert gateway.log == []


@pytest.mark.parametrize("key", [None, "gw-key"])
def test_which_credentials_go_to_the_gateway(
    key: str | None, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    routed(api_key=key)
    perform(kind, make(kind, provider), CASES["chat"])
    perform(kind, make_azure(kind, provider), CASES["chat"])
    plain, azure = gateway.log
    assert plain.headers["authorization"] == f"Bearer {key or 'sk-provider'}"
    assert plain.headers["host"] == f"127.0.0.1:{gateway.port}"
    assert azure.headers.get("api-key") == (None if key else "az-key")


def test_a_redirect_away_from_the_gateway_takes_no_key_along(
    provider: Server, gateway: Server, routed: Start
) -> None:
    location = f"http://localhost:{provider.port}/elsewhere"
    gateway.respond = json_answer({}, 307, location=location)
    provider.respond = speaking()
    routed(gateway="highflame-v2", api_key="hf-key", guard=FakeGuard(deny=["OUT"]))
    with pytest.raises(Exception):  # noqa: B017 - what the SDK makes of it depends on its version
        perform("sync", make("sync", provider), CASES["chat"])
    for seen in provider.log:
        assert not [name for name in seen.headers if name.startswith(("x-highflame-", "x-javelin-"))]
        assert "authorization" not in seen.headers


def test_a_redirect_within_the_gateway_stays_guarded(provider: Server, gateway: Server, routed: Start) -> None:
    answers = iter([json_answer({}, 307, location="/v2/chat/completions"), speaking()])
    gateway.respond = lambda seen: next(answers)(seen)
    routed(guard=FakeGuard(redact=["SECRET"]), api_key="gw-key")
    result = perform("sync", make("sync", provider), CASES["chat"])
    assert "SECRET" not in result.choices[0].message.content
    assert [seen.headers["authorization"] for seen in gateway.log] == ["Bearer gw-key"] * 2


def test_headers_are_per_request(provider: Server, gateway: Server, routed: Start) -> None:
    """Many threads, each with a user and a route of its own: no header of one in a request of another."""
    routed(gateway="highflame-v2", api_key="hf-key")
    gateway.respond = speaking()
    client = make("sync", provider)

    def work(number: int) -> None:
        for turn in range(20):
            with context(user=f"user-{number}", route=f"route-{number}"):
                client.chat.completions.create(model=f"model-{number}-{turn}", messages=MESSAGES)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert len(gateway.log) == 160
    for seen in gateway.log:
        number = seen.headers["x-highflame-user"].removeprefix("user-")
        assert seen.headers["x-highflame-route"] == f"route-{number}"
        assert seen.headers["x-highflame-model"] == seen.json["model"]
        assert seen.json["model"].startswith(f"model-{number}-")


def test_self_hosted_base_urls_are_left_alone(provider: Server, gateway: Server) -> None:
    provider.respond = speaking()
    guard = FakeGuard(redact=["SECRET"])
    instrument(gateway="openai-compatible", base_url=f"{gateway.url}/v1", api_key="gw-key", guard=guard)
    result = perform("sync", make("sync", provider), CASES["chat"])
    assert gateway.log == []
    assert provider.log[0].headers["authorization"] == "Bearer sk-provider"
    assert "SECRET" not in result.choices[0].message.content, "guarded all the same"


def test_without_a_gateway_the_call_is_the_clients_own(kind: str, provider: Server) -> None:
    """Not routed, only guarded: the provider gets what a bare client would have sent, but for the redaction."""
    provider.respond = speaking()
    perform(kind, make(kind, provider), CASES["chat"])
    instrument(gateway=None, guard=FakeGuard(redact=["SECRET"]))
    perform(kind, make(kind, provider), CASES["chat"])
    bare, guarded = provider.log
    assert bare.path == guarded.path
    # Only the length is another, and the ids that the SDK makes anew for each call.
    changing = {"content-length", "x-stainless-retry-count", "idempotency-key"}
    strip = lambda headers: {name: value for name, value in headers.items() if name not in changing}  # noqa: E731
    assert strip(bare.headers) == strip(guarded.headers)
    assert guarded.json["messages"][0]["content"] == "Tell me the [redacted]."


def test_the_model_is_renamed_for_the_current_gateway(provider: Server, gateway: Server, routed: Start) -> None:
    routed(gateway="highflame", api_key="zid_sk_1", base_url=f"{gateway.url}/llm/v1")
    gateway.respond = lambda seen: Answer(200, chunks=[b'{"choices": []}'])
    client = make("sync", provider)
    for model in ("gpt-4o", "anthropic/claude"):
        client.chat.completions.create(model=model, messages=MESSAGES)
    client.close()
    assert [seen.json["model"] for seen in gateway.log] == ["openai/gpt-4o", "anthropic/claude"]
    assert gateway.paths == ["/llm/v1/chat/completions"] * 2
    assert gateway.log[0].headers["x-highflame-apikey"] == "zid_sk_1"
    assert gateway.log[0].headers["authorization"] == "Bearer sk-provider"


def test_settings_object_and_arguments_mix() -> None:
    handle = instrument(settings=Settings(deadline=1.0), mode="monitor")
    assert (handle.settings.deadline, handle.settings.mode) == (1.0, "monitor")
