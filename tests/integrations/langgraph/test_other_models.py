"""LangChain's classes for Claude and Gemini: the real SDKs, over servers that say what those providers say."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_anthropic import ChatAnthropic, _client_utils
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_google_genai import ChatGoogleGenerativeAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from highflame_langgraph import HighflameAgentMiddleware, approve, guard_graph, guarded_model
from highflame_middleware import BlockedError, EmbeddedGuard, Stage
from tests.instrumentation.kits import anthropic, google
from tests.integrations.langgraph.kit import Guard, said, tools
from tests.servers import Answer, Seen, Server, running

pytestmark = pytest.mark.filterwarnings("ignore")
REFUSED = "I can't help with that: it was stopped by a security policy."
SIGNATURE = "c2lnbmF0dXJlLTQxMTExMTExMTExMTExMTE="


@dataclass(frozen=True)
class Turn:
    """A reply: thoughts, then pieces of text, then calls with their arguments."""

    text: tuple[str, ...] = ()
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    thoughts: tuple[str, ...] = ()


def _json(body: Any) -> Answer:
    content = json.dumps(body).encode()
    return Answer(200, (("content-type", "application/json"),), [content], length=len(content))


def _events(chunks: list[bytes]) -> Answer:
    return Answer(200, (("content-type", "text/event-stream"),), chunks)


def _claude(turn: Turn, seen: Seen) -> Answer:
    blocks: list[tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = []
    if turn.thoughts:
        whole = {"type": "thinking", "thinking": "".join(turn.thoughts), "signature": SIGNATURE}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in turn.thoughts]
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        blocks.append((whole, {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed]))
    if turn.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in turn.text]
        blocks.append(({"type": "text", "text": "".join(turn.text)}, {"type": "text", "text": ""}, deltas))
    for number, (name, args) in enumerate(turn.calls):
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": name}
        written = json.dumps(args)
        parts = [written[at : at + 4] for at in range(0, len(written), 4)]
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        blocks.append(({**block, "input": args}, {**block, "input": {}}, deltas))
    if not seen.json.get("stream"):
        return _json(anthropic.message(*(whole for whole, _, _ in blocks)))
    events = [anthropic.event("message_start", message=anthropic.message(stop_reason=None))]
    for index, (_, begun, deltas) in enumerate(blocks):
        events.append(anthropic.event("content_block_start", index=index, content_block=begun))
        events += [anthropic.event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(anthropic.event("content_block_stop", index=index))
    reason = {"stop_reason": "tool_use" if turn.calls else "end_turn", "stop_sequence": None}
    ended = anthropic.event("message_delta", delta=reason, usage={"output_tokens": 7})
    return _events([*events, ended, anthropic.event("message_stop")])


def _gemini(turn: Turn, seen: Seen) -> Answer:
    parts: list[Any] = [{"text": piece, "thought": True} for piece in turn.thoughts]
    calls = [
        {"functionCall": {"name": name, "args": args}, "thoughtSignature": SIGNATURE} for name, args in turn.calls
    ]
    thought = [{"text": "".join(turn.thoughts), "thought": True}] if turn.thoughts else []
    spoken = google.reply(
        google.candidate(
            *thought,
            *(["".join(turn.text)] if turn.text else []),
            *calls,
            finish="STOP",
            groundingMetadata={"groundingSupports": [{"segment": {"text": "".join(turn.text)}}]},
        )
    )
    if "stream" not in seen.path:
        return _json(spoken)
    pieces = [google.reply(google.candidate(part)) for part in (*parts, *turn.text, *calls)]
    return _events(google.stream_of(*pieces, google.reply(google.candidate("", finish="STOP"))))


@dataclass(frozen=True)
class Provider:
    make: Callable[[str], Any]
    answer: Callable[[Turn, Seen], Answer]


PROVIDERS = {
    "anthropic": Provider(
        lambda url: ChatAnthropic(
            model_name="claude-x", base_url=url, api_key="k", max_retries=0, timeout=10, stop=None
        ),
        _claude,
    ),
    "google": Provider(
        lambda url: ChatGoogleGenerativeAI(model="gemini-x", base_url=url, google_api_key="k", max_retries=0),
        _gemini,
    ),
}

# LangChain keeps one asynchronous client for all of Anthropic's models, and so its connections' loop.
_runner = asyncio.Runner()


@pytest.fixture(scope="module", autouse=True)
def _closing() -> Iterator[None]:
    yield
    _runner.close()
    with warnings.catch_warnings():
        # Nobody closes the connections of those clients, nor can.
        warnings.simplefilter("ignore", ResourceWarning)
        _client_utils._get_default_async_httpx_client.cache_clear()
        _client_utils._get_default_httpx_client.cache_clear()
        gc.collect()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(params=PROVIDERS)
def speaking(request: pytest.FixtureRequest, upstream: Server) -> Callable[..., Any]:
    """A model whose provider answers by turns; it has the server's log."""
    provider = PROVIDERS[request.param]

    def make(*turns: Turn) -> Any:
        upstream.log.clear()
        waiting = list(turns)
        upstream.respond = lambda seen: provider.answer(waiting.pop(0) if len(waiting) > 1 else waiting[0], seen)
        return provider.make(upstream.url)

    return make


