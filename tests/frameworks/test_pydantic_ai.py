"""Pydantic AI over three SDKs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")


def _model(name: str, url: str) -> Any:
    if name.startswith("openai"):
        provider = OpenAIProvider(openai_client=AsyncOpenAI(base_url=f"{url}/v1", max_retries=0))
        return (OpenAIChatModel if name == "openai" else OpenAIResponsesModel)("gpt-4o", provider=provider)
    if name == "anthropic":
        client = AsyncAnthropic(base_url=url, max_retries=0)
        return AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(anthropic_client=client))
    return GoogleModel("gemini-2.5-flash", provider=GoogleProvider(api_key="k", base_url=url))


@pytest.mark.parametrize("name", ["openai", "openai-responses", "anthropic", "google"])
def test_a_run(name: str, covered: Covered) -> None:
    async def call() -> None:
        agent = Agent(_model(name, covered.provider.url))
        covered.check(str((await agent.run(PROMPT)).output))
        async with agent.run_stream(PROMPT) as run:
            covered.check("".join([piece async for piece in run.stream_text(delta=True, debounce_by=None)]))

    asyncio.run(call())
