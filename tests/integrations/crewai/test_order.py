"""What is tried again, by whom, and what the guard is asked then: docs/crewai.md says it in this order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crewai import Crew, Task

from highflame_crewai import guard_crew, guarded
from highflame_middleware import BlockedError
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Stage
from tests.integrations.crewai.conftest import in_turn
from tests.integrations.crewai.crews import agent_of, crew_of
from tests.servers import Server

pytestmark = pytest.mark.filterwarnings("ignore")
Make = Callable[..., Any]


def asked(guard: FakeGuard, stage: Stage) -> int:
    return sum(request.stage is stage for request in guard.requests)


def test_the_sdk_tries_below_the_guard(llm: Make, model_server: Server) -> None:
    """A provider's failure: the prompt was judged, and is not judged again."""
    model = llm({"error": {"status": 500, "message": "down"}}, {"text": "ok"})
    guard = FakeGuard()
    with guarded(guard=guard, gateway=None):
        assert model.call("x") == "ok"
    assert len(model_server.log) == 2
    assert (asked(guard, Stage.PROMPT), asked(guard, Stage.RESPONSE)) == (1, 1)


def test_the_agent_tries_above_the_guard_which_knows_the_prompt(llm: Make, model_server: Server) -> None:
    """max_retry_limit: each attempt goes through the guard, which is asked about what is new."""
    bad = {"error": {"status": 400, "message": "no"}}
    model = llm(bad, bad, {"text": "ok"})
    guard = FakeGuard()
    assert guard_crew(crew_of(model), guard=guard, gateway=None).kickoff().raw == "ok"
    assert len(model_server.log) == 3
    contents = [request.content for request in guard.requests if request.stage is Stage.PROMPT]
    assert len(contents) == len(set(contents))


def test_a_tasks_own_guardrail_sees_what_is_cleared_and_its_feedback_is_judged(
    llm: Make, model_server: Server
) -> None:
    seen: list[str] = []

    def strict(output: Any):  # type: ignore[no-untyped-def]  # CrewAI reads the annotation, and not as a string
        seen.append(output.raw)
        return ("better" in output.raw, output.raw if "better" in output.raw else "make it better, SECRET")

    agent = agent_of(llm({"text": "a SECRET"}, {"text": "a better SECRET"}))
    task = Task(description="d", expected_output="o", agent=agent, guardrail=strict)
    guard = FakeGuard(redact=["SECRET"])
    out = guard_crew(Crew(agents=[agent], tasks=[task]), guard=guard, gateway=None).kickoff()
    assert out.raw == "a better [redacted]"
    assert seen == ["a [redacted]", "a better [redacted]"]
    assert b"SECRET" not in model_server.log[-1].body
    assert asked(guard, Stage.RESPONSE) == 2


def test_a_denial_ends_the_task_whatever_its_guardrail_would_try(llm: Make, model_server: Server) -> None:
    agent = agent_of(llm({"text": "BAD"}))
    tries: list[Any] = []

    def never(output: Any):  # type: ignore[no-untyped-def]
        tries.append(output)
        return (False, "again")

    task = Task(description="d", expected_output="o", agent=agent, guardrail=never, guardrail_max_retries=3)
    with pytest.raises(BlockedError):
        guard_crew(Crew(agents=[agent], tasks=[task]), guard=FakeGuard(deny=["BAD"]), gateway=None).kickoff()
    assert (len(model_server.log), tries) == (1, [])


def test_a_fallback_of_ones_own_is_guarded_again(llm: Make, model_server: Server) -> None:
    """Whatever catches the error may ask another model: with the guard before it, as ever."""
    model = llm({"text": "BAD"}, {"text": "fine"})
    guard = FakeGuard(deny=["BAD"])
    with guarded(guard=guard, gateway=None):
        try:
            said = model.call("x")
        except BlockedError:
            said = model.call("say it otherwise")
    assert said == "fine"
    assert asked(guard, Stage.PROMPT) == 2
    assert asked(guard, Stage.RESPONSE) == 2
    model_server.respond = in_turn({"text": "unused"})
