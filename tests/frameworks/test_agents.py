"""The OpenAI Agents SDK: responses and chat completions; its own trace exporter is left alone."""

from __future__ import annotations

import asyncio

import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, RunConfig, Runner
from openai import AsyncOpenAI

from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
def test_a_run(kind: type, covered: Covered) -> None:
    async def call() -> None:
        client = AsyncOpenAI(base_url=f"{covered.provider.url}/v1", max_retries=0)
        agent = Agent(name="a", instructions="Be brief.", model=kind(model="gpt-4o", openai_client=client))
        silent = RunConfig(tracing_disabled=True)
        covered.check(str((await Runner.run(agent, PROMPT, run_config=silent)).final_output))
        run = Runner.run_streamed(agent, PROMPT, run_config=silent)
        async for _ in run.stream_events():
            pass
        covered.check(str(run.final_output))

    asyncio.run(call())