def wire(server: Server) -> str:
    return "".join(seen.body.decode() for seen in server.log)


def _sum(chunks: list[Any]) -> Any:
    whole: Any = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def _list(source: Any) -> list[Any]:
    return [one async for one in source]


PROMPT = "Tell me the SECRET."
ASKED: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda llm: llm.invoke(PROMPT),
    "ainvoke": lambda llm: _runner.run(llm.ainvoke(PROMPT)),
    "stream": lambda llm: _sum(list(llm.stream(PROMPT))),
    "astream": lambda llm: _sum(_runner.run(_list(llm.astream(PROMPT)))),
    "batch": lambda llm: llm.batch([PROMPT])[0],
    "abatch": lambda llm: _runner.run(llm.abatch([PROMPT]))[0],
    "events v3": lambda llm: llm.stream_events(PROMPT, version="v3").output,
}
REPLY = Turn(
    thoughts=("It is SEC", "RET then."),
    text=("All is well. The SE", "CRET is out", ", and more."),
    calls=(("look_up", {"key": "SECRET"}), ("note", {"text": "plain"})),
)


THOUGHT = "It is [redacted] then."


@pytest.mark.parametrize("how", ASKED)
def test_a_model(how: str, speaking: Callable[..., Any], upstream: Server) -> None:
    guard = Guard(redact=["SECRET"])
    model = speaking(REPLY).bind_tools(tools([]))
    reply = ASKED[how](guarded_model(model, guard=guard, gateway=None))
    assert "SECRET" not in repr(reply) + repr(reply.model_dump()) + wire(upstream)
    assert reply.text == "All is well. The [redacted] is out, and more."
    assert [call["args"] for call in reply.tool_calls] == [{"key": "[redacted]"}, {"text": "plain"}]
    thoughts = [
        block for block in reply.content if isinstance(block, dict) and block["type"] in ("thinking", "reasoning")
    ]
    assert "".join(block.get("thinking") or block.get("reasoning") or "" for block in thoughts) == THOUGHT
    # One block after the other, as without a guard.
    kinds = [block if isinstance(block, str) else block["type"] for block in reply.content]
    assert kinds[0] in ("thinking", "reasoning")
    assert "non_standard" not in kinds
    # What is signed, by whom nobody here can be, is not a text.
    assert how == "events v3" or SIGNATURE in repr(reply)
    assert SIGNATURE not in repr(guard.asked)
    assert len(guard.asked) == len(set(guard.asked))


@pytest.mark.parametrize("how", ASKED)
@pytest.mark.parametrize("stage", [Stage.PROMPT, Stage.RESPONSE, Stage.TOOL_CALL], ids=str)
def test_what_a_model_may_not(stage: Stage, how: str, speaking: Callable[..., Any], upstream: Server) -> None:
    llm = guarded_model(speaking(REPLY), guard=Guard(deny=["SECRET"], at=stage), gateway=None)
    with pytest.raises(BlockedError) as caught:
        ASKED[how](llm)
    assert caught.value.stage is stage
    assert len(upstream.log) == (0 if stage is Stage.PROMPT else 1)


def test_a_stream_is_still_a_stream_however_it_is_cut(speaking: Callable[..., Any]) -> None:
    text = "One two three, 4111 1111 1111 1111, and four five six."
    whole = "One two three, [REDACTED:credit_card], and four five six."
    for size in (1, 2, 7, len(text)):
        pieces = tuple(text[at : at + size] for at in range(0, len(text), size))
        llm = guarded_model(speaking(Turn(text=pieces)), guard=EmbeddedGuard(), gateway=None)
        heard = [str(chunk.text) for chunk in llm.stream("Hi") if chunk.text]
        assert "".join(heard) == whole
        assert size > 2 or len(heard) > 5


# Agents.

GIVEN = {"messages": [("user", "Go on.")]}
RUNS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda agent: agent.invoke(GIVEN),
    "ainvoke": lambda agent: _runner.run(agent.ainvoke(GIVEN)),
    "values": lambda agent: list(agent.stream(GIVEN, stream_mode="values")),
    "updates": lambda agent: list(agent.stream(GIVEN, stream_mode="updates")),
    "messages": lambda agent: list(agent.stream(GIVEN, stream_mode="messages")),
    "async messages": lambda agent: _runner.run(_list(agent.astream(GIVEN, stream_mode="messages"))),
    "astream_events v1": lambda agent: _events_of(agent, "v1"),
    "astream_events v2": lambda agent: _events_of(agent, "v2"),
    "stream_events v3": lambda agent: [
        event for event in agent.stream_events(GIVEN, version="v3") if event.get("method") != "tools"
    ],
}


def _events_of(agent: Any, version: Any) -> list[Any]:
    events = _runner.run(_list(agent.astream_events(GIVEN, version=version)))
    # What a tool gave is told by LangChain where it ends, below every hook.
    return [event for event in events if event["event"] != "on_tool_end"]


