"""The handler that only looks on: decisions of all stages, spans of a run, nothing changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent

from highflame_langgraph import HighflameCallbackHandler
from highflame_middleware import Mode, Stage
from highflame_middleware.testing import CapturedSpans
from tests.integrations.langgraph.kit import COLOURS, Guard, Scripted, ask, calling, said, tools


def watched(guard: Guard, **options: Any) -> tuple[Any, list[Any]]:
    events: list[Any] = []
    handler = HighflameCallbackHandler(guard=guard, gateway=None, on_decision=events.append, **options)
    model = Scripted(script=[calling(("look_up", {"key": "SECRET"})), "The SECRET."])
    agent = create_agent(model, tools([], look_up="a SECRET"), name="support")
    return agent.with_config(callbacks=[handler]), events


@pytest.mark.parametrize("how", COLOURS)
def test_it_reports_and_changes_nothing(how: str) -> None:
    agent, events = watched(Guard(deny=["SECRET"]))
    result = ask(agent, "My SECRET", how=how, thread_id="t")
    assert [text for _, text in said(result)] == ["My SECRET", "", "a SECRET", "The SECRET."]
    denied = [event for event in events if event.decision == "deny"]
    assert {event.stage for event in denied} == set(Stage)
    assert {(event.mode, event.enforced) for event in events} == {(Mode.MONITOR, False)}
    assert {event.session for event in events} == {"t"}
    assert len({(event.stage, event.content) for event in events}) == len(events)


@pytest.mark.parametrize("how", COLOURS)
def test_spans_are_one_tree(how: str, highflame_spans: CapturedSpans) -> None:
    agent, _ = watched(Guard())
    ask(agent, how=how, thread_id="t")
    spans = highflame_spans.finished
    assert sorted(span.name for span in spans) == [
        "chat",
        "chat",
        "execute_tool look_up",
        "invoke_agent support",
    ]
    (root,) = [span for span in spans if span.parent is None]
    assert root.name == "invoke_agent support"
    assert {span.parent.span_id for span in spans if span is not root} == {root.context.span_id}


def test_without_spans(highflame_spans: CapturedSpans) -> None:
    agent, events = watched(Guard(), spans=False)
    ask(agent)
    assert highflame_spans.finished == []
    assert events


def test_runs_that_go_on_at_once_are_apart(highflame_spans: CapturedSpans) -> None:
    agent, _ = watched(Guard())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: ask(agent, thread_id=str(number)), range(8)))
    roots = [span for span in highflame_spans.finished if span.parent is None]
    assert len(roots) == 8
    for root in roots:
        own = [one for one in highflame_spans.finished if one.context.trace_id == root.context.trace_id]
        assert {span.attributes["gen_ai.conversation.id"] for span in own} == {root.attributes["session.id"]}


def test_an_outage_is_no_fault_of_the_run() -> None:
    agent, events = watched(Guard(fault=RuntimeError()))
    assert said(ask(agent))[-1] == ("ai", "The SECRET.")
    assert {event.decision for event in events} == {"error"}


def test_it_never_enforces() -> None:
    handler = HighflameCallbackHandler(guard=Guard(deny=["SECRET"]), gateway=None, mode="enforce")
    assert Scripted(script=["SECRET"]).invoke("SECRET", {"callbacks": [handler]}).text == "SECRET"
