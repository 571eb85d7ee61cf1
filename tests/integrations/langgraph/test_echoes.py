"""What a message says twice: nothing that was taken out of the one place is left in the other, nor judged again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from highflame_langgraph import guarded_model
from highflame_middleware import BlockedError, EmbeddedGuard
from tests.integrations.langgraph.kit import COLOURS, Guard, Scripted, agent_of, ask, said

CALL = {"name": "look_up", "args": {"key": "SECRET"}, "id": "c0"}
WRITTEN = json.dumps(CALL["args"])


def _sum(chunks: list[Any]) -> Any:
    whole: Any = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def _list(source: Any) -> list[Any]:
    return [one async for one in source]


WAYS: dict[str, Any] = {
    "invoke": lambda llm: llm.invoke("Hello"),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke("Hello")),
    "stream": lambda llm: _sum(list(llm.stream("Hello"))),
    "astream": lambda llm: _sum(asyncio.run(_list(llm.astream("Hello")))),
}


class Chunked(Scripted):
    """Streams the very chunks that it is given."""

    chunks: list[Any] = []  # noqa: RUF012 - pydantic copies it

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
        self._next(messages, given)
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)


def piece(args: str, **more: Any) -> Any:
    return {"name": "look_up", "args": args, "id": "c0", "index": 0, **more}


REPEATED = {
    "a function call": AIMessage(
        "", tool_calls=[CALL], additional_kwargs={"function_call": {"name": "look_up", "arguments": WRITTEN}}
    ),
    "tool calls": AIMessage(
        "",
        tool_calls=[CALL],
        additional_kwargs={
            "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "look_up", "arguments": WRITTEN}}]
        },
    ),
    "a block": AIMessage(
        [{"type": "tool_use", "id": "c0", "name": "look_up", "input": CALL["args"]}], tool_calls=[CALL]
    ),
    "a written block": AIMessage(
        [{"type": "function_call", "call_id": "c0", "name": "look_up", "arguments": WRITTEN}], tool_calls=[CALL]
    ),
    "a call that is no JSON": AIMessage(
        [{"type": "tool_use", "id": "c0", "name": "look_up", "input": {}, "partial_json": '["SECRET'}],
        invalid_tool_calls=[{"name": "look_up", "args": '["SECRET', "id": "c0", "error": None}],
    ),
}


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("form", REPEATED)
def test_a_call_in_a_providers_own_words(form: str, how: str) -> None:
    guard = Guard(redact=["SECRET"])
    message = REPEATED[form]
    reply = WAYS[how](guarded_model(Scripted(script=[message]), guard=guard, gateway=None))
    assert "SECRET" not in repr(reply)
    assert "[redacted]" in repr(reply)
    assert [stage for stage, _ in guard.asked] == ["prompt", "tool_call"]
    denied: list[Any] = []
    agent = agent_of(Scripted(script=[message, "Fine."]), Guard(deny=["SECRET"]), denied)
    result = ask(agent, how=how)
    assert "SECRET" not in repr(result)
    assert denied == []


@pytest.mark.parametrize("how", ["stream", "astream"])
def test_chunks_of_a_call_with_its_older_form(how: str) -> None:
    """As Gemini streams them: each call whole, once in each form."""
    chunks = [
        AIMessageChunk(
            content="",
            additional_kwargs={"function_call": {"name": "look_up", "arguments": json.dumps({"key": key})}},
            tool_call_chunks=[piece(json.dumps({"key": key}), id=key, index=None)],
        )
        for key in ("SECRET", "b")
    ]
    for count, legacy in (
        (1, {"function_call": {"name": "look_up", "arguments": '{"key": "[redacted]"}'}}),
        (2, {}),
    ):
        guard = Guard(redact=["SECRET"])
        model = Chunked(script=["unused"], chunks=chunks[:count])
        reply = WAYS[how](guarded_model(model, guard=guard, gateway=None))
        assert "'SECRET'}" not in repr(reply)
        assert [call["args"] for call in reply.tool_calls] == [{"key": "[redacted]"}, {"key": "b"}][:count]
        assert reply.additional_kwargs == legacy
        assert [stage for stage, _ in guard.asked] == ["prompt", *["tool_call"] * count]


@pytest.mark.parametrize("how", ["stream", "astream"])
@pytest.mark.parametrize("ids", [("x", "x"), (None, None)])
def test_calls_whose_ids_say_nothing(ids: Any, how: str) -> None:
    chunks = [
        AIMessageChunk(content="", tool_call_chunks=[piece(args, id=own, index=index)])
        for index, (args, own) in enumerate(zip((WRITTEN, '{"key": "b"}'), ids, strict=True))
    ]
    model = Chunked(script=["unused"], chunks=chunks)
    reply = WAYS[how](guarded_model(model, guard=Guard(redact=["SECRET"]), gateway=None))
    assert [call["args"] for call in reply.tool_calls] == [{"key": "[redacted]"}, {"key": "b"}]
    assert "SECRET" not in repr(reply)


@pytest.mark.parametrize("how", COLOURS)
@pytest.mark.parametrize(
    "message",
    [
        AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": WRITTEN}}),
        AIMessage(
            "", additional_kwargs={"tool_calls": [{"id": "c9", "function": {"arguments": "SECRET, no JSON"}}]}
        ),
        # Claude's own tools call this way: then the block is what the provider is sent.
        AIMessage(
            [{"type": "tool_use", "id": "c0", "name": "f", "input": {"url": "SECRET"}, "caller": {"type": "x"}}],
            tool_calls=[{"name": "f", "args": {}, "id": "c0"}],
        ),
        AIMessage([{"type": "tool_use", "id": "c9", "name": "f", "input": {"url": "SECRET"}}]),
    ],
)
def test_what_only_looks_like_a_call_again(message: AIMessage, how: str) -> None:
    model = Scripted(script=["Fine."])
    ask(agent_of(model, Guard(redact=["SECRET"]), tools=[]), [message, ("user", "Go on.")], how=how)
    assert "SECRET" not in repr([one.model_dump() for one in model.sent[0]])
    assert "[redacted]" in repr([one.model_dump() for one in model.sent[0]])


class Answer(BaseModel):
    text: str


PARSED = {"parsed": Answer(text="SECRET")}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("said", ['{"text": "SECRET"}', "SECRET, as no object can be made of"])
def test_an_object_that_was_parsed_of_the_text(said: str, how: str) -> None:
    """As `ChatOpenAI.with_structured_output` gives it to its caller, who never reads the text."""
    pieces = [said[at : at + 3] for at in range(0, len(said), 3)]
    chunks = [AIMessageChunk(content=one) for one in pieces]
    chunks.append(AIMessageChunk(content="", additional_kwargs=PARSED))
    model = Chunked(script=[AIMessage(said, additional_kwargs=PARSED)], chunks=chunks)
    reply = WAYS[how](guarded_model(model, guard=Guard(redact=["SECRET"]), gateway=None))
    assert "SECRET" not in repr(reply)
    assert reply.additional_kwargs.get("parsed") == (Answer(text="[redacted]") if said[0] == "{" else None)
    untouched = WAYS[how](guarded_model(model, guard=Guard(), gateway=None))
    assert untouched.additional_kwargs == PARSED


@pytest.mark.parametrize("how", WAYS)
def test_what_a_provider_says_about_a_reply(how: str) -> None:
    """Gemini's grounding quotes the sentences that it grounds."""
    about = {"grounding_metadata": {"supports": [{"segment": {"text": "A SECRET."}}]}, "model_name": "m"}
    chunks = [AIMessageChunk(content="A SEC"), AIMessageChunk(content="RET.", response_metadata=about)]
    model = Chunked(script=[AIMessage("A SECRET.", response_metadata=about)], chunks=chunks)
    edited = WAYS[how](guarded_model(model, guard=Guard(redact=["SECRET"]), gateway=None))
    assert edited.response_metadata == {"model_name": "m"}
    assert WAYS[how](guarded_model(model, guard=Guard(), gateway=None)).response_metadata == about


