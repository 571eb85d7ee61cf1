"""CrewAI's adapter: collected where CrewAI is installed (`make frameworks` makes an environment with it)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import util
from typing import Any

import pytest

from tests.servers import Answer, Seen, Server, running, scripted

# Before CrewAI is imported: it sends telemetry of its own otherwise, and asks on the terminal whether to trace.
os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("CREWAI_DISABLE_TRACKING", "true")
os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")
os.environ.setdefault("CREWAI_TESTING", "true")

collect_ignore_glob = [] if util.find_spec("crewai") is not None else ["test_*.py"]


@pytest.fixture(autouse=True)
def _somewhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """CrewAI keeps databases under the user's home."""
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path_factory.mktemp("crewai")))
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")


@pytest.fixture
def model_server() -> Iterator[Server]:
    """Where the models of a test are."""
    with running() as server:
        yield server


@pytest.fixture
def llm(model_server: Server) -> Callable[..., Any]:
    """Makes CrewAI's own model class for a server that answers by scripts, one after the other; the last stays."""

    def make(*scripts: dict[str, Any], model: str = "openai/gpt-4o", **options: Any) -> Any:
        from crewai import LLM

        model_server.respond = in_turn(*scripts)
        return LLM(model=model, base_url=f"{model_server.url}/v1", api_key="k", **options)

    return make


def in_turn(*scripts: dict[str, Any]) -> Callable[[Seen], Answer]:
    """Answers by scripts, one after the other."""
    waiting = list(scripts)

    def respond(seen: Seen) -> Answer:
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return scripted([script])(seen)

    return respond
