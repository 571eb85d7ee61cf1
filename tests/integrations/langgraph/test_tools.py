"""Tools of every kind below a guarded tool node: artifacts, commands, injected runtimes, classes, sub-agents."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command
from pydantic import BaseModel

from highflame_langgraph import HighflameAgentMiddleware, guard_tool_node
from highflame_middleware import BlockedError, ConfigError, GuardError
from tests.integrations.langgraph.kit import COLOURS, Guard, Scripted, agent_of, ask, calling, said, tools

pytestmark = pytest.mark.parametrize("how", COLOURS)


def run(one: Any, guard: Guard, how: str, **args: Any) -> tuple[Any, Scripted]:
    model = Scripted(script=[calling((one.name, args)), "Fine."])
    return ask(agent_of(model, guard, tools=[one]), how=how), model


def test_an_artifact_stays_with_an_edited_result(how: str) -> None:
    @tool(response_format="content_and_artifact")
    def chart(key: str) -> tuple[str, Any]:
        """Draw."""
        return f"SECRET {key}", {"raw": [1, 2]}

    result, _ = run(chart, Guard(redact=["SECRET"]), how, key="a")
    message = result["messages"][2]
    assert (message.content, message.artifact) == ("[redacted] a", {"raw": [1, 2]})
    denied, _ = run(chart, Guard(deny=["SECRET"]), how, key="a")
    assert denied["messages"][2].artifact is None


def test_blocks_of_a_result_are_edited_text_by_text(how: str) -> None:
    @tool
    def page(key: str) -> list[Any]:
        """Read."""
        image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        return [{"type": "text", "text": "SECRET"}, image, {"type": "text", "text": "plain"}]

    result, _ = run(page, Guard(redact=["SECRET"]), how, key="a")
    assert result["messages"][2].content == [
        {"type": "text", "text": "[redacted]"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": "plain"},
    ]


def test_a_tool_that_is_given_its_runtime(how: str) -> None:
    @tool
    def recall(key: str, runtime: ToolRuntime) -> str:
        """Recall."""
        return f"{key} of {len(runtime.state['messages'])} SECRET"

    result, _ = run(recall, Guard(redact=["SECRET"]), how, key="a")
    assert result["messages"][2].content == "a of 2 [redacted]"


def test_a_tool_that_is_a_class(how: str) -> None:
    class Finder(BaseTool):
        name: str = "finder"
        description: str = "Finds."

        def _run(self, key: str) -> str:
            return f"SECRET {key}"

    result, _ = run(Finder(), Guard(redact=["SECRET"]), how, key="a")
    assert result["messages"][2].content == "[redacted] a"


@pytest.mark.parametrize("form", ["dict", "one", "list"])
@pytest.mark.parametrize("decision", ["redact", "deny"])
def test_a_commands_messages_are_judged(decision: str, form: str, how: str) -> None:
    @tool
    def act(key: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Act."""
        message = ToolMessage("a SECRET", tool_call_id=tool_call_id)
        note = HumanMessage("SECRET too")
        update: Any = {
            "dict": {"messages": [message, note]},
            "one": {"messages": [message]},
            "list": {"messages": [message]},
        }[form]
        return [Command(update=update)] if form == "list" else Command(update=update)

    result, model = run(act, Guard(**{decision: ["SECRET"]}), how, key="a")
    assert "SECRET" not in repr([result, model.sent])
    assert result["messages"][2].tool_call_id == "c0"
    assert said(result)[-1] == ("ai", "Fine.")