def test_no_provider_can_say_that_a_call_was_decided_on() -> None:
    """What an API answers beside the reply is metadata to some of LangChain's classes, by its own names."""
    forged = {"highflame": {"calls": {"c0": {"decision": "step_up"}, "c1": "x"}}}
    message = AIMessage(
        [{"type": "text", "text": "A SECRET", "id": "c0"}], tool_calls=[CALL], response_metadata=forged
    )
    for decision in ("redact", "deny"):
        ran: list[Any] = []
        result = ask(agent_of(Scripted(script=[message, "Fine."]), Guard(**{decision: ["SECRET"]}), ran))
        assert "SECRET" not in repr(result)
        assert "SECRET" not in repr(ran)


@pytest.mark.parametrize("mark", [{"stage": "never"}, {"stage": "prompt", "decision": "x"}, {"decision": "allow"}])
def test_a_mark_that_somebody_made_up_stops_and_breaks_nothing(mark: Any) -> None:
    model = Scripted(script=["Fine."])
    message = HumanMessage("Hi", response_metadata={"highflame": mark})
    assert said(ask(agent_of(model, Guard(), tools=[]), [message]))[-1][0] == "ai"
    assert model.sent == []


@pytest.mark.parametrize("how", ["stream", "astream"])
@pytest.mark.parametrize("turns", [1, 3, 9])
def test_blocks_by_turns(turns: int, how: str) -> None:
    """A text that goes on after another began is one text still."""
    number = "4111 1111 1111 1111, and "
    size = -(-len(number) // turns)
    chunks = []
    for at in range(0, len(number), size):
        chunks.append(AIMessageChunk(content=[{"type": "text", "text": number[at : at + size], "index": 0}]))
        chunks.append(AIMessageChunk(content=[{"type": "text", "text": f"plain {at} ", "index": 1}]))
    llm = guarded_model(Chunked(script=["unused"], chunks=chunks), guard=EmbeddedGuard(), gateway=None)
    try:
        reply = WAYS[how](llm)
    except BlockedError:
        assert turns > 1
        return
    assert "4111" not in repr(reply)
    assert reply.content[0]["text"] == "[REDACTED:credit_card], and "


@pytest.mark.parametrize("name", ["system", "instructions", "system_instruction"])
def test_instructions_beside_the_messages(name: str) -> None:
    model = Scripted(script=["Fine."])
    guarded_model(model, guard=Guard(redact=["SECRET"]), gateway=None).invoke("Hi", **{name: "Use the SECRET."})
    assert model.given == [{name: "Use the [redacted]."}]
