"""Crews as people build them: managers, crews in tools, tools that fail, forms, plans, guarded parts of a crew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crewai import Agent, Crew, Process, Task
from crewai.flow.flow import Flow, listen, start
from crewai.lite_agent import LiteAgent
from crewai.tools import BaseTool, tool
from crewai.tools import tool_failure as failures
from pydantic import BaseModel, PrivateAttr

from highflame_crewai import guard_crew, guarded
from highflame_middleware import BlockedError, ConfigError, GuardError
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import GuardRequest, GuardResponse, Stage
from tests.integrations.crewai.crews import agent_of, calling, crew_of, heard, noting, textual
from tests.servers import Server

pytestmark = pytest.mark.filterwarnings("ignore")

DENIED, SECRET = "FORBIDDEN", "SECRET"
ACT = 'Thought: so.\nAction: note\nAction Input: {"note": "x"}'
DONE = "Thought: so.\nFinal Answer: Done."
Make = Callable[..., Any]


def fake() -> FakeGuard:
    return FakeGuard(deny=[DENIED], redact=[SECRET])


def sent_to(server: Server) -> str:
    return "".join(seen.body.decode() for seen in server.log)


class Word(BaseModel):
    word: str


class Failing(BaseTool):
    """A tool whose error says what it should not."""

    name: str = "note"
    description: str = "Takes a note."
    _says: str = PrivateAttr(SECRET)

    def _run(self, note: str = "") -> str:
        raise RuntimeError(f"failed at {self._says}")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("word", [SECRET, DENIED])
def test_what_a_failing_tool_says_is_judged(word: str, text: bool, llm: Make, model_server: Server) -> None:
    """CrewAI keeps it beside the result: in its events, in what the task came to."""
    failing = Failing()
    failing._says = word
    model = textual(ACT, DONE) if text else llm(calling("x"), {"text": "Done."})
    with heard() as said:
        out = guard_crew(crew_of(model, failing), guard=fake(), gateway=None).kickoff()
    assert out.raw == "Done."
    read = "".join(model.asked) if text else sent_to(model_server)
    assert ("[redacted]" if word == SECRET else "a word of the fake guard") in read
    for spoken in (read, repr(out.tasks_output), *said):
        assert word not in spoken


@pytest.mark.skipif(not hasattr(failures, "ToolExecutionFailedError"), reason="this CrewAI does not raise it")
def test_an_error_that_a_failing_tool_ends_a_crew_with_is_judged(llm: Make) -> None:
    crew = crew_of(llm(calling("x")), Failing(tool_failure_policy="raise"))
    with pytest.raises(failures.ToolExecutionFailedError, match="failed at") as caught:
        guard_crew(crew, guard=fake(), gateway=None).kickoff()
    assert SECRET not in f"{caught.value}{caught.value.record!r}"


@pytest.mark.parametrize("denied", ["answer", "raise"])
@pytest.mark.parametrize("text", [False, True])
def test_a_crew_in_a_tool_is_stopped_and_not_begun_again(
    text: bool, denied: str, llm: Make, model_server: Server
) -> None:
    """CrewAI answers an error of a tool that is called in text by running it again, up to six times."""
    ran: list[str] = []
    paid = noting(name="pay")

    class Asking(BaseTool):
        name: str = "note"
        description: str = "Asks others."

        def _run(self, note: str = "") -> str:
            ran.append(note)
            pays = ACT.replace("note\n", "pay\n")
            return str(crew_of(textual(pays, f"Thought: so.\nFinal Answer: {DENIED}"), paid).kickoff().raw)

    model = textual(ACT, DONE) if text else llm(calling("x"), {"text": "Done."})
    crew = guard_crew(crew_of(model, Asking()), guard=fake(), gateway=None, on_denied_tool=denied)
    if denied == "raise":
        with pytest.raises(BlockedError) as caught:
            crew.kickoff()
        assert caught.value.stage is Stage.RESPONSE
    else:
        assert crew.kickoff().raw == "Done."
        read = "".join(model.asked) if text else sent_to(model_server)
        assert "the guard stopped what note had begun (deny: a word of the fake guard)" in read
        assert DENIED not in read
    assert (ran, paid.seen) == (["x"], ["x"])


@pytest.mark.parametrize("where", ["call", "result"])
def test_a_tool_that_is_called_in_text_stops_the_crew(where: str) -> None:
    """CrewAI 1.15.19 tells the model of the error, and goes on. The next run is not stopped by it."""
    taken = noting(DENIED if where == "result" else "noted")
    model = textual(ACT, DONE)

    class OfTools:
        name, local = "tools", True

        def evaluate(self, request: GuardRequest) -> GuardResponse:
            denied = request.stage is (Stage.TOOL_RESULT if where == "result" else Stage.TOOL_CALL)
            return FakeGuard(deny=["x", DENIED] if denied else []).evaluate(request)

    crew = crew_of(model, taken)
    with guarded(guard=OfTools(), gateway=None, on_denied_tool="raise"):
        with pytest.raises(BlockedError):
            crew.kickoff()
        assert len(model.asked) == 1
        model.says[:] = [DONE]
        assert crew.kickoff().raw == "Done."


@pytest.mark.parametrize("word", [SECRET, DENIED])
@pytest.mark.parametrize("where", ["asked", "answered"])
def test_a_manager_and_whom_it_asks(where: str, word: str, llm: Make, model_server: Server) -> None:
    task = f"do {word}" if where == "asked" else "do it"
    call = {"task": task, "context": "c", "coworker": "clerk"}
    manager = llm({"tool_calls": [{"name": "delegate_work_to_coworker", "arguments": call}]}, {"text": "Managed."})
    worker = textual(f"Thought: so.\nFinal Answer: the {word}" if where == "answered" else DONE)
    crew = Crew(
        agents=[agent_of(worker)],
        tasks=[Task(description="d", expected_output="o")],
        process=Process.hierarchical,
        manager_llm=manager,
    )
    assert guard_crew(crew, guard=fake(), gateway=None).kickoff().raw == "Managed."
    assert word not in sent_to(model_server) + "".join(worker.asked)
    assert ("[redacted]" if word == SECRET else "a word of the fake guard") in sent_to(model_server)
    assert bool(worker.asked) is (word == SECRET or where == "answered")


class OfReplies:
    """Judges replies only."""

    name, local = "replies", True

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        judge = fake() if request.stage is Stage.RESPONSE else FakeGuard()
        return judge.evaluate(request)


@pytest.mark.parametrize("guard", [fake(), OfReplies()], ids=["all", "replies"])
@pytest.mark.parametrize("form", [{"output_pydantic": Word}, {"output_json": Word}, {}], ids=str)
@pytest.mark.parametrize("by", ["reply", "text", "tool"])
def test_every_form_of_an_answer(
    by: str, form: Any, guard: Any, llm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a form was made of, and the file that it is written to, is what was judged."""
    monkeypatch.chdir(tmp_path)
    for word in (SECRET, DENIED):
        said = json.dumps({"word": f"the {word}"})
        model = textual(f"Thought: so.\nFinal Answer: {said}") if by == "text" else llm({"text": said})
        if by == "tool":
            model = llm(calling("x"), {"text": said})
        agent = agent_of(model, *([noting(said, answers=True)] if by == "tool" else []))
        task = Task(description="d", expected_output="o", agent=agent, output_file=f"{word}.txt", **form)
        crew = guard_crew(Crew(agents=[agent], tasks=[task]), guard=guard, gateway=None)
        try:
            out = crew.kickoff()
        except (BlockedError, GuardError):
            assert word == DENIED
            assert not (tmp_path / f"{word}.txt").exists()
            continue
        forms = f"{out.raw}{out.pydantic}{out.json_dict}" + (tmp_path / f"{word}.txt").read_text("utf-8")
        assert word not in forms
        if word == SECRET:
            assert forms.count("[redacted]") >= (3 if form else 2)


