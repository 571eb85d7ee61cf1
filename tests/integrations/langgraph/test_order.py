"""Beside middlewares that retry, fall back, handle errors or ask people: a denial stays one, nothing runs twice."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy

from highflame_langgraph import HighflameAgentMiddleware, guard_tool_node, guarded_model
from highflame_middleware import BlockedError, GuardError
from tests.integrations.langgraph.kit import COLOURS, Guard, Scripted, agent_of, ask, calling, said, tools

REFUSED = "I can't help with that: it was stopped by a security policy."
pytestmark = pytest.mark.parametrize("how", COLOURS)


def retrying() -> list[Any]:
    return [
        ModelRetryMiddleware(max_retries=2, initial_delay=0, on_failure="continue"),
        ToolRetryMiddleware(max_retries=2, initial_delay=0, on_failure="continue"),
    ]


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("on_deny", ["respond", "raise"])
def test_a_denied_reply_is_not_asked_for_again(on_deny: str, outside: bool, how: str) -> None:
    model, guard = Scripted(script=["SECRET"]), Guard(deny=["SECRET"])
    agent = ordered(model, guard, retrying(), outside=outside, on_deny=on_deny)
    if on_deny == "raise":
        with pytest.raises(BlockedError):
            ask(agent, how=how)
    else:
        assert said(ask(agent, how=how))[-1] == ("ai", REFUSED)
    assert len(model.sent) == 1


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("on_deny", ["respond", "raise"])
@pytest.mark.parametrize("denied", ["call", "result"])
def test_a_tool_runs_at_most_once(denied: str, on_deny: str, outside: bool, how: str) -> None:
    ran: list[Any] = []
    key = "SECRET" if denied == "call" else "a"
    model, guard = Scripted(script=[calling(("look_up", {"key": key})), "Fine."]), Guard(deny=["SECRET"])
    agent = ordered(
        model, guard, retrying(), outside=outside, on_deny=on_deny, ran=ran, results={"look_up": "SECRET"}
    )
    if on_deny == "raise":
        with pytest.raises(BlockedError):
            ask(agent, how=how)
    else:
        result = ask(agent, how=how)
        assert said(result)[-1] == ("ai", "Fine.")
        assert "SECRET" not in repr(result)
    assert len(ran) == (0 if denied == "call" else 1)


def test_what_fails_is_still_retried(how: str) -> None:
    model = Scripted(script=[RuntimeError("busy"), "Fine."])
    agent = ordered(model, Guard(), retrying(), outside=True)
    assert said(ask(agent, how=how))[-1] == ("ai", "Fine.")
    assert len(model.sent) == 2


def test_an_outage_is_no_answer_of_the_assistant(how: str) -> None:
    """ModelRetry used to answer with the guard's own error."""
    agent = ordered(
        Scripted(script=["Fine."]), Guard(fault=RuntimeError("raw body")), retrying(), outside=True, on_deny="raise"
    )
    with pytest.raises(GuardError) as caught:
        ask(agent, how=how)
    assert "raw body" not in str(caught.value)


@pytest.mark.parametrize("outside", [True, False])
def test_a_fallback_is_not_asked_for_what_was_denied(outside: bool, how: str) -> None:
    other = Scripted(script=["From the other."])
    model = Scripted(script=["SECRET"])
    agent = ordered(model, Guard(deny=["SECRET"]), [ModelFallbackMiddleware(other)], outside=outside)
    assert said(ask(agent, how=how))[-1] == ("ai", REFUSED)
    assert other.sent == []


@pytest.mark.parametrize("outside", [True, False])
def test_a_fallback_that_answers_is_guarded(outside: bool, how: str) -> None:
    other = Scripted(script=["SECRET"])
    model = Scripted(script=[RuntimeError("down")])
    agent = ordered(model, Guard(deny=["SECRET"]), [ModelFallbackMiddleware(other)], outside=outside)
    assert said(ask(agent, how=how))[-1] == ("ai", REFUSED)
    assert len(other.sent) == 1


@pytest.mark.parametrize("handled", [True, (Exception,), lambda error: f"handled {error}"])
@pytest.mark.parametrize("on_deny", ["respond", "raise"])
def test_a_tool_node_that_handles_errors(on_deny: str, handled: Any, how: str) -> None:
    node = guard_tool_node(
        tools(ran := []),
        guard=Guard(deny=["SECRET"]),
        gateway=None,
        on_deny=on_deny,
        node={"handle_tool_errors": handled},
    )
    graph = one_node(node)
    given = [calling(("look_up", {"key": "SECRET"}))]
    if on_deny == "raise":
        with pytest.raises(BlockedError):
            ask(graph, given, how=how)
    else:
        last = ask(graph, given, how=how)["messages"][-1]
        assert (last.status, "word of the fake" in last.text) == ("error", False)
    assert ran == []


@pytest.mark.parametrize("outside", [True, False])
def test_a_middleware_that_turns_errors_of_tools_into_messages(outside: bool, how: str) -> None:
    ran: list[Any] = []
    model = Scripted(script=[calling(("look_up", {"key": "a"})), "Fine."])
    agent = ordered(
        model,
        Guard(deny=["SECRET"]),
        [ToolErrorMiddleware(lambda error, request: f"failed: {error}")],
        outside=outside,
        ran=ran,
        results={"look_up": ValueError("SECRET inside")},
    )
    result = ask(agent, how=how)
    assert said(result)[-1] == ("ai", "Fine.")
    assert len(ran) == 1
    assert "SECRET" not in repr([result, model.sent])
    with pytest.raises(BlockedError):
        ask(
            ordered(
                Scripted(script=[calling(("look_up", {"key": "SECRET"}))]),
                Guard(deny=["SECRET"]),
                [ToolErrorMiddleware(lambda error, request: f"failed: {error}")],
                outside=outside,
                on_deny="raise",
            ),
            how=how,
        )


