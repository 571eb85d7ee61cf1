"""Nothing that was denied or taken out is in any stream of an agent, in any mode, in either colour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage

from tests.integrations.langgraph.kit import Guard, Scripted, agent_of, calling

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
GIVEN = {"messages": [("user", "Hello")]}
MODES = ["values", "updates", "messages", "tasks", "debug", "custom"]


def streamed(mode: Any, version: str = "v1") -> Callable[[Any], list[Any]]:
    def read(agent: Any) -> list[Any]:
        return list(agent.stream(GIVEN, stream_mode=mode, version=version))

    return read


def astreamed(mode: Any, version: str = "v1") -> Callable[[Any], list[Any]]:
    async def main(agent: Any) -> list[Any]:
        return [event async for event in agent.astream(GIVEN, stream_mode=mode, version=version)]

    return lambda agent: asyncio.run(main(agent))


def events(version: Any) -> Callable[[Any], list[Any]]:
    async def main(agent: Any) -> list[Any]:
        return [event async for event in agent.astream_events(GIVEN, version=version)]

    return lambda agent: asyncio.run(main(agent))


def events_v3(agent: Any) -> list[Any]:
    run = agent.stream_events(GIVEN, version="v3")
    said = [list(message.text) for message in run.messages]
    return [said, run.output]


def raw_events_v3(agent: Any) -> list[Any]:
    return list(agent.stream_events(GIVEN, version="v3"))


def aevents_v3(agent: Any) -> list[Any]:
    async def main() -> list[Any]:
        run = await agent.astream_events(GIVEN, version="v3")
        said = []
        async for message in run.messages:
            said.append([piece async for piece in message.text])
        return [said, await run.output()]

    return asyncio.run(main())


WAYS: dict[str, Callable[[Any], list[Any]]] = {
    **{f"stream, {mode}": streamed(mode) for mode in MODES},
    **{f"astream, {mode}": astreamed(mode) for mode in MODES},
    "stream, all": streamed(MODES),
    "stream v2, messages": streamed("messages", "v2"),
    "astream v2, messages": astreamed("messages", "v2"),
    "astream_events v1": events("v1"),
    "astream_events v2": events("v2"),
    "stream_events v3, messages": events_v3,
    "stream_events v3, all": raw_events_v3,
    "astream_events v3": aevents_v3,
}
REPLIES: dict[str, AIMessage] = {
    "text": AIMessage("All is well. The SECRET is out, and more follows."),
    "blocks": AIMessage([{"type": "text", "text": "All is well. The SECRET is out, and more."}]),
    "reasoning": AIMessage(
        [{"type": "reasoning", "reasoning": "It is SECRET."}, {"type": "text", "text": "Fine."}]
    ),
    "tool call": calling(("look_up", {"key": "SECRET"}), text="Let me see."),
}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("decision", ["deny", "redact"])
def test_what_the_model_says(decision: str, reply: str, how: str) -> None:
    ran: list[Any] = []
    model = Scripted(script=[REPLIES[reply], "Fine."])
    seen = WAYS[how](agent_of(model, Guard(**{decision: ["SECRET"]}), ran))
    assert_clean(seen)
    assert model.sent, "the model has been asked"
    assert ran == ([("look_up", "[redacted]")] if (decision, reply) == ("redact", "tool call") else [])


@pytest.mark.parametrize("how", [way for way in WAYS if "messages" in way or "events" in way])
def test_a_stream_is_still_a_stream(how: str) -> None:
    """Cleared words come as they are cleared, and together they are the reply."""
    model = Scripted(script=["One two three four five six seven eight."])
    from highflame_middleware import EmbeddedGuard

    seen = WAYS[how](agent_of(model, EmbeddedGuard(), tools=[]))
    if how.startswith(("stream,", "astream,")):
        pieces = [message.content for message, _ in seen if message.type == "AIMessageChunk"]
        assert len([piece for piece in pieces if piece]) > 5
        assert "".join(pieces) == "One two three four five six seven eight."
    elif how == "stream_events v3, messages":
        assert len(seen[0][0]) > 5
        assert "".join(seen[0][0]) == "One two three four five six seven eight."


@pytest.mark.parametrize("how", ["stream, messages", "astream, messages"])
def test_what_was_said_before_a_denial_and_nothing_after(how: str) -> None:
    from highflame_middleware import EmbeddedGuard

    told = "Here it is, as you asked. "
    model = Scripted(
        script=[told + "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75\n-----END RSA PRIVATE KEY-----"]
    )
    seen = WAYS[how](agent_of(model, EmbeddedGuard(), tools=[]))
    text = "".join(str(message.content) for message, _ in seen)
    assert told.strip() in text
    assert "MIIE" not in repr(seen)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("decision", ["deny", "redact"])
def test_what_a_tool_gives(decision: str, how: str) -> None:
    model = Scripted(script=[calling(("look_up", {"key": "a"})), "Fine."])
    seen = WAYS[how](agent_of(model, Guard(**{decision: ["SECRET"]}), results={"look_up": "a SECRET"}))
    if "events" in how or "debug" in how or "tasks" in how:
        # The tool's own end is told by LangChain where it happens, below every hook: to whoever asks for it.
        seen = [event for event in seen if not _own_end(event)]
    assert_clean(seen)


def _own_end(event: Any) -> bool:
    return isinstance(event, dict) and (event.get("event") == "on_tool_end" or event.get("method") == "tools")


def test_callbacks_hear_no_token_that_was_not_cleared() -> None:
    heard: list[str] = []

    class Listener(BaseCallbackHandler):
        def on_llm_new_token(self, token: Any, **more: Any) -> None:
            heard.append(f"{token}{more}")

        def on_llm_end(self, response: Any, **more: Any) -> None:
            heard.append(repr(response))

    model = Scripted(script=["The SECRET is out."])
    agent = agent_of(model, Guard(redact=["SECRET"]), tools=[])
    list(agent.stream(GIVEN, {"callbacks": [Listener()]}, stream_mode="messages"))
    assert heard
    assert "SECRET" not in "".join(heard)


def assert_clean(seen: list[Any]) -> None:
    assert seen is not None
    whole = repr(seen)
    assert "SECRET" not in whole
    # Nor in pieces.
    pieces = "".join(_text(event) for event in seen)
    assert "SECRET" not in pieces


def _text(event: Any) -> str:
    message = event[0] if isinstance(event, tuple) and event else event
    return str(getattr(message, "content", ""))
