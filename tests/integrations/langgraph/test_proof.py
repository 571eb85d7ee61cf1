"""The self-test: it passes here, and fails where a denial would not count."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from highflame_langgraph import HighflameAgentMiddleware, middleware, proof, replies, self_test, tools
from highflame_middleware import UnprovenError
from highflame_middleware.testing import CapturedSpans


def test_it_passes_and_leaves_no_record(highflame_spans: CapturedSpans, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="highflame_middleware"):
        self_test()
    assert highflame_spans.finished == []
    assert caplog.records == []


def _passing(self: Any, request: Any, handler: Any) -> Any:
    return handler(request)


@pytest.mark.parametrize(
    ("owner", "name", "broken", "stage"),
    [
        (middleware.HighflameAgentMiddleware, "before_model", lambda self, state, runtime: None, "prompt"),
        (tools.ToolGuard, "wrap_tool_call", _passing, "tool result"),
        (replies.ReplyStream, "feeding", lambda self, chunk: _now([chunk]), "response"),
    ],
    ids=["before_model", "wrap_tool_call", "stream"],
)
def test_it_fails_where_a_hook_is_not_heeded(
    owner: Any, name: str, broken: Any, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    if name == "before_model":
        # The model guards what it is sent all the same.
        monkeypatch.setattr("highflame_langgraph.model.GuardedModel.prompt", _unguarded)
    with pytest.raises(UnprovenError, match=f"at the {stage} stage on langchain 1"):
        self_test()


def _now(value: Any) -> Any:
    yield from ()
    return value


def _unguarded(self: Any, messages: Any, given: Any, caller: Any, model: Any) -> Any:
    yield from ()
    return messages, given


def test_it_is_made_at_construction_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(proof, "_proven", False)
    monkeypatch.setattr(proof, "self_test", lambda: made.append(1))
    for _ in range(3):
        HighflameAgentMiddleware(gateway=None)
    HighflameAgentMiddleware(gateway=None, self_test=False)
    assert made == [1]


def test_a_version_that_swallows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise UnprovenError("the guard could not be shown to be enforced")

    monkeypatch.setattr(proof, "_proven", False)
    monkeypatch.setattr(proof, "self_test", broken)
    with pytest.raises(UnprovenError):
        HighflameAgentMiddleware(gateway=None)
