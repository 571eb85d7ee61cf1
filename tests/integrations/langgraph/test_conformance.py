"""The table that every door is held to, for LangChain's own `ChatOpenAI`: a guarded model, and agents of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from highflame_langgraph import HighflameAgentMiddleware, guarded_model
from highflame_middleware import HighflameError
from highflame_middleware.types import Mode, Stage
from tests.conformance.cases import TEXT, Answering, Case, embedded
from tests.conformance.doors import INPUT, Seen, body_for, scripts_for, sent
from tests.conformance.test_conformance import GUARDS, MODES, edited, passed, recorded, stopped
from tests.servers import Server, running, scripted

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def late() -> Iterator[threading.Event]:
    """What a guard that is late waits for: the end of the test."""
    ended = threading.Event()
    yield ended
    ended.set()


@cache
def _model(server: Server, **options: Any) -> ChatOpenAI:
    # One for all cases: what it takes to make one is most of what a case costs.
    return ChatOpenAI(model="m", base_url=f"{server.url}/v1", api_key="k", max_retries=0, **options)


# One loop too: LangChain keeps its clients' connections for longer than a call.
_runner = asyncio.Runner()


def _run(coroutine: Any) -> Any:
    return _runner.run(coroutine)


@pytest.fixture(scope="module", autouse=True)
def _closing() -> Iterator[None]:
    yield
    _model.cache_clear()
    _runner.close()


def _said(message: Any, stage: Stage) -> str:
    if stage is Stage.TOOL_CALL:
        return json.dumps(message.tool_calls[0]["args"]) if message.tool_calls else ""
    return str(message.text)


def _arrived(case: Case, server: Server, got: str, error: Any) -> Seen:
    arrived = sent(server.log[-1].json, case.stage) if case.stage in INPUT and server.log else ""
    return Seen(arrived if case.stage in INPUT else got, error, len(server.log))


# The model itself.


def _direct(case: Case, server: Server, call: Callable[[Any, Any], str], **options: Any) -> Seen:
    server.log.clear()
    server.respond = scripted(scripts_for(case.stage))
    llm = guarded_model(_model(server, **options), **case.options, gateway=None)
    try:
        return _arrived(case, server, call(llm, body_for(case.stage)["messages"]), None)
    except HighflameError as error:
        return _arrived(case, server, "", error)


def model(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda llm, messages: _said(llm.invoke(messages), case.stage))


def model_async(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda llm, messages: _said(_run(llm.ainvoke(messages)), case.stage))


def model_streaming(case: Case, server: Server) -> Seen:
    """Asked for the whole, it streams below."""
    return _direct(case, server, lambda llm, messages: _said(llm.invoke(messages), case.stage), streaming=True)


def _heard(chunks: list[Any], stage: Stage) -> str:
    if stage is Stage.TOOL_CALL:
        return "".join(piece["args"] or "" for chunk in chunks for piece in chunk.tool_call_chunks)
    return "".join(str(chunk.text) for chunk in chunks)


def model_stream(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda llm, messages: _heard(list(llm.stream(messages)), case.stage))


def model_async_stream(case: Case, server: Server) -> Seen:
    async def main(llm: Any, messages: Any) -> list[Any]:
        return [chunk async for chunk in llm.astream(messages)]

    return _direct(case, server, lambda llm, messages: _heard(_run(main(llm, messages)), case.stage))


# Agents: what a tool is run with, and what it gives, for the two stages of tools.


class _Agent:
    """An agent whose only text worth a word stands at the stage of the case."""

    def __init__(self, case: Case, server: Server, others: list[Any]) -> None:
        self.case, self.server = case, server
        self.ran: list[str] = []
        server.log.clear()
        scripts = scripts_for(case.stage)
        if case.stage is Stage.TOOL_CALL:
            scripts = [*scripts, {"text": "Done."}]
        if case.stage is Stage.TOOL_RESULT:
            scripts = [{"tool_calls": [{"name": "look_up", "arguments": {}}]}, {"text": "Done."}]
        waiting = list(scripts)
        server.respond = lambda seen: scripted([waiting.pop(0) if len(waiting) > 1 else waiting[0]])(seen)

        @tool
        def note(note: str) -> str:
            """Note."""
            self.ran.append(json.dumps({"note": note}))
            return "noted"

        @tool
        def look_up() -> str:
            """Look up."""
            self.ran.append("look_up")
            return TEXT

        middleware = HighflameAgentMiddleware(**case.options, gateway=None, on_deny="raise", step_up="deny")
        self.agent = create_agent(_model(server), [note, look_up], middleware=[*others, middleware])
        self.given = {"messages": [("user", TEXT if case.stage is Stage.PROMPT else "Go on.")]}

    def seen(self, run: Callable[[Any, Any], list[Any]]) -> Seen:
        case, log = self.case, self.server.log
        error: HighflameError | None = None
        said = ""
        try:
            said = "".join(run(self.agent, self.given))
        except HighflameError as caught:
            error = caught
        if case.stage is Stage.TOOL_CALL:
            # A call that needs an approval which nobody can give is not raised: it is answered.
            return Seen("".join(self.ran), error or (None if self.ran else case.recorded), 1)
        if case.stage is Stage.TOOL_RESULT:
            assert self.ran == ["look_up"], "a tool runs once"
            later = log[1:]
            return Seen(sent(later[-1].json, case.stage) if later else "", error, len(later))
        return Seen(sent(log[-1].json, case.stage) if case.stage in INPUT and log else said, error, len(log))


def agent(case: Case, server: Server) -> Seen:
    return _Agent(case, server, []).seen(lambda agent, given: [agent.invoke(given)["messages"][-1].text])


def agent_async(case: Case, server: Server) -> Seen:
    return _Agent(case, server, []).seen(lambda agent, given: [_run(agent.ainvoke(given))["messages"][-1].text])


def _chunks(events: list[Any]) -> list[str]:
    return [str(one.text) for one, _ in events if not isinstance(one, ToolMessage)]


def agent_stream(case: Case, server: Server) -> Seen:
    return _Agent(case, server, []).seen(
        lambda agent, given: _chunks(list(agent.stream(given, stream_mode="messages")))
    )


def agent_async_stream(case: Case, server: Server) -> Seen:
    async def main(agent: Any, given: Any) -> list[Any]:
        return [event async for event in agent.astream(given, stream_mode="messages")]

    return _Agent(case, server, []).seen(lambda agent, given: _chunks(_run(main(agent, given))))


def agent_among_others(case: Case, server: Server) -> Seen:
    """Retries, a fallback and retried tools around it change nothing."""
    others = [
        ModelRetryMiddleware(max_retries=2, initial_delay=0, on_failure="continue"),
        ModelFallbackMiddleware(_model(server)),
        ToolRetryMiddleware(max_retries=2, initial_delay=0, on_failure="continue"),
    ]
    return _Agent(case, server, others).seen(lambda agent, given: [agent.invoke(given)["messages"][-1].text])


DOORS: Mapping[str, Callable[[Case, Server], Seen]] = {
    "model": model,
    "model, async": model_async,
    "model, streaming below": model_streaming,
    "model, stream": model_stream,
    "model, async stream": model_async_stream,
    "agent": agent,
    "agent, async": agent_async,
    "agent, stream": agent_stream,
    "agent, async stream": agent_async_stream,
    "agent, among others": agent_among_others,
}


@pytest.mark.parametrize("stage", Stage, ids=str)
@pytest.mark.parametrize(("mode", "fail_open"), MODES)
@pytest.mark.parametrize(("kind", "answer"), GUARDS)
@pytest.mark.parametrize("door", DOORS)
def test_what_comes_of_it(
    door: str,
    kind: str,
    answer: str,
    mode: Mode,
    fail_open: bool,
    stage: Stage,
    upstream: Server,
    late: threading.Event,
) -> None:
    guard: Any = embedded(answer, stage)
    if kind == "answering":
        guard = Answering(answer, stage, wait=lambda: late.wait(5) and None)
    case = Case(guard, answer, stage, mode, fail_open)
    seen = DOORS[door](case, upstream)
    {"pass": passed, "edit": edited, "stop": stopped}[case.outcome](case, seen)
    recorded(case)
