"""Models whose calls go to the gateway: CrewAI's own classes, litellm's, and the gateway in this process."""

from __future__ import annotations

import asyncio
import json
from importlib import util
from typing import Any

import pytest
from crewai import Crew, Task
from pydantic import BaseModel

from highflame_crewai import guard_crew, guarded, highflame_llm
from highflame_middleware import BlockedError, Gateway, Settings, context, instrument
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.frameworks.answers import SPOKEN, answer
from tests.integrations.crewai.conftest import in_turn
from tests.integrations.crewai.crews import agent_of, calling, crew_of, noting
from tests.servers import Answer, Server

pytestmark = pytest.mark.filterwarnings("ignore")


def _to(server: Server, dialect: str = "highflame", **options: Any) -> Settings:
    return Settings(gateway=dialect, base_url=f"{server.url}/v1", api_key="gate-key", guard=None, **options)


class Word(BaseModel):
    word: str


MODELS = ["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash", "groq/llama-3"]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_call_goes_to_the_gateway(model: str, later: bool, gateway: Server) -> None:
    gateway.respond = answer
    llm = highflame_llm(model, _to(gateway), api_key="provider-key")
    with context(user="ada"):
        said = asyncio.run(llm.acall("Hi")) if later else llm.call("Hi")
    assert said == SPOKEN
    (seen,) = gateway.log
    assert seen.headers["x-highflame-apikey"] == "gate-key"
    assert seen.json["model"].rpartition("/")[2] == model.rpartition("/")[2]
    if not model.startswith(("openai", "anthropic")):
        assert seen.json["model"] == model, "the gateway knows by it whom to ask"
    assert seen.path == ("/v1/messages" if model.startswith("anthropic") else "/v1/chat/completions")


def test_a_route_is_chosen_for_each_call(gateway: Server) -> None:
    gateway.respond = answer
    llm = highflame_llm("openai/gpt-4o", _to(gateway, "highflame-v2", route="usual"))
    for route in ("cheap", "fast"):
        with context(route=route):
            llm.call("Hi")
    llm.call("Hi")
    assert [seen.headers["x-highflame-route"] for seen in gateway.log] == ["cheap", "fast", "usual"]


def test_the_trace_goes_along(gateway: Server, highflame_spans: CapturedSpans) -> None:
    gateway.respond = answer
    crew = crew_of(highflame_llm("openai/gpt-4o", _to(gateway)))
    guard_crew(crew, guard=FakeGuard(), gateway=None).kickoff()
    trace_id = gateway.log[-1].headers["traceparent"].split("-")[1]
    assert {f"{span.context.trace_id:032x}" for span in highflame_spans.finished} == {trace_id}


def test_a_gateway_in_this_process_is_reached_without_a_socket() -> None:
    scripts = [{"when": {"contains": "note"}, "text": "Done."}, {**calling("the SECRET")}]
    gateway = Gateway(providers={"scripted": {"scripts": scripts}}, guard=None)
    llm = highflame_llm("openai/gpt-4o", Settings(gateway=gateway, guard=None))
    tool = noting("noted")
    guarded_crew = guard_crew(crew_of(llm, tool), guard=FakeGuard(redact=["SECRET"]), gateway=None)
    assert guarded_crew.kickoff().raw == "Done."
    assert tool.seen == ["the [redacted]"]


def test_a_gateway_in_this_process_does_not_guard_a_second_time(highflame_spans: CapturedSpans) -> None:
    guard = FakeGuard(redact=["SECRET"])
    settings = Settings(guard=guard, gateway=None)
    gateway = Gateway(providers={"scripted": {"scripts": [{"text": "the SECRET"}]}}, settings=settings)
    llm = highflame_llm("openai/gpt-4o", Settings(gateway=gateway))
    for later in (False, True):
        guard.requests.clear()
        highflame_spans.clear()
        with guarded(settings):
            said = asyncio.run(llm.acall("a SECRET")) if later else llm.call("a SECRET")
        assert said == "the [redacted]"
        assert len(guard.requests) == 2
        assert len(highflame_spans.finished) == 1
    assert llm.call("a SECRET") == "the [redacted]", "outside of the block it is guarded by the gateway"


