"""The table that every door is held to, for CrewAI: its model class, in every way of calling it, and crews."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from crewai import LLM
from crewai.events.event_bus import crewai_event_bus
from crewai.events.types.llm_events import LLMStreamChunkEvent

from highflame_crewai import guard_crew, guarded
from highflame_middleware import HighflameError
from highflame_middleware.types import Mode, Stage
from tests.conformance.cases import TABLE, TEXT, Answering, Case, embedded
from tests.conformance.doors import INPUT, Seen, body_for, scripts_for, sent
from tests.conformance.test_conformance import GUARDS, MODES, edited, passed, recorded, stopped
from tests.integrations.crewai.conftest import in_turn
from tests.integrations.crewai.crews import calling, crew_of, noting
from tests.servers import Server, running, scripted

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def late() -> Iterator[threading.Event]:
    ended = threading.Event()
    yield ended
    ended.set()


def _model(server: Server, **options: Any) -> Any:
    return LLM(model="openai/gpt-4o", base_url=f"{server.url}/v1", api_key="k", **options)


def _said(reply: Any, stage: Stage) -> str:
    if stage is not Stage.TOOL_CALL:
        return str(reply)
    (call,) = reply
    function = call["function"] if isinstance(call, dict) else call.function
    return str(function["arguments"] if isinstance(function, dict) else function.arguments)


def _direct(case: Case, server: Server, call: Callable[[Any, list[Any]], Any], *, stream: bool = False) -> Seen:
    server.log.clear()
    server.respond = scripted(scripts_for(case.stage))
    got: list[str] = []
    error: HighflameError | None = None
    with crewai_event_bus.scoped_handlers():

        @crewai_event_bus.on(LLMStreamChunkEvent)
        def _(source: Any, event: LLMStreamChunkEvent) -> None:
            got.append(event.chunk)

        with guarded(**case.options, gateway=None):
            try:
                reply = call(_model(server, stream=stream), body_for(case.stage)["messages"])
            except HighflameError as caught:
                error = caught
            else:
                if not stream:
                    got.append(_said(reply, case.stage))
                elif case.stage is Stage.TOOL_CALL:
                    got = [_said(reply, case.stage)]
                else:
                    assert "".join(got) == reply, "what is streamed is what comes back"
    arrived = sent(server.log[-1].json, case.stage) if case.stage in INPUT and server.log else ""
    return Seen(arrived if case.stage in INPUT else "".join(got), error, len(server.log))


def call(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda model, messages: model.call(messages))


def acall(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda model, messages: asyncio.run(model.acall(messages)))


def call_stream(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda model, messages: model.call(messages), stream=True)


def acall_stream(case: Case, server: Server) -> Seen:
    return _direct(case, server, lambda model, messages: asyncio.run(model.acall(messages)), stream=True)


def _crew(case: Case, server: Server, kickoff: Callable[[Any], Any], **options: Any) -> Seen:
    """A crew whose tool passes the value on, or gives it back; denied tools stop it."""
    server.log.clear()
    stage = case.stage
    tool = noting(TEXT if stage is Stage.TOOL_RESULT else "noted")
    first = calling(TEXT if stage is Stage.TOOL_CALL else "nothing")
    last = {"text": TEXT if stage is Stage.RESPONSE else "Done."}
    server.respond = in_turn(*([first] if stage in (Stage.TOOL_CALL, Stage.TOOL_RESULT) else []), last)
    crew = crew_of(_model(server), tool, says=TEXT if stage is Stage.PROMPT else "Go on.", **options)
    error: HighflameError | None = None
    answer = ""
    try:
        answer = kickoff(guard_crew(crew, **case.options, gateway=None, on_denied_tool="raise"))
    except HighflameError as caught:
        error = caught
    if stage is Stage.PROMPT:
        text = json.dumps(server.log[-1].json["messages"]) if server.log else ""
    elif stage is Stage.TOOL_CALL:
        text = "".join(tool.seen)
    elif stage is Stage.TOOL_RESULT:
        text = str(server.log[-1].json["messages"][-1]["content"]) if len(server.log) > 1 else ""
    else:
        text = answer
    # One call of the model comes before a tool; what counts here is that none follows.
    expected = 0 if stage is Stage.TOOL_RESULT and error is not None and len(server.log) == 1 else len(server.log)
    return Seen(text, error, expected)


def crew(case: Case, server: Server) -> Seen:
    return _crew(case, server, lambda crew: crew.kickoff().raw)


def crew_native_async(case: Case, server: Server) -> Seen:
    return _crew(case, server, lambda crew: asyncio.run(crew.akickoff()).raw)


def crew_stream(case: Case, server: Server) -> Seen:
    def kickoff(crew: Any) -> str:
        streaming = crew.kickoff()
        chunks = [chunk.content for chunk in streaming]
        if case.stage is Stage.RESPONSE:
            return "".join(chunks)
        return str(streaming.result.raw)

    return _crew(case, server, kickoff, stream=True)


DOORS: Mapping[str, Callable[[Case, Server], Seen]] = {
    "call": call,
    "acall": acall,
    "call, stream": call_stream,
    "acall, stream": acall_stream,
}
CREWS: Mapping[str, Callable[[Case, Server], Seen]] = {
    "crew": crew,
    "crew, native async": crew_native_async,
    "crew, stream": crew_stream,
}
# A crew takes a second: each answer in enforce, and a denial in every mode.
CREW_ROWS = [(answer, Mode.ENFORCE, False) for answer in TABLE] + [
    ("deny", mode, fail_open) for mode, fail_open in MODES if mode is not Mode.ENFORCE
]


def _case(kind: str, answer: str, stage: Stage, mode: Mode, fail_open: bool, late: threading.Event) -> Case:
    guard: Any = embedded(answer, stage)
    if kind == "answering":
        guard = Answering(answer, stage, wait=lambda: late.wait(5) and None)
    return Case(guard, answer, stage, mode, fail_open)


@pytest.mark.parametrize("stage", Stage, ids=str)
@pytest.mark.parametrize(("mode", "fail_open"), MODES)
@pytest.mark.parametrize(("kind", "answer"), GUARDS)
@pytest.mark.parametrize("door", DOORS)
def test_what_comes_of_a_call(
    door: str,
    kind: str,
    answer: str,
    mode: Mode,
    fail_open: bool,
    stage: Stage,
    upstream: Server,
    late: threading.Event,
) -> None:
    case = _case(kind, answer, stage, mode, fail_open, late)
    seen = DOORS[door](case, upstream)
    {"pass": passed, "edit": edited, "stop": stopped}[case.outcome](case, seen)
    recorded(case)


@pytest.mark.parametrize("stage", Stage, ids=str)
@pytest.mark.parametrize(("answer", "mode", "fail_open"), CREW_ROWS)
@pytest.mark.parametrize("door", CREWS)
def test_what_comes_of_a_crew(
    door: str,
    answer: str,
    mode: Mode,
    fail_open: bool,
    stage: Stage,
    upstream: Server,
    late: threading.Event,
) -> None:
    case = _case("answering", answer, stage, mode, fail_open, late)
    seen = CREWS[door](case, upstream)
    {"pass": passed, "edit": edited, "stop": stopped}[case.outcome](case, seen)
    recorded(case)
