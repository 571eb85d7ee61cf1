"""Not one denied token in any way to stream, and nothing held back that is cleared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from crewai import BaseLLM
from crewai.events.event_bus import crewai_event_bus
from crewai.events.types.llm_events import LLMStreamChunkEvent, LLMThinkingChunkEvent
from crewai.flow.flow import Flow, start

from highflame_crewai import guard_crew, guarded
from highflame_middleware import BlockedError, EmbeddedGuard, context
from highflame_middleware.testing import FakeGuard
from tests.integrations.crewai.crews import calling, crew_of, noting, textual
from tests.servers import Server

pytestmark = pytest.mark.filterwarnings("ignore")

MAIL = "jo@example.org"
PIECES = ["Please write ", "to jo@exa", "mple.org ", "by noon."]
WHOLE = "".join(PIECES)
EDITED = WHOLE.replace(MAIL, "[REDACTED:email]")
Make = Callable[..., Any]


def _sync(crew: Any) -> tuple[list[str], Any]:
    streaming = crew.kickoff()
    return [chunk.content for chunk in streaming], streaming


async def _drained(streaming: Any) -> list[str]:
    return [chunk.content async for chunk in streaming]


def _threaded(crew: Any) -> tuple[list[str], Any]:
    async def main() -> tuple[list[str], Any]:
        streaming = await crew.kickoff_async()
        return await _drained(streaming), streaming

    return asyncio.run(main())


def _native(crew: Any) -> tuple[list[str], Any]:
    async def main() -> tuple[list[str], Any]:
        streaming = await crew.akickoff()
        return await _drained(streaming), streaming

    return asyncio.run(main())


def _each(crew: Any) -> tuple[list[str], Any]:
    async def main() -> tuple[list[str], Any]:
        streaming = await crew.kickoff_for_each_async([{}])
        return await _drained(streaming), streaming

    return asyncio.run(main())


WAYS = {"kickoff": _sync, "kickoff_async": _threaded, "akickoff": _native, "kickoff_for_each_async": _each}


@pytest.mark.parametrize("way", WAYS)
def test_a_crew_streams_what_is_cleared(way: str, llm: Make, model_server: Server) -> None:
    crew = guard_crew(
        crew_of(llm({"chunks": PIECES}), stream=True), guard=EmbeddedGuard(redact=["email"]), gateway=None
    )
    chunks, streaming = WAYS[way](crew)
    # CrewAI itself gives every chunk twice where several crews stream into one.
    assert "".join(dict.fromkeys(chunks)) == EDITED
    assert len(chunks) > 1, "it comes in pieces"
    assert streaming.results[0].raw == EDITED


@pytest.mark.parametrize("way", WAYS)
def test_a_crew_streams_nothing_that_is_denied(way: str, llm: Make) -> None:
    guard = FakeGuard(deny=[MAIL])
    crew = guard_crew(crew_of(llm({"chunks": PIECES}), stream=True), guard=guard, gateway=None)
    heard: list[str] = []

    def listen(source: Any, event: Any) -> None:
        heard.append(event.chunk)

    with crewai_event_bus.scoped_handlers():
        crewai_event_bus.on(LLMStreamChunkEvent)(listen)
        with pytest.raises(BlockedError):
            WAYS[way](crew)
    assert heard == []


def test_a_stream_that_is_read_outside_of_its_scope_is_guarded(llm: Make) -> None:
    """CrewAI begins to work with the first chunk that is asked for, in the context that asks."""
    guard = FakeGuard(redact=[MAIL])
    crew = crew_of(llm({"chunks": PIECES}), stream=True)
    with context(user="ada", session="s1"), guarded(guard=guard, gateway=None):
        streaming = crew.kickoff()
    assert MAIL not in "".join(chunk.content for chunk in streaming)
    assert streaming.result.raw == WHOLE.replace(MAIL, "[redacted]")
    assert {request.session_id for request in guard.requests} == {"s1"}


def test_frames_of_a_model_a_flow_and_a_crew(llm: Make) -> None:
    """Frames are made of every event, the finished reply among them."""
    model = llm({"chunks": PIECES})

    class One(Flow[Any]):
        stream = True

        @start()
        def first(self) -> str:
            return str(model.call("x"))

    guard = FakeGuard(redact=[MAIL])
    with guarded(guard=guard, gateway=None):
        session = model.stream_events("x")
    frames = list(session)
    assert "".join(frame.content for frame in frames) == WHOLE.replace(MAIL, "[redacted]") == session.result
    assert MAIL not in repr(frames)

    model.stream = True
    flow = guard_crew(One(suppress_flow_events=True), guard=guard, gateway=None)
    frames = list(flow.stream_events())
    assert "[redacted]" in repr(frames)
    assert MAIL not in repr(frames)

    denying = guard_crew(One(suppress_flow_events=True), guard=FakeGuard(deny=[MAIL]), gateway=None)
    frames = []
    with pytest.raises(BlockedError):
        for frame in denying.stream_events():
            frames.append(frame)
    assert MAIL not in repr(frames)
    assert not any(frame.content for frame in frames)


def test_frames_of_tools_that_are_called_in_text() -> None:
    """CrewAI tells of their results before it asks its hooks."""
    act = 'Thought: so.\nAction: note\nAction Input: {"note": "x"}'
    for guard in (FakeGuard(redact=[MAIL]), FakeGuard(deny=[MAIL])):
        tool = noting(f"it is {MAIL}")
        crew = crew_of(textual(act, "Thought: so.\nFinal Answer: Done."), tool)

        class One(Flow[Any]):
            @start()
            def first(self, crew: Any = crew) -> str:
                return str(crew.kickoff().raw)

        flow = guard_crew(One(suppress_flow_events=True), guard=guard, gateway=None)
        frames = list(flow.stream_events())
        assert any(frame.type == "tool_usage_finished" for frame in frames)
        assert [frame.type for frame in frames if MAIL in repr(frame)] == []
        assert [str(item.stage) for item in guard.requests].count("tool_result") == 1, "judged once"


def test_arguments_are_streamed_once_they_are_judged(llm: Make) -> None:
    for guard, tells in ((FakeGuard(redact=[MAIL]), False), (FakeGuard(deny=[MAIL]), False), (FakeGuard(), True)):
        tool = noting()
        crew = crew_of(llm(calling(MAIL), {"text": "Done."}), tool, stream=True)
        chunks, streaming = _sync(guard_crew(crew, guard=guard, gateway=None))
        assert (MAIL in "".join(chunks)) is tells
        assert streaming.result.raw == "Done."


class Thinking(BaseLLM):
    """A model that thinks aloud, as Gemini's class does."""

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        for piece in PIECES:
            crewai_event_bus.emit(self, LLMThinkingChunkEvent(chunk=piece, call_id="1"))
        return "Done."


