"""One trace for a run: its crew or flow, its agents, their models and tools, each once, with what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from crewai import Crew, Task
from crewai.flow.flow import Flow, start

from highflame_crewai import guard_crew, guarded
from highflame_middleware import BlockedError, Settings, context, instrument
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.integrations.crewai.crews import agent_of, calling, crew_of, noting

pytestmark = pytest.mark.filterwarnings("ignore")
Make = Callable[..., Any]

CREW = """\
invoke_workflow crew
  invoke_agent clerk
    chat gpt-4o
    execute_tool note
    chat gpt-4o"""


def tree(spans: CapturedSpans) -> str:
    """The names of the spans, as they stand in each other."""
    below: dict[Any, list[Any]] = {}
    for span in sorted(spans.finished, key=lambda span: span.start_time):
        below.setdefault(span.parent.span_id if span.parent else None, []).append(span)

    def lines(parent: Any, depth: int) -> list[str]:
        return [
            line
            for span in below.get(parent, [])
            for line in ("  " * depth + span.name, *lines(span.context.span_id, depth + 1))
        ]

    return "\n".join(lines(None, 0))


@pytest.mark.parametrize("way", ["kickoff", "akickoff", "stream"])
def test_a_crew_is_one_trace(way: str, llm: Make, highflame_spans: CapturedSpans) -> None:
    crew = crew_of(llm(calling("the SECRET"), {"text": "Done."}), noting(), stream=way == "stream")
    kept = guard_crew(crew, guard=FakeGuard(redact=["SECRET"]), gateway=None)
    with context(user="ada", session="s1"):
        if way == "kickoff":
            kept.kickoff()
        elif way == "akickoff":
            asyncio.run(kept.akickoff())
        else:
            list(kept.kickoff())
    assert tree(highflame_spans) == CREW
    assert all(span.attributes["session.id"] == "s1" for span in highflame_spans.finished)
    assert [decision["stage"] for decision in highflame_spans.decisions()] == ["tool_call"]
    chat = highflame_spans.named("chat gpt-4o")[0]
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.provider.name"] == "openai"
    assert "SECRET" not in repr([span.attributes for span in highflame_spans.finished])


def test_an_instrumented_sdk_has_the_models_spans(llm: Make, highflame_spans: CapturedSpans) -> None:
    settings = Settings(guard=FakeGuard(), gateway=None)
    with instrument(settings=settings):
        guard_crew(crew_of(llm(calling("x"), {"text": "Done."}), noting()), settings).kickoff()
    assert tree(highflame_spans) == CREW


def test_a_flow_and_what_it_begins(llm: Make, highflame_spans: CapturedSpans) -> None:
    model = llm({"text": "ok"})

    class Daily(Flow[Any]):
        @start()
        def first(self) -> str:
            return str(crew_of(model).kickoff().raw)

    with guarded(guard=FakeGuard(), gateway=None):
        Daily(suppress_flow_events=True).kickoff()
    assert tree(highflame_spans) == (
        "invoke_workflow Daily\n  invoke_workflow crew\n    invoke_agent clerk\n      chat gpt-4o"
    )


def test_errors_end_every_span(llm: Make, highflame_spans: CapturedSpans) -> None:
    with pytest.raises(BlockedError):
        guard_crew(crew_of(llm({"text": "BAD"})), guard=FakeGuard(deny=["BAD"]), gateway=None).kickoff()
    assert tree(highflame_spans) == "invoke_workflow crew\n  invoke_agent clerk\n    chat gpt-4o"
    assert {span.attributes["error.type"] for span in highflame_spans.finished} == {
        "highflame_crewai.CrewBlockedError"
    }
    assert [decision["decision"] for decision in highflame_spans.decisions()] == ["deny"]
    highflame_spans.clear()
    agent = agent_of(llm({"text": "ok"}))
    Crew(agents=[agent], tasks=[Task(description="d", expected_output="o", agent=agent)]).kickoff()
    assert highflame_spans.finished == [], "nothing outside of a run"


def test_an_agent_alone(llm: Make, highflame_spans: CapturedSpans) -> None:
    guard_crew(agent_of(llm({"text": "ok"})), guard=FakeGuard(), gateway=None).kickoff("Hi")
    assert tree(highflame_spans) == "invoke_agent clerk\n  chat gpt-4o"