def test_an_agents_form(llm: Make) -> None:
    agent = guard_crew(agent_of(llm({"text": json.dumps({"word": SECRET})})), guard=fake(), gateway=None)
    assert agent.kickoff("Say it.", response_format=Word).pydantic == Word(word="[redacted]")


def test_a_guardrail_that_asks_a_model(llm: Make, model_server: Server) -> None:
    judged = {"text": json.dumps({"valid": True, "feedback": None})}
    agent = agent_of(llm({"text": f"the {SECRET}"}, judged))
    task = Task(description=f"a {SECRET}", expected_output="o", agent=agent, guardrail="It has to be fine.")
    assert (
        guard_crew(Crew(agents=[agent], tasks=[task]), guard=fake(), gateway=None).kickoff().raw == "the [redacted]"
    )
    assert len(model_server.log) == 2
    assert SECRET not in sent_to(model_server)


def test_plans(llm: Make, model_server: Server) -> None:
    """Of a crew, and of an agent: made by calls of their own, and read by those that follow."""
    steps = [{"task_number": 1, "task": "t", "plan": f"first the {SECRET}"}]
    model = llm({"text": json.dumps({"list_of_plans_per_task": steps})}, {"text": "Done."})
    crew = crew_of(model, planning=True, planning_llm=model, says=f"a {SECRET}")
    assert guard_crew(crew, guard=fake(), gateway=None).kickoff().raw == "Done."
    assert "first the [redacted]" in model_server.log[-1].body.decode()
    agent = agent_of(llm({"text": f"the {SECRET} plan READY"}, {"text": f"the {SECRET}"}), planning=True)
    assert guard_crew(agent, guard=fake(), gateway=None).kickoff(f"a {SECRET}").raw == "the [redacted]"
    assert SECRET not in sent_to(model_server)