def test_thinking_is_guarded() -> None:
    heard: list[str] = []

    def listen(source: Any, event: Any) -> None:
        heard.append(event.chunk)

    with crewai_event_bus.scoped_handlers():
        crewai_event_bus.on(LLMThinkingChunkEvent)(listen)
        with guarded(guard=EmbeddedGuard(redact=["email"]), gateway=None):
            assert Thinking(model="m").call("x") == "Done."
        crewai_event_bus.flush()
        assert "".join(heard) == EDITED
        heard.clear()
        with guarded(guard=FakeGuard(deny=[MAIL]), gateway=None), pytest.raises(BlockedError):
            Thinking(model="m").call("x")
        crewai_event_bus.flush()
    assert heard == []


@pytest.mark.parametrize("stream", ["buffer", "sentence", "passthrough"])
def test_a_guard_without_a_window(stream: str, llm: Make) -> None:
    heard: list[str] = []

    def listen(source: Any, event: Any) -> None:
        heard.append(event.chunk)

    text = "First sentence. " + WHOLE
    for later in (False, True):
        model = llm({"chunks": ["First sen", "tence. ", *PIECES]}, stream=True)
        heard.clear()
        with crewai_event_bus.scoped_handlers():
            crewai_event_bus.on(LLMStreamChunkEvent)(listen)
            with guarded(guard=FakeGuard(redact=[MAIL], local=False), gateway=None, stream=stream):
                said = asyncio.run(model.acall("x")) if later else model.call("x")
        assert said == text.replace(MAIL, "[redacted]")
        assert "".join(heard) == (text if stream == "passthrough" else said)