def test_the_middleware_guards_a_tool_node_too(how: str) -> None:
    middleware = HighflameAgentMiddleware(guard=Guard(deny=["SECRET"]), gateway=None)
    node = ToolNode(
        tools(ran := []), wrap_tool_call=middleware.wrap_tool_call, awrap_tool_call=middleware.awrap_tool_call
    )
    ask(one_node(node), [calling(("look_up", {"key": "SECRET"}))], how=how)
    assert ran == []


@pytest.mark.parametrize("nested", [False, True])
def test_a_nodes_retry_policy_and_a_subgraph(nested: bool, how: str) -> None:
    model = Scripted(script=["SECRET"])
    llm = guarded_model(model, guard=Guard(deny=["SECRET"]), gateway=None)
    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, retry_on=Exception)
    graph = one_node(lambda state: {"messages": [llm.invoke(state["messages"])]}, retry_policy=policy)
    if nested:
        graph = one_node(graph, retry_policy=policy)
    with pytest.raises(BlockedError):
        ask(graph, how=how)
    assert len(model.sent) == 1


def test_lcels_fallbacks_catch_everything_and_are_guarded_again(how: str) -> None:
    """As documented: outside a graph nothing stops `with_fallbacks` but telling it which errors it is for."""
    guard = Guard(deny=["SECRET"])
    first, second = Scripted(script=["SECRET one"]), Scripted(script=["SECRET two"])
    chain = guarded_model(first.with_fallbacks([second]), guard=guard, gateway=None)
    with pytest.raises(BlockedError):
        chain.invoke("Hello") if how == "invoke" else _run(chain.ainvoke("Hello"))
    assert (len(first.sent), len(second.sent)) == (1, 1)
    first.sent.clear()
    second.sent.clear()
    told = first.with_fallbacks([second], exceptions_to_handle=(ConnectionError,))
    with pytest.raises(BlockedError):
        guarded_model(told, guard=guard, gateway=None).invoke("Hello")
    assert (len(first.sent), len(second.sent)) == (1, 0)
    retrying = guarded_model(first, guard=guard, gateway=None).with_retry(
        retry_if_exception_type=(ConnectionError,), stop_after_attempt=3
    )
    first.sent.clear()
    with pytest.raises(BlockedError):
        retrying.invoke("Hello")
    assert len(first.sent) == 1


def test_models_of_other_middlewares_are_guarded_as_objects(how: str) -> None:
    """A middleware's own calls pass by `wrap_model_call`; a guarded model does not let them."""
    guard = Guard(redact=["SECRET"])
    writer = Scripted(script=["A summary with SECRET."])
    model = Scripted(script=["Fine."])
    summary = SummarizationMiddleware(
        guarded_model(writer, guard=guard, gateway=None), trigger=("messages", 2), keep=("messages", 1)
    )
    agent = agent_of(model, guard, others=[summary], tools=[])
    result = ask(agent, [("user", "One SECRET"), ("ai", "Two"), ("user", "Three")], how=how)
    assert writer.sent
    assert "SECRET" not in repr([result, model.sent, writer.sent])


def test_people_who_are_asked(how: str) -> None:
    """What was denied is not run, whatever they say; what they change is judged again."""
    ran: list[Any] = []
    hitl = HumanInTheLoopMiddleware(interrupt_on={"note": True})
    model = Scripted(script=[calling(("note", {"text": "fine"})), "Done."])
    agent = agent_of(model, Guard(deny=["SECRET"]), ran, others=[hitl], checkpointer=InMemorySaver())
    ask(agent, how=how, thread_id="1")
    edited = {"type": "edit", "edited_action": {"name": "note", "args": {"text": "SECRET"}}}
    result = ask(agent, Command(resume={"decisions": [edited]}), how=how, thread_id="1")
    assert ran == []
    assert said(result)[-1] == ("ai", "Done.")
    model = Scripted(script=[calling(("note", {"text": "SECRET"})), "Done."])
    agent = agent_of(model, Guard(deny=["SECRET"]), ran, others=[hitl], checkpointer=InMemorySaver())
    first = ask(agent, how=how, thread_id="2")
    assert "SECRET" not in repr(first)
    if "__interrupt__" in first:
        ask(agent, Command(resume={"decisions": [{"type": "approve"}]}), how=how, thread_id="2")
    assert ran == []


def test_two_of_them_under_names_of_their_own(how: str) -> None:
    one = HighflameAgentMiddleware(guard=Guard(redact=["ONE"]), gateway=None, name="one")
    agent = agent_of(Scripted(script=["ONE TWO"]), Guard(redact=["TWO"]), others=[one], tools=[])
    assert said(ask(agent, "ONE TWO", how=how)) == [
        ("human", "[redacted] [redacted]"),
        ("ai", "[redacted] [redacted]"),
    ]


def ordered(model: Any, guard: Any, others: list[Any], *, outside: bool, ran: Any = None, **own: Any) -> Any:
    """An agent with other middlewares outside of ours, or inside."""
    from langchain.agents import create_agent

    results = own.pop("results", {})
    ours = HighflameAgentMiddleware(guard=guard, gateway=None, **own)
    return create_agent(
        model,
        tools(ran if ran is not None else [], **results),
        middleware=[*others, ours] if outside else [ours, *others],
    )


def one_node(node: Any, **more: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("only", node, **more)
    builder.add_edge(START, "only")
    return builder.compile()


def _run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)
