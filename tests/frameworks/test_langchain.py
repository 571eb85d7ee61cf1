"""LangChain's own model classes, over four SDKs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_aws import ChatBedrockConverse
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI

from highflame_middleware import BlockedError
from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")


def _models(url: str) -> dict[str, Any]:
    return {
        "openai": ChatOpenAI(model="m", base_url=f"{url}/v1", max_retries=0),
        "openai-responses": ChatOpenAI(model="m", base_url=f"{url}/v1", max_retries=0, use_responses_api=True),
        "anthropic": ChatAnthropic(model_name="claude-x", base_url=url, max_retries=0),
        "bedrock": ChatBedrockConverse(model="anthropic.claude-x", endpoint_url=url, region_name="us-east-1"),
        "google": ChatGoogleGenerativeAI(model="gemini-x", base_url=url, max_retries=0, transport="rest"),
    }


NAMES = ["openai", "openai-responses", "anthropic", "bedrock", "google"]


def _text(message: Any) -> str:
    return str(message.text if isinstance(message.text, str) else message.text())


@pytest.mark.parametrize("name", NAMES)
def test_every_way_of_calling(name: str, covered: Covered) -> None:
    model = _models(covered.provider.url)[name]
    covered.check(_text(model.invoke(PROMPT)))
    covered.check("".join(_text(piece) for piece in model.stream(PROMPT)))


@pytest.mark.parametrize("name", NAMES)
def test_every_asynchronous_way(name: str, covered: Covered) -> None:
    async def call() -> None:
        model = _models(covered.provider.url)[name]
        covered.check(_text(await model.ainvoke(PROMPT)))
        covered.check("".join([_text(piece) async for piece in model.astream(PROMPT)]))

    asyncio.run(call())


@pytest.mark.parametrize("name", NAMES)
def test_a_verdict_is_its_own_error(name: str, covered: Covered) -> None:
    covered.denied.append("SECRET")
    with pytest.raises(BlockedError):
        _models(covered.provider.url)[name].invoke(PROMPT)
    assert covered.provider.log == covered.gateway.log == []
