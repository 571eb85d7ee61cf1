"""guard_graph: what comes in is judged before the first checkpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from highflame_langgraph import guard_graph, guard_tool_node, guarded_model
from highflame_middleware import BlockedError, ConfigError, Settings
from highflame_middleware.testing import CapturedSpans
from tests.integrations.langgraph.kit import Guard, Scripted, agent_of, calling, said, tools
from tests.integrations.langgraph.test_order import one_node
from tests.integrations.langgraph.test_streams import WAYS

REFUSED = "I can't help with that: it was stopped by a security policy."
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def chatting(guard: Guard, saver: Any = None, **more: Any) -> tuple[Any, Scripted]:
    model = Scripted(script=["Fine."])
    agent = agent_of(model, guard, tools=[], checkpointer=saver)
    return guard_graph(agent, guard=guard, gateway=None, **more), model


RUNS = {
    "invoke": lambda graph, given, config: graph.invoke(given, config),
    "ainvoke": lambda graph, given, config: asyncio.run(graph.ainvoke(given, config)),
    "stream": lambda graph, given, config: list(graph.stream(given, config)),
    "batch": lambda graph, given, config: graph.batch([given], config),
    "abatch": lambda graph, given, config: asyncio.run(graph.abatch([given], config)),
    "v3": lambda graph, given, config: graph.stream_events(given, config, version="v3").output,
}


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("decision", ["redact", "deny"])
def test_no_raw_value_is_in_the_history_of_checkpoints(decision: str, how: str) -> None:
    saver = InMemorySaver()
    graph, model = chatting(Guard(**{decision: ["SECRET"]}), saver)
    config = {"configurable": {"thread_id": "1"}}
    RUNS[how](graph, {"messages": [("user", "My SECRET")]}, config)
    history = list(graph.get_state_history(config))
    assert len(history) > 1
    stored = repr([history, list(saver.list(config)), saver.storage, saver.writes, saver.blobs])
    assert "SECRET" not in stored
    assert model.sent == [] if decision == "deny" else "SECRET" not in repr(model.sent)
    last = said(graph.get_state(config).values)[-1]
    assert last == ("ai", REFUSED if decision == "deny" else "Fine.")


def test_without_it_the_input_is_there() -> None:
    """What LangGraph does, and why there is a guard in front of it."""
    saver = InMemorySaver()
    agent = agent_of(Scripted(script=["Fine."]), Guard(redact=["SECRET"]), tools=[], checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "My SECRET")]}, config)
    assert "SECRET" in repr([saver.storage, saver.writes, saver.blobs])


@pytest.mark.parametrize("how", WAYS)
def test_every_way_to_run_it(how: str) -> None:
    model = Scripted(script=["The SECRET is out."])
    guard = Guard(redact=["SECRET"])
    WAYS[how](guard_graph(agent_of(model, guard, tools=[]), guard=guard, gateway=None))
    assert model.sent


def test_a_message_is_judged_once_at_the_entrance_and_once_inside() -> None:
    """The two have a guard each: inside, it cannot be known who stands in front."""
    outer, inner = Guard(), Guard()
    agent = agent_of(Scripted(script=["Fine."]), inner, tools=[])
    guard_graph(agent, guard=outer, gateway=None).invoke({"messages": [("user", "Hello")]})
    assert outer.asked == [("prompt", "Hello")]
    assert inner.asked == [("prompt", "Hello"), ("response", "Fine.")]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_doors_of_the_same_settings_judge_a_text_once(how: str) -> None:
    """In front of a graph, around its model, and at its tools."""
    guard = Guard()
    settings = Settings(guard=guard, gateway=None)
    call = calling(("look_up", {"key": "a"}), ("note", {"text": "b"}), text="Let me see.")
    llm = guarded_model(Scripted(script=[call, "Fine.", "Bye."]), settings)
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    builder.add_node("tools", guard_tool_node(tools([]), settings))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else "__end__")
    builder.add_edge("tools", "model")
    graph = guard_graph(builder.compile(checkpointer=InMemorySaver()), settings)
    config: Any = {"configurable": {"thread_id": "1"}}
    RUNS[how](graph, {"messages": [("user", "Hello")]}, config)
    RUNS[how](graph, {"messages": [("user", "More")]}, config)
    # Two prompts, three texts, two calls, two results.
    assert len(guard.asked) == len(set(guard.asked)) == 9


class Question(TypedDict):
    question: str
    about: dict[str, Any]


class Model(BaseModel):
    question: str


@dataclass
class Data:
    question: str


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        (Question, {"question": "SECRET", "about": {"deep": ["SECRET"]}}),
        (Model, Model(question="SECRET")),
        (Data, Data(question="SECRET")),
    ],
    ids=["dict", "pydantic", "dataclass"],
)
def test_a_state_of_ones_own(schema: Any, given: Any) -> None:
    seen: list[Any] = []
    builder = StateGraph(schema)
    builder.add_node("only", lambda state: seen.append(state) or {})
    builder.add_edge(START, "only")
    saver = InMemorySaver()
    graph = guard_graph(builder.compile(checkpointer=saver), guard=Guard(redact=["SECRET"]), gateway=None)
    graph.invoke(given, {"configurable": {"thread_id": "1"}})
    assert seen
    assert "SECRET" not in repr([seen, saver.storage, saver.blobs, saver.writes])
    denied = guard_graph(builder.compile(), guard=Guard(deny=["SECRET"]), gateway=None)
    with pytest.raises(BlockedError):
        denied.invoke(given)
    with pytest.raises(BlockedError):
        asyncio.run(denied.ainvoke(given))


def test_what_is_resumed_and_updated_is_judged() -> None:
    def ask(state: Any) -> Any:
        return {"question": interrupt("What?")}

    builder = StateGraph(Question)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    saver = InMemorySaver()
    graph = guard_graph(builder.compile(checkpointer=saver), guard=Guard(redact=["SECRET"]), gateway=None)
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"question": "a", "about": {}}, config)
    assert graph.invoke(Command(resume="SECRET"), config)["question"] == "[redacted]"
    graph.update_state(config, {"question": "SECRET again"})
    asyncio.run(graph.aupdate_state(config, {"question": "SECRET once more"}))
    assert "SECRET" not in repr([saver.storage, saver.blobs, saver.writes])


def test_as_a_node_of_another_graph_it_stops_that_one() -> None:
    llm = guarded_model(Scripted(script=["Fine."]), guard=Guard(), gateway=None)
    inner = one_node(lambda state: {"messages": [llm.invoke(state["messages"])]})
    outer = one_node(guard_graph(inner, guard=Guard(deny=["SECRET"]), gateway=None))
    with pytest.raises(BlockedError):
        outer.invoke({"messages": [("user", "SECRET")]})
    assert said(outer.invoke({"messages": [("user", "Hi")]}))[-1] == ("ai", "Fine.")


def test_it_is_the_graph_that_it_was() -> None:
    agent = agent_of(Scripted(script=["Fine."]), Guard(), tools=[], name="support")
    graph = guard_graph(agent, guard=Guard(), gateway=None)
    assert (type(graph).__name__, graph.name) == (type(agent).__name__, "support")
    assert isinstance(graph, type(agent))
    assert graph.get_graph().nodes.keys() == agent.get_graph().nodes.keys()
    assert type(agent) is not type(graph)
    twice = guard_graph(graph, guard=Guard(redact=["Hi"]), gateway=None)
    assert twice.invoke({"messages": [HumanMessage("Hi")]})["messages"][0].text == "[redacted]"


def test_what_is_made_of_it_is_guarded_too() -> None:
    graph, _ = chatting(Guard(redact=["SECRET"]))
    for one in (graph.with_config(tags=["a"]), graph.bind(), graph.with_retry(), graph | (lambda state: state)):
        assert one.invoke({"messages": [HumanMessage("SECRET")]})["messages"][0].text == "[redacted]"


def test_an_entrypoint() -> None:
    from langgraph.func import entrypoint

    seen: list[str] = []

    @entrypoint()
    def flow(text: str) -> str:
        seen.append(text)
        return text

    assert guard_graph(flow, guard=Guard(redact=["SECRET"]), gateway=None).invoke("A SECRET") == "A [redacted]"
    assert seen == ["A [redacted]"]


def test_what_it_cannot_be_made_of() -> None:
    with pytest.raises(ConfigError, match="compiled graph"):
        guard_graph(object(), gateway=None)  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="needs a HighflameAgentMiddleware"):
        guard_graph(one_node(lambda state: state), on_deny="respond", gateway=None)
    with pytest.raises(ConfigError, match="on_deny='ask'"):
        guard_graph(one_node(lambda state: state), on_deny="ask", gateway=None)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_one_trace(how: str, highflame_spans: CapturedSpans) -> None:
    guard = Guard(deny=["SECRET"])
    model = Scripted(script=[calling(("look_up", {"key": "a"})), "Fine."])
    agent = agent_of(model, guard, name="support")
    graph = guard_graph(agent, guard=guard, gateway=None)
    RUNS[how](graph, {"messages": [("user", "Hello")]}, {"configurable": {"thread_id": "t", "user_id": "ada"}})
    spans = {span.name: span for span in highflame_spans.finished}
    names = sorted(span.name for span in highflame_spans.finished)
    assert names == ["chat", "chat", "execute_tool look_up", "invoke_agent support"]
    root = spans["invoke_agent support"]
    assert {span.context.trace_id for span in highflame_spans.finished} == {root.context.trace_id}
    assert all(span.parent.span_id == root.context.span_id for span in highflame_spans.finished if span is not root)
    assert root.attributes["gen_ai.conversation.id"] == "t"
    assert root.attributes["user.id"] == "ada"
    assert spans["execute_tool look_up"].attributes["gen_ai.tool.call.id"] == "c0"
    assert "Hello" not in repr([dict(span.attributes) for span in highflame_spans.finished])


def test_a_block_is_on_record(highflame_spans: CapturedSpans) -> None:
    llm = guarded_model(Scripted(script=["Fine."]), guard=Guard(deny=["SECRET"]), gateway=None)
    graph = guard_graph(
        one_node(lambda state: {"messages": [llm.invoke(state["messages"])]}), guard=Guard(), gateway=None
    )
    with pytest.raises(BlockedError):
        graph.invoke({"messages": [("user", "SECRET")]})
    (root,) = [span for span in highflame_spans.finished if span.name == "invoke_workflow"]
    assert root.attributes["error.type"] == "highflame_langgraph.GraphBlockedError"
