"""LlamaIndex's OpenAI model."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.llms.openai import OpenAI

from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_way_of_calling(covered: Covered) -> None:
    model = OpenAI(model="gpt-4o", api_base=f"{covered.provider.url}/v1", max_retries=0)
    covered.check(str(model.complete(PROMPT)))
    covered.check("".join(piece.delta or "" for piece in model.stream_complete(PROMPT)))

    async def call() -> None:
        covered.check(str(await model.acomplete(PROMPT)))

    asyncio.run(call())
