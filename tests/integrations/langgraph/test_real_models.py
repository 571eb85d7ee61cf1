"""LangChain's own model classes, over gateways in this process and beyond, the SDK instrumented or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from highflame_langgraph import HighflameAgentMiddleware, chat_model, guard_graph, guarded_model
from highflame_middleware import BlockedError, Gateway, Settings, context, instrument
from highflame_middleware.testing import CapturedSpans
from tests.integrations.langgraph.kit import Guard, said
from tests.servers import Server, scripted

pytestmark = pytest.mark.filterwarnings("ignore")
SCRIPTS: list[Any] = [
    {"when": {"contains": "found"}, "text": "It is SECRET."},
    {"when": {"contains": "weather"}, "tool_calls": [{"name": "look_up", "arguments": {"key": "SECRET"}}]},
    {"text": "Hello, SECRET."},
]


def test_on_the_gateway_in_this_process() -> None:
    gateway = Gateway(providers={"only": {"scripts": SCRIPTS}}, guard=None)
    llm = chat_model("only/m", Settings(gateway=gateway, guard=Guard(redact=["SECRET"])))
    assert llm.invoke("Hi").text == "Hello, [redacted]."
    assert "".join(str(chunk.text) for chunk in llm.stream("Hi")) == "Hello, [redacted]."
    assert asyncio.run(llm.ainvoke("Hi")).text == "Hello, [redacted]."
    settings = Settings(gateway="embedded", providers={"only": {"scripts": SCRIPTS}}, guard=Guard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        chat_model("only/m", settings).invoke("Hi")


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_whole_agent(how: str) -> None:
    ran: list[str] = []

    @tool
    def look_up(key: str) -> str:
        """Look a key up."""
        ran.append(key)
        return "found SECRET"

    guard = Guard(redact=["SECRET"])
    gateway = Gateway(providers={"only": {"scripts": SCRIPTS}}, guard=None)
    agent = create_agent(
        chat_model("only/m", Settings(gateway=gateway, guard=guard)),
        [look_up],
        middleware=[HighflameAgentMiddleware(guard=guard, gateway=None)],
    )
    given = {"messages": [("user", "The weather?")]}
    if how == "invoke":
        result = agent.invoke(given)
        assert said(result)[-1] == ("ai", "It is [redacted].")
    else:
        result = list(agent.stream(given, stream_mode=["messages", "values"]))
    assert ran == ["[redacted]"]
    assert "SECRET" not in repr(result)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gateway": "highflame", "api_key": "key-1"}, {"x-highflame-apikey": "key-1"}),
        ({"gateway": "openai-compatible", "api_key": "key-1"}, {"authorization": "Bearer key-1"}),
        (
            {"gateway": "highflame-v2", "api_key": "key-1"},
            {"x-highflame-apikey": "key-1", "x-highflame-user": "ada", "x-highflame-userrole": "admin"},
        ),
    ],
    ids=lambda value: value.get("gateway", ""),
)
def test_what_the_gateway_is_told(
    settings: dict[str, Any], told: dict[str, str], server_log: Callable[[], Server], highflame_spans: CapturedSpans
) -> None:
    server = server_log()
    llm = chat_model("openai/gpt-4o", Settings(base_url=f"{server.url}/v1", guard=None, **settings))
    agent = create_agent(llm, [], middleware=[HighflameAgentMiddleware(guard=Guard(), gateway=None)])
    with context(user="ada", role="admin"):
        agent.invoke({"messages": [("user", "Hi")]})
    (seen,) = server.log
    assert seen.path.startswith("/v1/")
    assert {name: seen.headers[name] for name in told} == told
    assert seen.json["model"] in ("openai/gpt-4o", "gpt-4o")
    (span,) = highflame_spans.finished
    assert format(span.context.trace_id, "032x") in seen.headers["traceparent"]
    assert "key-1" not in repr(llm) + str(llm)


@pytest.fixture
def server_log(gateway: Server) -> Callable[[], Server]:
    gateway.respond = scripted([{"text": "Fine."}])
    return lambda: gateway


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke"])
def test_an_instrumented_sdk_is_guarded_once_and_recorded_once(
    how: str, provider: Server, highflame_spans: CapturedSpans
) -> None:
    """The same settings above and below: the texts are judged above."""
    provider.respond = scripted([{"text": "Hello, SECRET."}])
    guard = Guard(redact=["SECRET"])
    settings = Settings(guard=guard)
    model = ChatOpenAI(model="m", base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
    with instrument(settings=settings):
        llm = guarded_model(model, settings)
        if how == "stream":
            text = "".join(str(chunk.text) for chunk in llm.stream("Hi"))
        else:
            text = (llm.invoke("Hi") if how == "invoke" else asyncio.run(llm.ainvoke("Hi"))).text
    assert text == "Hello, [redacted]."
    assert [stage for stage, _ in guard.asked] == ["prompt", "response"]
    assert [span.name for span in highflame_spans.finished] == ["chat m"]


def test_an_instrumented_sdk_with_other_settings_guards_by_its_own(provider: Server) -> None:
    provider.respond = scripted([{"text": "Hello, SECRET."}])
    above, below = Guard(), Guard(redact=["SECRET"])
    model = ChatOpenAI(model="m", base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
    with instrument(settings=Settings(guard=below)):
        assert guarded_model(model, Settings(guard=above)).invoke("Hi").text == "Hello, [redacted]."
    assert above.asked
    # Weaker above counts for nothing: the SDK's own door decides for itself.
    monitoring = Settings(guard=below, mode="monitor")
    below.requests.clear()
    with instrument(settings=Settings(guard=below)):
        assert guarded_model(model, monitoring).invoke("Hi").text == "Hello, [redacted]."


def test_one_trace_down_to_the_sdk(provider: Server, highflame_spans: CapturedSpans) -> None:
    provider.respond = scripted([{"text": "Fine."}])
    settings = Settings(guard=Guard())
    model = ChatOpenAI(model="m", base_url=f"{provider.url}/v1", api_key="k", max_retries=0)
    with instrument(settings=settings):
        agent = create_agent(model, [], middleware=[HighflameAgentMiddleware(settings)], name="support")
        guard_graph(agent, settings).invoke({"messages": [("user", "Hi")]})
    names = sorted(span.name for span in highflame_spans.finished)
    assert names == ["chat m", "invoke_agent support"]
    assert len({span.context.trace_id for span in highflame_spans.finished}) == 1


def test_the_responses_api() -> None:
    gateway = Gateway(providers={"only": {"scripts": SCRIPTS}}, guard=None)
    llm = chat_model("only/m", Settings(gateway=gateway, guard=Guard(redact=["SECRET"])), use_responses_api=True)
    assert llm.invoke("Hi").text == "Hello, [redacted]."
    assert "".join(str(chunk.text) for chunk in llm.stream("Hi")) == "Hello, [redacted]."
    whole: Any = None
    for chunk in llm.bind_tools([{"type": "function", "name": "look_up", "parameters": {}}]).stream("weather"):
        whole = chunk if whole is None else whole + chunk
    assert [call["args"] for call in whole.tool_calls] == [{"key": "[redacted]"}]
    assert "SECRET" not in repr(whole)


class Answered(BaseModel):
    text: str


@pytest.mark.parametrize(
    ("how", "responses"),
    # A scripted stream of the Responses API does not say what format was asked for, so there is no object.
    [("invoke", False), ("ainvoke", False), ("stream", False), ("invoke", True), ("ainvoke", True)],
)
def test_an_object_for_an_answer(how: str, responses: bool) -> None:
    """The SDK parses the reply itself, before anybody else reads it."""
    scripts = [{"text": '{"text": "SECRET"}'}]
    settings = Settings(gateway=Gateway(providers={"only": {"scripts": scripts}}, guard=None))
    redacting = settings.with_changes(guard=Guard(redact=["SECRET"]))
    llm: Any = chat_model("only/m", redacting, use_responses_api=responses).with_structured_output(Answered)
    if how == "stream":
        (*_, answer) = llm.stream("Hi")
    else:
        answer = llm.invoke("Hi") if how == "invoke" else asyncio.run(llm.ainvoke("Hi"))
    assert answer == Answered(text="[redacted]")
    denying = settings.with_changes(guard=Guard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        chat_model("only/m", denying, use_responses_api=responses).with_structured_output(Answered).invoke("Hi")
