"""step_up: an interrupt, and an approval that is good for the arguments that were shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from highflame_langgraph import HighflameAgentMiddleware, StepUp, approve, guard_tool_node, guarded_model, reject
from highflame_middleware import ConfigError
from tests.integrations.langgraph.kit import COLOURS, Guard, Scripted, agent_of, ask, calling, said, tools

pytestmark = pytest.mark.parametrize("how", COLOURS)
PAY = calling(("note", {"text": "PAY 100"}), ("look_up", {"key": "a"}))


def paying(ran: list[Any], **more: Any) -> tuple[Any, Scripted, Guard]:
    model, guard = Scripted(script=[PAY, "Paid.", "Bye."]), Guard(step_up=["PAY"])
    return agent_of(model, guard, ran, checkpointer=InMemorySaver(), **more), model, guard


def test_approved_it_runs_with_what_was_approved(how: str) -> None:
    ran: list[Any] = []
    agent, model, guard = paying(ran)
    waiting = ask(agent, "Pay", how=how, thread_id="1")
    (request,) = waiting["__interrupt__"]
    (action,) = request.value["action_requests"]
    assert request.value["type"] == "highflame.step_up"
    assert (action["name"], action["args"]) == ("note", {"text": "PAY 100"})
    assert request.value["review_configs"] == [{"action_name": "note", "allowed_decisions": ["approve", "reject"]}]
    assert ran == []
    result = ask(agent, Command(resume=approve(request)), how=how, thread_id="1")
    assert sorted(ran) == [("look_up", "a"), ("note", "PAY 100")]
    assert said(result)[-1] == ("ai", "Paid.")
    # The model was not asked again for the reply that waited, nor the guard about what it had judged.
    assert len(model.sent) == 2
    assert [content for _, content in guard.asked].count('{"text": "PAY 100"}') == 1
    # The approved call stands in the history from now on, and stops nothing.
    assert said(ask(agent, "Thanks", how=how, thread_id="1"))[-1] == ("ai", "Bye.")


def test_rejected_it_does_not_run(how: str) -> None:
    ran: list[Any] = []
    agent, *_ = paying(ran)
    (request,) = ask(agent, "Pay", how=how, thread_id="1")["__interrupt__"]
    result = ask(agent, Command(resume=reject(request, "Too much.")), how=how, thread_id="1")
    assert ran == [("look_up", "a")]
    answers = {one.tool_call_id: one for one in result["messages"] if one.type == "tool"}
    assert (answers["c0"].text, answers["c0"].status) == ("Too much.", "error")
    assert said(ask(agent, "Thanks", how=how, thread_id="1"))[-1] == ("ai", "Bye.")


@pytest.mark.parametrize(
    "answer",
    [
        True,
        "approve",
        {"decisions": []},
        {"decisions": [{"type": "approve"}]},
        {"decisions": [{"type": "approve", "digest": "0" * 64}]},
        {"decisions": "approve"},
        {"type": "approve"},
    ],
    ids=str,
)
def test_what_names_no_digest_approves_nothing(answer: Any, how: str) -> None:
    ran: list[Any] = []
    agent, *_ = paying(ran)
    ask(agent, "Pay", how=how, thread_id="1")
    ask(agent, Command(resume=answer), how=how, thread_id="1")
    assert ran == [("look_up", "a")]


def test_an_approval_does_not_cover_other_arguments(how: str) -> None:
    """Somebody changes the thread between the question and the answer."""
    ran: list[Any] = []
    agent, *_ = paying(ran)
    config = {"configurable": {"thread_id": "1"}}
    (request,) = ask(agent, "Pay", how=how, thread_id="1")["__interrupt__"]
    before = next(one for one in agent.get_state(config).values["messages"] if isinstance(one, AIMessage))
    changed = [{**before.tool_calls[0], "args": {"text": "PAY 1000000"}}, before.tool_calls[1]]
    agent.update_state(config, {"messages": [before.model_copy(update={"tool_calls": changed})]}, as_node="model")
    ask(agent, Command(resume=approve(request)), how=how, thread_id="1")
    assert ("note", "PAY 1000000") not in ran


def test_without_a_checkpointer_it_is_denied(how: str) -> None:
    ran: list[Any] = []
    agent = agent_of(Scripted(script=[PAY, "Sorry."]), Guard(step_up=["PAY"]), ran)
    result = ask(agent, "Pay", how=how)
    assert ran == [("look_up", "a")]
    assert "__interrupt__" not in result
    assert said(result)[-1] == ("ai", "Sorry.")


def test_it_can_be_denied_always(how: str) -> None:
    ran: list[Any] = []
    agent, *_ = paying(ran, step_up="deny")
    assert said(ask(agent, "Pay", how=how, thread_id="1"))[-1] == ("ai", "Paid.")
    assert ran == [("look_up", "a")]


@pytest.mark.parametrize("answer", [True, False, "yes"])
def test_a_function_may_say(answer: Any, how: str) -> None:
    ran: list[Any] = []
    steps: list[StepUp] = []

    def approver(step: StepUp) -> Any:
        steps.append(step)
        return answer

    async def aapprover(step: StepUp) -> Any:
        await asyncio.sleep(0)
        return approver(step)

    for one in (approver, aapprover) if how == "ainvoke" else (approver,):
        ran.clear()
        agent, *_ = paying(ran, step_up=one)
        ask(agent, "Pay", how=how, thread_id="1")
        assert (("note", "PAY 100") in ran) is (answer is True)
    assert {(step.tool, step.reason) for step in steps} == {("note", "a word of the fake guard")}
    assert "PAY" not in repr(steps)


def test_an_asynchronous_function_is_refused_in_blocking_code(how: str) -> None:
    async def approver(step: StepUp) -> bool:
        return True

    agent, *_ = paying([], step_up=approver)
    with pytest.raises(ConfigError, match="asynchronous"):
        agent.invoke({"messages": [("user", "Pay")]}, {"configurable": {"thread_id": "1"}})


def test_a_prompt_that_needs_one_is_denied(how: str) -> None:
    model = Scripted(script=["Fine."])
    agent = agent_of(model, Guard(step_up=["PAY"]), checkpointer=InMemorySaver())
    result = ask(agent, "PAY now", how=how, thread_id="1")
    assert result["messages"][-1].response_metadata["highflame"]["decision"] == "step_up"
    assert model.sent == []


def test_with_errors_raised_it_still_asks(how: str) -> None:
    ran: list[Any] = []
    agent, *_ = paying(ran, on_deny="raise")
    (request,) = ask(agent, "Pay", how=how, thread_id="1")["__interrupt__"]
    ask(agent, Command(resume=approve(request)), how=how, thread_id="1")
    assert ("note", "PAY 100") in ran


def own_graph(model: Scripted, node: Any) -> Any:
    """A model and a node of tools, by turns."""
    llm = model.bind_tools(tools([]))

    def call(state: Any) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    def route(state: Any) -> str:
        return "tools" if state["messages"][-1].tool_calls else "__end__"

    builder = StateGraph(MessagesState)
    builder.add_node("model", call)
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", route)
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=InMemorySaver())


def nodes(ran: list[Any], guard: Guard) -> dict[str, Any]:
    middleware = HighflameAgentMiddleware(guard=guard, gateway=None)
    wrapped = {"wrap_tool_call": middleware.wrap_tool_call, "awrap_tool_call": middleware.awrap_tool_call}
    return {
        "guarded": guard_tool_node(tools(ran), guard=guard, gateway=None),
        "wrapped": ToolNode(tools(ran), **wrapped),
    }


@pytest.mark.parametrize("kind", ["guarded", "wrapped"])
def test_calls_of_one_reply_are_decided_on_before_any_is_made(kind: str, how: str) -> None:
    """An interrupt has the node run again: what had been run beside it would run twice, an approved payment too."""
    ran: list[Any] = []
    guard = Guard(step_up=["PAY"], deny=["SECRET"])
    given = [{"text": "PAY 100"}, {"text": "PAY 200"}, {"text": "SECRET"}]
    model = Scripted(script=[calling(("look_up", {"key": "a"}), *(("note", one) for one in given)), "Paid."])
    graph = own_graph(model, nodes(ran, guard)[kind])
    (request,) = ask(graph, "Pay", how=how, thread_id="1")["__interrupt__"]
    assert ran == []
    assert [action["args"] for action in request.value["action_requests"]] == given[:2]
    # The calls of one reply: each asked about once, at once.
    assert len(guard.asked) == len(set(guard.asked)) == 4
    only = [request.value["action_requests"][1]["digest"]]
    result = ask(graph, Command(resume=approve(request, only=only)), how=how, thread_id="1")
    assert sorted(ran) == [("look_up", "a"), ("note", "PAY 200")]
    assert said(result)[-1] == ("ai", "Paid.")
    # It was good for one call: another like it is another.
    model.script = [calling(("note", given[1])), "Paid."]
    model.sent.clear()
    assert "__interrupt__" in ask(graph, "Pay again", how=how, thread_id="1")
    assert len(ran) == 2


def test_an_answer_that_is_given_twice_runs_nothing_twice(how: str) -> None:
    ran: list[Any] = []
    agent, model, _ = paying(ran)
    (request,) = ask(agent, "Pay", how=how, thread_id="1")["__interrupt__"]
    for _ in range(3):
        assert said(ask(agent, Command(resume=approve(request)), how=how, thread_id="1"))[-1] == ("ai", "Paid.")
    assert sorted(ran) == [("look_up", "a"), ("note", "PAY 100")]
    assert len(model.sent) == 2


def test_arguments_that_are_changed_after_the_approval_are_asked_about_again(how: str) -> None:
    ran: list[Any] = []
    middleware = HighflameAgentMiddleware(guard=Guard(step_up=["PAY"]), gateway=None)
    agent = create_agent(
        Scripted(script=[calling(("note", {"text": "PAY 100"})), "Paid."]),
        tools(ran),
        middleware=[middleware],
        checkpointer=InMemorySaver(),
        interrupt_before=["tools"],
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    (request,) = ask(agent, "Pay", how=how, thread_id="1")["__interrupt__"]
    ask(agent, Command(resume=approve(request)), how=how, thread_id="1")
    said_before = next(one for one in agent.get_state(config).values["messages"] if isinstance(one, AIMessage))
    changed = {**said_before.tool_calls[0], "args": {"text": "PAY 1000000"}}
    agent.update_state(config, {"messages": [said_before.model_copy(update={"tool_calls": [changed]})]})
    waiting = agent.invoke(None, config) if how == "invoke" else asyncio.run(agent.ainvoke(None, config))
    assert ran == []
    assert "PAY 1000000" in repr(waiting["__interrupt__"])


def test_a_graph_of_ones_own(how: str) -> None:
    ran: list[Any] = []
    model = Scripted(script=[calling(("note", {"text": "PAY 100"})), "Paid."])
    graph = own_graph(model, nodes(ran, Guard(step_up=["PAY"]))["guarded"])
    (request,) = ask(graph, "Pay", how=how, thread_id="1")["__interrupt__"]
    assert ran == []
    result = ask(graph, Command(resume=approve(request)), how=how, thread_id="1")
    assert ran == [("note", "PAY 100")]
    assert said(result)[-1] == ("ai", "Paid.")
    # A guarded model reads the call that has been answered, and asks for no approval of it.
    guarded = guarded_model(Scripted(script=["Fine."]), guard=Guard(step_up=["PAY"]), gateway=None)
    assert guarded.invoke(result["messages"]).text == "Fine."