@pytest.mark.skipif(util.find_spec("litellm") is None, reason="litellm is not installed")
def test_litellm_goes_to_the_gateway_and_is_guarded(gateway: Server) -> None:
    gateway.respond = answer
    llm = highflame_llm("mistral/mistral-large", _to(gateway), is_litellm=True)
    for stream in (False, True):
        llm.stream = stream
        with guarded(guard=FakeGuard(redact=["SECRET"]), gateway=None):
            assert llm.call("the SECRET") == SPOKEN.replace("SECRET", "[redacted]")
            assert asyncio.run(llm.acall("the SECRET")) == SPOKEN.replace("SECRET", "[redacted]")
        with guarded(guard=FakeGuard(deny=["SECRET"]), gateway=None), pytest.raises(BlockedError):
            llm.call("Hi")
    assert all(seen.headers["x-highflame-apikey"] == "gate-key" for seen in gateway.log)
    assert all(b"the SECRET" not in seen.body for seen in gateway.log)


@pytest.mark.parametrize("stream", [False, True])
def test_an_instrumented_sdk_does_not_guard_a_second_time(stream: bool, gateway: Server, provider: Server) -> None:
    """Routed and traced by `instrument`, judged where more is known of it: once."""
    gateway.respond = answer
    guard = FakeGuard(redact=["SECRET"])
    settings = Settings(
        gateway="openai-compatible", base_url=f"{gateway.url}/v1", guard=guard, reroute_hosts=("*",), carries=("*",)
    )
    from crewai import LLM

    with instrument(settings=settings):
        llm = LLM(model="openai/gpt-4o", base_url=f"{provider.url}/v1", api_key="k", stream=stream)
        with guarded(settings):
            assert llm.call("the SECRET") == SPOKEN.replace("SECRET", "[redacted]")
        assert [str(request.stage) for request in guard.requests] == ["prompt", "response"]
        guard.requests.clear()
        llm.call("the SECRET")
        assert len(guard.requests) == 2, "outside of the block the SDK's calls are guarded as ever"
    assert (provider.log, len(gateway.log)) == ([], 2)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "groq/llama-3", "inside"])
def test_a_form_that_crewai_has_made_goes_to_the_gateway(model: str, gateway: Server) -> None:
    """Instructor, which makes it, has clients of its own: they went straight to the provider."""
    said = {"text": json.dumps({"word": "the SECRET"})}
    turns = in_turn(calling("x"), said)
    gateway.respond = lambda seen: turns(seen) if seen.path.endswith("/chat/completions") else Answer(404)
    if model == "inside":
        scripts = [{"when": {"contains": "as words"}, **said}, calling("x")]
        own = Gateway(providers={"scripted": {"scripts": scripts}}, guard=None)
        llm = highflame_llm("openai/gpt-4o", Settings(gateway=own, guard=None))
    else:
        llm = highflame_llm(model, _to(gateway))
    agent = agent_of(llm, noting("It is the SECRET, as words.", answers=True))
    task = Task(description="d", expected_output="o", agent=agent, output_json=Word)
    crew = guard_crew(Crew(agents=[agent], tasks=[task]), guard=FakeGuard(redact=["SECRET"]), gateway=None)
    assert [out.json_dict for out in crew.kickoff_for_each([{}])] == [{"word": "the [redacted]"}]
    asked = [seen for seen in gateway.log if seen.path.endswith("/chat/completions")]
    assert len(asked) == (0 if model == "inside" else 2)
    assert all(seen.headers["x-highflame-apikey"] == "gate-key" and b"SECRET" not in seen.body for seen in asked)
