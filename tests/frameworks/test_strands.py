"""Strands agents over three SDKs."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from strands import Agent
from strands.models.anthropic import AnthropicModel
from strands.models.bedrock import BedrockModel
from strands.models.openai import OpenAIModel

from tests.frameworks.answers import PROMPT
from tests.frameworks.conftest import Covered

pytestmark = pytest.mark.filterwarnings("ignore")


def _model(name: str, url: str) -> Any:
    if name == "openai":
        return OpenAIModel(
            client_args={"base_url": f"{url}/v1", "api_key": "k", "max_retries": 0}, model_id="gpt-4o"
        )
    if name == "anthropic":
        args = {"base_url": url, "api_key": "k", "max_retries": 0}
        return AnthropicModel(client_args=args, model_id="claude-x", max_tokens=100)
    session = boto3.Session(region_name="us-east-1")
    return BedrockModel(boto_session=session, endpoint_url=url, model_id="anthropic.claude-x", streaming=True)


@pytest.mark.parametrize("name", ["openai", "anthropic", "bedrock"])
def test_a_run(name: str, covered: Covered) -> None:
    agent = Agent(model=_model(name, covered.provider.url), callback_handler=None)
    covered.check(str(agent(PROMPT)))
