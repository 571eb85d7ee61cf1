"""What a guard costs a crew: time per hop beside the bare one, and how often the guard is asked per turn.

The model is a class that answers from memory, the tool gives back a constant, so CrewAI and this library are all
there is. Run where CrewAI is installed. Printed: medians, interleaved in one process.
"""

from __future__ import annotations

import os

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "CREWAI_TESTING": "true"}

import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task
from crewai.tools import tool

from highflame_crewai import guard_crew, guarded
from highflame_middleware import EmbeddedGuard
from highflame_middleware.testing import FakeGuard

ROUNDS = 60
TURNS = 5
PROMPT = "Summarise the minutes of the meeting below in three sentences, and say who is to do what by when. " * 40


class Instant(BaseLLM):
    """Calls the tool for some turns, then answers."""

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        results = sum(item["role"] == "tool" for item in messages) if isinstance(messages, list) else TURNS
        if results >= TURNS:
            return "All of it is done."
        function = {"name": "look_up", "arguments": f'{{"topic": "minutes {results}"}}'}
        return [{"id": f"c{results}", "type": "function", "function": function}]

    def supports_function_calling(self) -> bool:
        return True


@tool
def look_up(topic: str) -> str:
    """Look something up."""
    return f"Nothing new about {topic}."


def crew() -> Crew:
    """One agent, one task, one tool."""
    agent = Agent(role="clerk", goal="help", backstory="new", llm=Instant(model="instant"), tools=[look_up])
    return Crew(agents=[agent], tasks=[Task(description=PROMPT, expected_output="an answer", agent=agent)])


def timed(work: Callable[[], Any]) -> float:
    """CPU milliseconds of one go."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1000


def compare(name: str, ways: dict[str, Callable[[], Any]], rounds: int, per: int) -> None:
    """Print the medians of some ways, and what each costs more than the first, per hop."""
    for work in ways.values():
        work()
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            found[way].append(timed(work))
    bare = statistics.median(next(iter(found.values())))
    for way, times in found.items():
        median = statistics.median(times)
        print(f"{name:12} {way:10} {median:8.2f} ms   {(median - bare) / per:+6.2f} ms a hop")


def main() -> None:
    """Print it all."""
    logging.disable(logging.CRITICAL)
    model, off, on = Instant(model="instant"), guarded(guard=None, gateway=None), guarded(gateway=None)

    def inside(scope: Any) -> None:
        with scope:
            model.call(PROMPT)

    compare(
        "one call",
        {"bare": lambda: model.call(PROMPT), "no guard": lambda: inside(off), "guarded": lambda: inside(on)},
        ROUNDS * 5,
        1,
    )
    bare, kept = crew(), guard_crew(crew(), guard=EmbeddedGuard(), gateway=None)
    # A hop is a model's call or a tool's.
    compare("a crew", {"bare": bare.kickoff, "guarded": kept.kickoff}, ROUNDS // 4, 2 * TURNS + 1)
    guard = FakeGuard()
    guard_crew(crew(), guard=guard, gateway=None).kickoff()
    asked = Counter(str(request.stage) for request in guard.requests)
    print(f"guard calls for {TURNS} turns with a tool: {len(guard.requests)} ({dict(asked)})")


if __name__ == "__main__":
    main()
