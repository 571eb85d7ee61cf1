"""litellm: OpenAI through the SDK, the others through its own HTTP handlers."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
import pytest

from highflame_middleware import BlockedError
from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")

MESSAGES = [{"role": "user", "content": PROMPT}]
MODELS = ["openai/gpt-4o", "anthropic/claude-x", "gemini/gemini-x", "groq/llama-x", "mistral/mistral-x"]


def _options(model: str, url: str) -> dict[str, Any]:
    base = url if model.startswith("anthropic") else f"{url}/v1"
    return {"model": model, "messages": MESSAGES, "api_base": base, "api_key": "k", "num_retries": 0}


def _joined(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("model", MODELS)
def test_every_way_of_calling(model: str, covered: Covered) -> None:
    options = _options(model, covered.provider.url)
    covered.check(litellm.completion(**options).choices[0].message.content)
    covered.check(_joined(list(litellm.completion(**options, stream=True))))

    async def call() -> None:
        covered.check((await litellm.acompletion(**options)).choices[0].message.content)
        covered.check(_joined([chunk async for chunk in await litellm.acompletion(**options, stream=True)]))

    asyncio.run(call())


@pytest.mark.parametrize("model", MODELS)
def test_a_verdict_is_its_own_error(model: str, covered: Covered) -> None:
    covered.denied.append("SECRET")
    with pytest.raises(BlockedError):
        litellm.completion(**_options(model, covered.provider.url))
    assert covered.provider.log == covered.gateway.log == []
