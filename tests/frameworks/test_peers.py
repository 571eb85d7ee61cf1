"""Stacked with other instrumentors, before and after, removed in either order: covered, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import anthropic
import openai
import pytest

from highflame_middleware import Settings, instrument, uninstrument
from highflame_middleware.testing import FakeGuard
from tests.frameworks.answers import PROMPT, answer
from tests.servers import Server

pytestmark = pytest.mark.filterwarnings("ignore")

PEERS = {
    "openinference openai": ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
    "openinference anthropic": ("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
    "openllmetry openai": ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    "openllmetry anthropic": ("opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
    "otel openai": ("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
}


def _peer(name: str) -> Any:
    module, kind = PEERS[name]
    try:
        return getattr(import_module(module), kind)()
    except ImportError as error:
        pytest.skip(f"{name} cannot be imported here: {error}")


def _ask_openai(url: str) -> str:
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
        reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": PROMPT}])
    return str(reply.choices[0].message.content)


def _ask_anthropic(url: str) -> str:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        reply = client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": PROMPT}])
    return str(reply.content[0].text)


def _snapshot() -> list[dict[str, Any]]:
    import httpx

    owners: list[type] = [httpx.Client, httpx.AsyncClient]
    for sdk in (openai, anthropic):
        base = import_module(f"{sdk.__name__}._base_client")
        owners += [base.BaseClient, base.SyncAPIClient, base.AsyncAPIClient]
    owners += [openai.OpenAI, openai.AsyncOpenAI, anthropic.Anthropic, anthropic.AsyncAnthropic]
    return [dict(vars(owner)) for owner in owners]


@pytest.mark.parametrize("undo", ["peer first", "ours first"])
@pytest.mark.parametrize("order", ["peer first", "ours first"])
@pytest.mark.parametrize("name", PEERS)
def test_stacked(name: str, order: str, undo: str, provider: Server, gateway: Server) -> None:
    ask: Callable[[str], str] = _ask_anthropic if name.endswith("anthropic") else _ask_openai
    gateway.respond = provider.respond = answer
    peer = _peer(name)
    before = _snapshot()
    settings = Settings(
        gateway="openai-compatible",
        base_url=f"{gateway.url}/v1",
        guard=FakeGuard(redact=["SECRET"]),
        reroute_hosts=("*",),
        carries=("*",),
    )
    steps: dict[str, Callable[[], Any]] = {
        "peer": peer.instrument,
        "ours": lambda: instrument(settings=settings),
    }
    first, second = ("peer", "ours") if order == "peer first" else ("ours", "peer")
    steps[first]()
    steps[second]()
    try:
        for _ in range(2):
            assert "[redacted]" in ask(provider.url)
        assert (provider.log, len(gateway.log)) == ([], 2)
        if undo == "peer first":
            peer.uninstrument()
            assert "[redacted]" in ask(provider.url), "still covered when the peer has gone"
            assert (provider.log, len(gateway.log)) == ([], 3)
            uninstrument()
        else:
            uninstrument()
            assert "SECRET" in ask(provider.url), "inert"
            peer.uninstrument()
    finally:
        uninstrument()
        if peer.is_instrumented_by_opentelemetry:
            peer.uninstrument()
    gateway.log.clear()
    assert "SECRET" in ask(provider.url)
    assert gateway.log == []
    left = [
        (index, key)
        for index, (was, now) in enumerate(zip(before, _snapshot(), strict=True))
        for key in now.keys() | was.keys()
        if now.get(key) is not was.get(key) and key != "request"
    ]
    assert left == [], "nothing of ours is left behind"
