"""guarded_model: the model object itself, in every way that it can be asked."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda

from highflame_langgraph import guarded_model
from highflame_middleware import BlockedError, ConfigError, EmbeddedGuard, GuardError, bypass
from highflame_middleware.testing import CapturedSpans
from tests.integrations.langgraph.kit import Guard, Scripted, calling, chunks_of


def _astream(llm: Any) -> Any:
    async def main() -> Any:
        whole: Any = None
        async for chunk in llm.astream("Hello"):
            whole = chunk if whole is None else whole + chunk
        return whole

    return asyncio.run(main())


def _stream(llm: Any) -> Any:
    whole: Any = None
    for chunk in llm.stream("Hello"):
        whole = chunk if whole is None else whole + chunk
    return whole


WAYS = {
    "invoke": lambda llm: llm.invoke("Hello"),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke("Hello")),
    "stream": _stream,
    "astream": _astream,
    "batch": lambda llm: llm.batch(["Hello"])[0],
    "abatch": lambda llm: asyncio.run(llm.abatch(["Hello"]))[0],
    "generate": lambda llm: llm.generate([[HumanMessage("Hello")]]).generations[0][0].message,
    "events v3": lambda llm: llm.stream_events("Hello", version="v3").output,
    "piped": lambda llm: (RunnableLambda(lambda text: text) | llm).invoke("Hello"),
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("how", WAYS)
def test_what_it_says_and_is_sent(how: str) -> None:
    guard = Guard(redact=["SECRET", "Hello"])
    model = Scripted(script=["The SECRET is out."])
    reply = WAYS[how](guarded_model(model, guard=guard, gateway=None))
    assert reply.text == "The [redacted] is out."
    assert model.sent[0][0].content == "[redacted]"
    assert len(guard.asked) == len(set(guard.asked))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("word", ["Hello", "SECRET"])
def test_what_it_may_not(word: str, how: str) -> None:
    model = Scripted(script=["The SECRET is out."])
    with pytest.raises(BlockedError) as caught:
        WAYS[how](guarded_model(model, guard=Guard(deny=[word]), gateway=None))
    assert caught.value.stage == ("prompt" if word == "Hello" else "response")
    assert len(model.sent) == (0 if word == "Hello" else 1)


@pytest.mark.parametrize("how", WAYS)
def test_its_calls(how: str) -> None:
    model = Scripted(script=[calling(("a", {"x": "SECRET", "n": 1}), ("b", {"y": "plain"}), text="Well.")])
    reply = WAYS[how](guarded_model(model, guard=Guard(redact=["SECRET"]), gateway=None))
    assert [(call["name"], call["args"], call["id"]) for call in reply.tool_calls] == [
        ("a", {"x": "[redacted]", "n": 1}, "c0"),
        ("b", {"y": "plain"}, "c1"),
    ]
    with pytest.raises(BlockedError) as caught:
        WAYS[how](guarded_model(model, guard=Guard(deny=["SECRET"]), gateway=None))
    assert caught.value.stage == "tool_call"


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_the_embedded_guard_however_it_is_cut(piece: int, how: str) -> None:
    text = "First 4111 1111 1111 1111, then ada@example.org and sk-proj-" + "a1B2" * 12 + " at the end."
    expected = guarded_model(Scripted(script=[text]), gateway=None).invoke("Hello").text
    assert "4111" not in expected
    model = Scripted(script=[text], piece=piece)
    assert WAYS[how](guarded_model(model, gateway=None)).text == expected


REPLY = AIMessage(
    [
        {"type": "reasoning", "reasoning": "The SECRET it is."},
        {"type": "text", "text": "A SECRET and"},
        {"type": "server_tool_result", "output": {"lines": ["SECRET"]}},
        {"type": "text", "text": " more."},
    ],
    additional_kwargs={"reasoning_content": "SECRET"},
)


@pytest.mark.parametrize("how", ["invoke", "stream", "astream"])
def test_blocks_of_every_kind_keep_their_order(how: str) -> None:
    class Blocks(Scripted):
        def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
            answer = self._next(messages, given)
            yield ChatGenerationChunk(message=next(chunks_of(AIMessage(""), 3), None) or _more(answer))
            for chunk in chunks_of(answer, 4):
                yield ChatGenerationChunk(message=chunk)

    reply = WAYS[how](guarded_model(Blocks(script=[REPLY]), guard=Guard(redact=["SECRET"]), gateway=None))
    assert "SECRET" not in repr(reply)
    blocks = [{key: value for key, value in block.items() if key != "index"} for block in reply.content]
    assert sorted(map(repr, blocks)) == sorted(
        map(
            repr,
            [
                {"type": "reasoning", "reasoning": "The [redacted] it is."},
                {"type": "text", "text": "A [redacted] and"},
                {"type": "server_tool_result", "output": {"lines": ["[redacted]"]}},
                {"type": "text", "text": " more."},
            ],
        )
    )
    assert reply.additional_kwargs["reasoning_content"] == "[redacted]"


def _more(answer: AIMessage) -> Any:
    from langchain_core.messages import AIMessageChunk

    return AIMessageChunk(content=[], additional_kwargs=answer.additional_kwargs)


@pytest.mark.parametrize("how", ["invoke", "stream", "astream"])
def test_probabilities_of_tokens_say_nothing_that_was_taken_out(how: str) -> None:
    class Telling(Scripted):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
            result = super()._generate(messages, **given)
            result.generations[0].generation_info = {"logprobs": {"content": [{"token": self.script[0]}]}}
            return result

        def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
            for chunk in super()._stream(messages, **given):
                info = {"logprobs": {"content": [{"token": chunk.text}]}}
                yield ChatGenerationChunk(message=chunk.message, generation_info=info)

    clean = WAYS[how](guarded_model(Telling(script=["All is fine."]), guard=Guard(redact=["SECRET"]), gateway=None))
    tokens = [one["token"] for one in clean.response_metadata["logprobs"]["content"]]
    assert "".join(tokens) == "All is fine."
    edited = WAYS[how](guarded_model(Telling(script=["A SECRET."]), guard=Guard(redact=["SECRET"]), gateway=None))
    assert "logprobs" not in edited.response_metadata


def test_a_cache_does_not_say_what_the_guard_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = InMemoryCache()
    Scripted(script=["The SECRET is out."], cache=cache).invoke("Hello")
    model = Scripted(script=["unused"], cache=cache)
    plain = Scripted(script=["The SECRET is out."], cache=cache)
    guarded = guarded_model(plain, guard=Guard(redact=["SECRET"]), gateway=None)
    assert guarded.invoke("Hello").text == "The [redacted] is out."
    assert guarded.invoke("Hello").text == "The [redacted] is out."
    assert model.sent == []


def test_a_model_that_does_not_stream_does_not_begin_to() -> None:
    class Plain(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "plain"

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("A SECRET."))])

    llm = guarded_model(Plain(), guard=Guard(redact=["SECRET"]), gateway=None)
    assert [chunk.text for chunk in llm.stream("Hello") if chunk.text] == ["A [redacted]."]
    assert _astream(llm).text == "A [redacted]."


def test_a_native_stream_of_events_is_not_a_way_around() -> None:
    class Native(Scripted):
        def _stream_chat_model_events(self, messages: Any, **given: Any) -> Any:
            raise AssertionError("asked past the guard")

    llm = guarded_model(Native(script=["A SECRET."]), guard=Guard(redact=["SECRET"]), gateway=None)
    assert llm.stream_events("Hello", version="v3").output.text == "A [redacted]."


def test_it_is_the_model_that_it_was() -> None:
    model = Scripted(script=["Fine."])
    llm = guarded_model(model, guard=Guard(), gateway=None)
    assert isinstance(llm, Scripted)
    assert type(llm).__name__ == "Scripted"
    assert llm.lc_id() == model.lc_id()
    assert (llm.model_dump(), type(model)) == (model.model_dump(), Scripted)
    assert guarded_model(llm, guard=Guard(redact=["Fine"]), gateway=None).invoke("Hi").text == "[redacted]."
    assert copy.deepcopy(llm).invoke("Hi").text == "Fine."
    assert llm.bind_tools([]).invoke("Hi").text == "Fine."
    assert llm.with_config(tags=["a"]).invoke("Hi").text == "Fine."
    assert FakeListChatModel(responses=["x"]).invoke("Hi").text == "x"


def test_a_model_that_is_configured_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain.chat_models import base, init_chat_model

    monkeypatch.setattr(base, "_init_chat_model_helper", lambda *given, **named: Scripted(script=["A SECRET."]))
    llm = guarded_model(init_chat_model(configurable_fields="any"), guard=Guard(redact=["SECRET"]), gateway=None)
    for one in (llm, llm.bind_tools([]), llm.with_config(configurable={"model": "m"})):
        assert one.invoke("Hello").text == "A [redacted]."
        assert _stream(one).text == "A [redacted]."


def test_what_is_made_of_it_is_guarded_too() -> None:
    from langchain_core.runnables import ConfigurableField

    llm = guarded_model(Scripted(script=["A SECRET."]), guard=Guard(redact=["SECRET"]), gateway=None)
    configured = llm.configurable_fields(piece=ConfigurableField(id="piece"))
    for one in (
        llm.model_copy(),
        llm.bind(stop=["x"]),
        llm.with_config(tags=["a"]),
        llm.with_retry(),
        llm.with_fallbacks([]),
        configured,
        configured.with_config(configurable={"piece": 5}),
        guarded_model(configured.default, guard=Guard(redact=["SECRET"]), gateway=None),
    ):
        assert one.invoke("Hello").text == "A [redacted]."
        assert _stream(one).text == "A [redacted]."


def test_structured_output() -> None:
    from pydantic import BaseModel

    class Answer(BaseModel):
        text: str

    class Calling(Scripted):
        def with_structured_output(self, schema: Any, *, include_raw: bool = False, **given: Any) -> Any:
            return BaseChatModel.with_structured_output(self, schema, include_raw=include_raw)

    model = Calling(script=[calling(("Answer", {"text": "SECRET"}))])
    guard = Guard(redact=["SECRET"])
    first = guarded_model(model, guard=guard, gateway=None).with_structured_output(Answer)
    second = guarded_model(model.with_structured_output(Answer), guard=guard, gateway=None)
    assert first.invoke("Hello") == second.invoke("Hello") == Answer(text="[redacted]")
    raw = guarded_model(model.with_structured_output(Answer, include_raw=True), guard=guard, gateway=None)
    assert "SECRET" not in repr(raw.invoke("Hello"))


def test_what_it_cannot_be_made_of() -> None:
    with pytest.raises(ConfigError, match="give a chat model"):
        guarded_model(RunnableLambda(lambda text: text), gateway=None)


@pytest.mark.parametrize("how", WAYS)
def test_an_outage(how: str) -> None:
    model = Scripted(script=["Fine."])
    with pytest.raises(GuardError):
        WAYS[how](guarded_model(model, guard=Guard(fault=RuntimeError()), gateway=None))
    assert model.sent == []
    open_ = guarded_model(model, guard=Guard(fault=RuntimeError()), fail_open=True, gateway=None)
    assert WAYS[how](open_).text == "Fine."
    monitoring = guarded_model(model, guard=Guard(deny=["Fine"]), mode="monitor", gateway=None)
    assert WAYS[how](monitoring).text == "Fine."


@pytest.mark.parametrize("how", WAYS)
def test_a_bypass_is_a_bypass(how: str) -> None:
    model = Scripted(script=["SECRET"])
    with bypass("an evaluation"):
        assert WAYS[how](guarded_model(model, guard=Guard(deny=["SECRET"]), gateway=None)).text == "SECRET"


@pytest.mark.parametrize("how", WAYS)
def test_one_span_a_call(how: str, highflame_spans: CapturedSpans) -> None:
    WAYS[how](guarded_model(Scripted(script=["Fine."]), guard=Guard(), gateway=None))
    (span,) = highflame_spans.finished
    assert span.attributes["gen_ai.operation.name"] == "chat"


def test_a_stream_that_is_left_ends_its_call(highflame_spans: CapturedSpans) -> None:
    closed: list[bool] = []

    class Closing(Scripted):
        def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **given: Any) -> Any:
            try:
                yield from super()._stream(messages, **given)
            finally:
                closed.append(True)

    llm = guarded_model(Closing(script=["One two three four five six."]), guard=EmbeddedGuard(), gateway=None)
    stream = llm.stream("Hello")
    next(stream)
    stream.close()
    assert closed == [True]
    (span,) = highflame_spans.finished
    assert "error.type" not in span.attributes
