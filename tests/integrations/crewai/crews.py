"""Crews, flows and tools for the tests: as small as they can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task
from crewai.events.base_events import BaseEvent
from crewai.events.event_bus import crewai_event_bus
from crewai.tools import BaseTool
from pydantic import PrivateAttr


class Noting(BaseTool):
    """Keeps what it was given, gives back what it was made with."""

    name: str = "note"
    description: str = "Takes a note."
    # Private: CrewAI tells its listeners of every field of an agent's tools.
    _gives: str = PrivateAttr("noted")
    result_as_answer: bool = False
    seen: list[str] = []  # noqa: RUF012 - pydantic copies it

    def _run(self, note: str = "") -> str:
        self.seen.append(note)
        return self._gives


def noting(gives: str = "noted", *, answers: bool = False, name: str = "note") -> Noting:
    """A tool of its own memory."""
    tool = Noting(result_as_answer=answers, seen=[], name=name)
    tool._gives = gives
    return tool


def agent_of(llm: Any, *tools: Any, **options: Any) -> Agent:
    """An agent without a plan, a memory or a word to say of itself."""
    return Agent(
        role="clerk", goal="help", backstory="new", llm=llm, tools=list(tools), max_retry_limit=2, **options
    )


def crew_of(llm: Any, *tools: Any, says: str = "Do it.", **options: Any) -> Crew:
    """A crew of one agent with one task."""
    agent = agent_of(llm, *tools)
    task = Task(description=says, expected_output="an answer", agent=agent)
    return Crew(agents=[agent], tasks=[task], **options)


def calling(note: str, name: str = "note") -> dict[str, Any]:
    """A reply that calls the tool."""
    return {"tool_calls": [{"name": name, "arguments": {"note": note}}]}


class Textual(BaseLLM):
    """A model that writes its calls of tools as text, and streams nothing: an application's own class."""

    says: list[str] = []  # noqa: RUF012
    asked: list[Any] = []  # noqa: RUF012

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        self.asked.append(json.dumps(messages, default=str))
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    def supports_function_calling(self) -> bool:
        return False


def textual(*says: str) -> Textual:
    return Textual(model="textual", says=list(says), asked=[])


@contextmanager
def heard() -> Iterator[list[str]]:
    """Everything that CrewAI tells its listeners, of whichever kind."""

    def below(kind: type) -> Iterator[type]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    said: list[str] = []

    def listen(source: Any, event: Any) -> None:
        said.append(event.model_dump_json())

    with crewai_event_bus.scoped_handlers():
        for kind in set(below(BaseEvent)):
            crewai_event_bus.on(kind)(listen)
        yield said
        crewai_event_bus.flush()