def test_an_agent_with_a_time_limit(llm: Make, model_server: Server) -> None:
    """It runs on a thread of its own."""
    agent = agent_of(llm({"text": f"the {SECRET}"}), max_execution_time=20)
    task = Task(description=f"a {SECRET}", expected_output="o", agent=agent)
    assert (
        guard_crew(Crew(agents=[agent], tasks=[task]), guard=fake(), gateway=None).kickoff().raw == "the [redacted]"
    )
    assert SECRET not in sent_to(model_server)


@pytest.mark.parametrize("way", ["kickoff", "akickoff"])
def test_asynchronous_tools(way: str, llm: Make, model_server: Server) -> None:
    seen: list[str] = []

    @tool("note")
    async def note(note: str) -> str:
        """Take a note."""
        seen.append(note)
        return f"the {SECRET}"

    crew = guard_crew(crew_of(llm(calling(f"a {SECRET}"), {"text": "Done."}), note), guard=fake(), gateway=None)
    assert (crew.kickoff() if way == "kickoff" else asyncio.run(crew.akickoff())).raw == "Done."
    assert seen == ["a [redacted]"]
    assert SECRET not in sent_to(model_server)


@pytest.mark.parametrize("text", [False, True])
def test_what_a_cache_gives_back_is_judged(text: bool, llm: Make, model_server: Server) -> None:
    """It holds results as the tool gave them."""
    other = ACT.replace('"x"', '"y"')
    calls = [calling("x"), calling("y"), calling("x"), {"text": "Done."}]
    model = textual(ACT, other, ACT, DONE) if text else llm(*calls)
    taken = noting(f"the {DENIED}")
    assert guard_crew(crew_of(model, taken, cache=True), guard=fake(), gateway=None).kickoff().raw == "Done."
    assert taken.seen == ["x", "y"]
    assert DENIED not in ("".join(model.asked) if text else sent_to(model_server))


def test_flows_in_flows(llm: Make, model_server: Server) -> None:
    model = llm({"text": f"the {SECRET}"})

    class Inner(Flow[Any]):
        @start()
        async def first(self) -> str:
            return str(await model.acall(f"a {SECRET}"))

    class Outer(Flow[Any]):
        @start()
        def first(self) -> Any:
            return Inner(suppress_flow_events=True).kickoff()

        @listen(first)
        async def second(self, said: str) -> str:
            return f"{said}, {(await crew_of(model, says=said).akickoff()).raw}"

    flow = guard_crew(Outer(suppress_flow_events=True), guard=fake(), gateway=None)
    assert flow.kickoff() == asyncio.run(flow.akickoff()) == "the [redacted], the [redacted]"
    assert SECRET not in sent_to(model_server)


def test_guarded_parts_of_a_crew_that_is_not(llm: Make, model_server: Server) -> None:
    """What came back from `guard_crew` is guarded wherever it is used, and by whomever."""
    model = llm({"text": f"the {SECRET}"})
    agent = guard_crew(agent_of(model), guard=fake(), gateway=None)
    task = Task(description="d", expected_output="o", agent=agent)
    assert Crew(agents=[agent], tasks=[task]).kickoff().raw == "the [redacted]"
    assert asyncio.run(Crew(agents=[agent], tasks=[task]).akickoff()).raw == "the [redacted]"
    assert crew_of(guard_crew(model, guard=fake(), gateway=None)).kickoff().raw == "the [redacted]"
    # Which copies what it is made of.
    for crew in (Crew(agents=[agent], tasks=[task]), crew_of(guard_crew(model, guard=fake(), gateway=None))):
        assert [out.raw for out in crew.kickoff_for_each([{}, {}])] == ["the [redacted]"] * 2
    plain = Task(description="d", expected_output="o", agent=agent_of(model))
    kept = guard_crew(plain, guard=fake(), gateway=None)
    assert kept.execute_sync().raw == "the [redacted]"
    assert kept.execute_async().result().raw == "the [redacted]"
    assert asyncio.run(kept.aexecute_sync()).raw == "the [redacted]"
    assert plain.execute_sync().raw == f"the {SECRET}"
    alone = LiteAgent(role="r", goal="g", backstory="b", llm=llm({"text": f"Final Answer: the {SECRET}"}))
    assert guard_crew(alone, guard=fake(), gateway=None).kickoff("Say it.").raw == "the [redacted]"


def test_what_cannot_be_guarded_is_refused() -> None:
    for nothing, said in ((object(), "object"), (Agent, "Agent"), ("a crew", "str")):
        with pytest.raises(ConfigError, match=f"{said} is none of them"):
            guard_crew(nothing, guard=FakeGuard(), gateway=None)