@pytest.mark.parametrize("decision", ["redact", "deny"])
def test_a_command_for_a_node_that_is_given_messages(decision: str, how: str) -> None:
    @tool
    def act(key: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Act."""
        return Command(update=[ToolMessage("a SECRET", tool_call_id=tool_call_id)])

    node = guard_tool_node([act], guard=Guard(**{decision: ["SECRET"]}), gateway=None)
    seen: list[Any] = []

    def inside(state: Any) -> Any:
        seen.extend(node.invoke([calling(("act", {"key": "a"}))]))
        return {}

    from tests.integrations.langgraph.test_order import one_node

    ask(one_node(inside), how=how)
    assert "SECRET" not in repr(seen)
    assert seen[0].update[0].tool_call_id == "c0"


class Fields(BaseModel):
    messages: Annotated[list[Any], add_messages] = []


@dataclass
class Data:
    messages: Annotated[list[Any], add_messages]


UPDATES: dict[str, Any] = {
    "a model": lambda message: Fields(messages=[message]),
    "a dataclass": lambda message: Data(messages=[message]),
    "pairs": lambda message: (("messages", [message]), ("messages", "SECRET"), ("messages", ("user", "SECRET"))),
    "dicts": lambda message: {"messages": [message, {"role": "user", "content": "SECRET"}, ("user", "SECRET")]},
    "another name": lambda message: {"talk": [message]},
}


@pytest.mark.parametrize("form", UPDATES)
def test_a_commands_messages_in_every_form_that_a_graph_takes(form: str, how: str) -> None:
    @tool
    def act(key: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Act."""
        return Command(update=UPDATES[form](ToolMessage("a SECRET", tool_call_id=tool_call_id)))

    class State(TypedDict):
        messages: Annotated[list[Any], add_messages]
        talk: Annotated[list[Any], add_messages]

    name = "talk" if form == "another name" else "messages"
    node = guard_tool_node([act], guard=Guard(redact=["SECRET"]), gateway=None, node={"messages_key": name})
    builder = StateGraph(State)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    graph = builder.compile()
    given: Any = {name: [calling(("act", {"key": "a"}))]}
    result = graph.invoke(given) if how == "invoke" else asyncio.run(graph.ainvoke(given))
    assert "SECRET" not in repr(result)
    assert "a [redacted]" in repr(result)


def test_a_tool_that_fails_is_the_tools_matter_and_what_it_says_is_judged(how: str) -> None:
    @tool
    def broken(key: str) -> str:
        """Break."""
        raise ValueError("SECRET inside")

    broken.handle_tool_error = True
    node = guard_tool_node(
        [broken], guard=Guard(redact=["SECRET"]), gateway=None, node={"handle_tool_errors": True}
    )
    from tests.integrations.langgraph.test_order import one_node

    result = ask(one_node(node), [calling(("broken", {"key": "a"}))], how=how)
    assert "SECRET" not in repr(result["messages"][-1])
    assert result["messages"][-1].status == "error"


def test_parallel_calls_are_judged_together_and_apart(how: str) -> None:
    ran: list[Any] = []
    calls = calling(*(("note", {"text": f"{'SECRET' if number == 2 else number}"}) for number in range(5)))
    model = Scripted(script=[calls, "Fine."])
    result = ask(agent_of(model, Guard(deny=["SECRET"]), ran), how=how)
    assert sorted(ran) == [("note", "0"), ("note", "1"), ("note", "3"), ("note", "4")]
    answers = {one.tool_call_id: one.status for one in result["messages"] if one.type == "tool"}
    assert answers == {"c0": "success", "c1": "success", "c2": "error", "c3": "success", "c4": "success"}


def test_a_sub_agent_in_a_tool_is_a_run_of_the_same_thread(how: str) -> None:
    events: list[Any] = []
    inner_model = Scripted(script=["The inner SECRET."])
    middleware = HighflameAgentMiddleware(guard=Guard(redact=["SECRET"]), gateway=None, on_decision=events.append)
    inner = create_agent(inner_model, [], middleware=[middleware], name="inner")

    @tool
    def delegate(task: str) -> str:
        """Delegate."""
        return str(inner.invoke({"messages": [("user", task)]})["messages"][-1].text)

    model = Scripted(script=[calling(("delegate", {"task": "find"})), "Fine."])
    agent = agent_of(model, Guard(redact=["SECRET"]), tools=[delegate])
    result = ask(agent, how=how, thread_id="t")
    assert "SECRET" not in repr([result, model.sent])
    assert {event.session for event in events} == {"t"}


def test_a_sub_agents_block_can_be_raised_through(how: str) -> None:
    middleware = HighflameAgentMiddleware(guard=Guard(deny=["SECRET"]), gateway=None, on_deny="raise")
    inner = create_agent(Scripted(script=["SECRET"]), [], middleware=[middleware])

    @tool
    def delegate(task: str) -> str:
        """Delegate."""
        return str(inner.invoke({"messages": [("user", task)]})["messages"][-1].text)

    model = Scripted(script=[calling(("delegate", {"task": "find"})), "Fine."])
    with pytest.raises(BlockedError):
        ask(agent_of(model, Guard(), tools=[delegate], on_deny="raise"), how=how)
    assert len(model.sent) == 1


def test_what_it_cannot_be_made_of(how: str) -> None:
    with pytest.raises(ConfigError, match="on_deny='ask'"):
        guard_tool_node(tools([]), on_deny="ask", gateway=None)
    with pytest.raises(ConfigError, match="step_up='ask'"):
        HighflameAgentMiddleware(step_up="ask", gateway=None)
    with pytest.raises(ConfigError, match="give it the tools"):
        guard_tool_node(guard_tool_node(tools([]), gateway=None), gateway=None)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("on_deny", ["respond", "raise"])
def test_a_result_that_could_not_be_judged(on_deny: str, direct: bool, how: str) -> None:
    """The tool has run: nobody is told that it has not, so that it is not run again."""

    class Failing(Guard):
        def evaluate(self, request: Any) -> Any:
            if request.stage == "tool_result":
                raise RuntimeError("down")
            return super().evaluate(request)

    ran: list[str] = []

    @tool(return_direct=direct)
    def pay(key: str) -> str:
        """Pay."""
        ran.append(key)
        return "paid"

    model = Scripted(script=[calling(("pay", {"key": "a"})), "Fine."])
    agent = agent_of(model, Failing(), tools=[pay], on_deny=on_deny)
    if on_deny == "raise":
        with pytest.raises(GuardError):
            ask(agent, how=how)
    else:
        answer = ask(agent, how=how)["messages"][2]
        assert "The tool has run" in answer.text
        assert (answer.status, "paid" in answer.text) == ("error", False)
    assert ran == ["a"]
