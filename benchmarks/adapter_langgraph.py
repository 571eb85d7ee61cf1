"""What a guard costs an agent of LangChain: time per hop beside the bare one, and how often it is asked per turn.

The model is a class that answers from memory, the tool gives back a constant, so LangChain and this library are all
there is. Run where LangChain is installed. Printed: medians of CPU time, interleaved in one process.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from highflame_langgraph import HighflameAgentMiddleware, guarded_model
from highflame_middleware import EmbeddedGuard
from highflame_middleware.testing import FakeGuard

ROUNDS = 40
TURNS = 5
PROMPT = "Summarise the minutes of the meeting below in three sentences, and say who is to do what by when. " * 40
REPLY = "All of it is done, and everybody has been told about it in time. " * 8


class Instant(BaseChatModel):
    """Calls the tool for some turns, then answers."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> ChatResult:
        results = sum(message.type == "tool" for message in messages)
        message = AIMessage(REPLY)
        if results < TURNS:
            call = {"name": "look_up", "args": {"topic": f"minutes {results}"}, "id": f"c{results}"}
            message = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
        for at in range(0, len(REPLY), 5):
            yield ChatGenerationChunk(message=AIMessageChunk(content=REPLY[at : at + 5]))

    def bind_tools(self, tools: Any, **given: Any) -> Any:
        return self


@tool
def look_up(topic: str) -> str:
    """Look something up."""
    return f"Nothing new about {topic}."


def agent(*middleware: Any) -> Callable[[], Any]:
    """A run of an agent."""
    made = create_agent(Instant(disable_streaming=True), [look_up], middleware=middleware)
    return lambda: made.invoke({"messages": [("user", f"{time.perf_counter()} {PROMPT}")]})


def compare(name: str, ways: dict[str, Callable[[], Any]], per: int) -> None:
    """Print the medians of some ways, and what each costs more than the first, per hop."""
    for work in ways.values():
        work()
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, work in ways.items():
            begun = time.process_time()
            work()
            found[way].append((time.process_time() - begun) * 1000)
    bare = statistics.median(next(iter(found.values())))
    for way, times in found.items():
        median = statistics.median(times)
        print(f"{name:12} {way:22} {median:8.2f} ms   {(median - bare) / per:+7.3f} ms a hop")


def main() -> None:
    """Print it all."""
    compare(
        "agent",
        {
            "bare": agent(),
            "without a guard": agent(HighflameAgentMiddleware(guard=None, gateway=None)),
            "embedded": agent(HighflameAgentMiddleware(guard=EmbeddedGuard(), gateway=None)),
        },
        2 * TURNS + 1,
    )
    plain, guarded = Instant(), guarded_model(Instant(), guard=EmbeddedGuard(), gateway=None)
    chunks = len(REPLY) // 5
    compare(
        "stream",
        {"bare": lambda: list(plain.stream("Hello")), "embedded": lambda: list(guarded.stream("Hello"))},
        chunks,
    )
    counting = FakeGuard()
    agent(HighflameAgentMiddleware(guard=counting, gateway=None))()
    asked = Counter(str(request.stage) for request in counting.requests)
    texts = Counter((request.stage, request.content) for request in counting.requests)
    said = ", ".join(f"{stage} {count}" for stage, count in sorted(asked.items()))
    print(
        f"{'asked':12} {TURNS} turns: {asked.total()} evaluations ({said}), none twice: {max(texts.values()) == 1}"
    )


if __name__ == "__main__":
    main()
