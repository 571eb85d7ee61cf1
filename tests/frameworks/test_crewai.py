"""CrewAI's native providers."""

from __future__ import annotations

from typing import Any

import pytest
from crewai import LLM

from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWAI_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("CREWAI_TRACING_ENABLED", "false")


def _llm(model: str, url: str) -> Any:
    base = f"{url}/v1" if model.startswith("openai") else url
    return LLM(model=model, base_url=base, api_key="k")


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"])
def test_a_call(model: str, covered: Covered) -> None:
    covered.check(str(_llm(model, covered.provider.url).call(PROMPT)))