def heard_in(seen: Any) -> str:
    """The pieces of a stream, put together."""
    messages = [one[0] if isinstance(one, tuple) else one for one in (seen if isinstance(seen, list) else [])]
    return "".join(str(one.text) for one in messages if isinstance(one, AIMessageChunk))


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("decision", ["redact", "deny"])
def test_an_agent(decision: str, how: str, speaking: Callable[..., Any], upstream: Server) -> None:
    ran: list[Any] = []
    guard = Guard(**{decision: ["SECRET"]})
    middleware = HighflameAgentMiddleware(guard=guard, gateway=None)
    model = speaking(REPLY, Turn(text=("It is SEC", "RET.")))
    seen = RUNS[how](create_agent(model, tools(ran, look_up="found SECRET"), middleware=[middleware]))
    assert "SECRET" not in repr(seen) + heard_in(seen) + wire(upstream)
    assert sorted(ran) == ([("look_up", "[redacted]"), ("note", "plain")] if decision == "redact" else [])
    assert len(upstream.log) == (2 if decision == "redact" else 1)
    assert len(guard.asked) == len(set(guard.asked))


@pytest.mark.parametrize("how", RUNS)
def test_a_denied_call_has_its_own_answer(how: str, speaking: Callable[..., Any], upstream: Server) -> None:
    ran: list[Any] = []
    turn = Turn(text=("Let me see.",), calls=REPLY.calls)
    middleware = HighflameAgentMiddleware(guard=Guard(deny=["SECRET"]), gateway=None)
    agent = create_agent(speaking(turn, Turn(text=("Fine.",))), tools(ran), middleware=[middleware])
    seen = RUNS[how](agent)
    assert ran == [("note", "plain")]
    assert "SECRET" not in repr(seen) + wire(upstream)
    # The provider is told of both calls, and of an answer to each.
    assert wire(upstream).count("security policy does not allow") == 1
    if how == "invoke":
        assert said(seen)[-1] == ("ai", "Fine.")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_an_approval(how: str, speaking: Callable[..., Any]) -> None:
    ran: list[Any] = []
    turn = Turn(calls=(("look_up", {"key": "a"}), ("note", {"text": "PAY 100"})))
    middleware = HighflameAgentMiddleware(guard=Guard(step_up=["PAY"]), gateway=None)
    model = speaking(turn, Turn(text=("Paid.",)))
    agent = create_agent(model, tools(ran), middleware=[middleware], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}

    def run(given: Any) -> Any:
        return agent.invoke(given, config) if how == "invoke" else _runner.run(agent.ainvoke(given, config))

    (request,) = run(GIVEN)["__interrupt__"]
    assert ran == []
    assert said(run(Command(resume=approve(request))))[-1] == ("ai", "Paid.")
    assert sorted(ran) == [("look_up", "a"), ("note", "PAY 100")]


def test_no_raw_value_is_in_the_history_of_checkpoints(speaking: Callable[..., Any]) -> None:
    saver, guard = InMemorySaver(), Guard(redact=["SECRET"])
    middleware = HighflameAgentMiddleware(guard=guard, gateway=None)
    model = speaking(REPLY, Turn(text=("It is SECRET.",)))
    agent = create_agent(model, tools([], look_up="a SECRET"), middleware=[middleware], checkpointer=saver)
    graph = guard_graph(agent, guard=guard, gateway=None)
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"messages": [("user", PROMPT)]}, config)
    assert "SECRET" not in repr([list(graph.get_state_history(config)), saver.storage, saver.writes, saver.blobs])


class Answered(BaseModel):
    text: str


@pytest.mark.parametrize("decision", ["redact", "deny", "step_up"])
def test_an_object_for_an_answer(decision: str, speaking: Callable[..., Any], upstream: Server) -> None:
    middleware = HighflameAgentMiddleware(guard=Guard(**{decision: ["SECRET"]}), gateway=None)
    model = speaking(Turn(calls=(("Answered", {"text": "SECRET"}),)))
    agent = create_agent(model, [], middleware=[middleware], response_format=ToolStrategy(Answered))
    result = agent.invoke(GIVEN, {"recursion_limit": 20})
    assert "SECRET" not in repr(result)
    assert len(upstream.log) == 1
    if decision == "redact":
        assert result["structured_response"] == Answered(text="[redacted]")
    else:
        assert result["structured_response"] is None
        assert said(result)[-1] == ("ai", REFUSED)


def test_a_fallback_from_one_to_the_other(upstream: Server) -> None:
    def respond(seen: Seen) -> Answer:
        if seen.path.endswith("/messages"):
            return Answer(500, chunks=[b"{}"], length=2)
        return _gemini(Turn(text=("It is SECRET.",)), seen)

    upstream.log.clear()
    upstream.respond = respond
    first, second = (provider.make(upstream.url) for provider in PROVIDERS.values())
    llm = guarded_model(first.with_fallbacks([second]), guard=Guard(redact=["SECRET"]), gateway=None)
    reply = llm.invoke("Hi")
    assert isinstance(reply, AIMessage)
    assert reply.text == "It is [redacted]."
    assert len(upstream.log) == 2
