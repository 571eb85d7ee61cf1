"""One real call through each framework. Each module runs where its framework is installed: `make frameworks`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import util

import pytest

from highflame_middleware import Settings, instrument
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.frameworks.answers import answer
from tests.servers import Server

# By the test module: what it needs.
NEEDS = {
    "test_agents": "agents",
    "test_crewai": "crewai",
    "test_langchain": "langchain_openai",
    "test_litellm": "litellm",
    "test_llama_index": "llama_index",
    "test_peers": "openinference",
    "test_pydantic_ai": "pydantic_ai",
    "test_strands": "strands",
}


def _is_there(module: str) -> bool:
    return util.find_spec(module) is not None


collect_ignore = [f"{name}.py" for name, module in NEEDS.items() if not _is_there(module)]


class Covered:
    """What a covered call leaves behind: nothing at the provider, everything at the gateway and the guard."""

    def __init__(
        self, provider: Server, gateway: Server, guard: FakeGuard, spans: CapturedSpans, denied: list[str]
    ) -> None:
        self.provider, self.gateway, self.guard, self.spans = provider, gateway, guard, spans
        self.denied = denied

    def check(self, said: str, *, calls: int = 1) -> None:
        """The call was guarded both ways and routed, and recorded once."""
        assert self.provider.log == [], "nothing goes to the provider"
        assert len(self.gateway.log) == calls
        assert all(b"SECRET" not in seen.body for seen in self.gateway.log)
        assert "SECRET" not in said
        assert "[redacted]" in said
        assert {str(request.stage) for request in self.guard.requests} >= {"prompt", "response"}
        assert len(self.spans.finished) == calls, "one record a call"
        self.gateway.log.clear()
        self.guard.requests.clear()
        self.spans.clear()


@pytest.fixture
def covered(
    provider: Server, gateway: Server, highflame_spans: CapturedSpans, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Covered]:
    """Instrumented, with every call to go to the gateway, which is said to carry every format."""
    for name in (
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GOOGLE_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ):
        monkeypatch.setenv(name, "test-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    gateway.respond = answer
    denied: list[str] = []
    guard = FakeGuard(redact=["SECRET"], deny=denied)
    settings = Settings(
        gateway="openai-compatible",
        base_url=f"{gateway.url}/v1",
        guard=guard,
        reroute_hosts=("*",),
        carries=("*",),
    )
    with instrument(settings=settings):
        yield Covered(provider, gateway, guard, highflame_spans, denied)
