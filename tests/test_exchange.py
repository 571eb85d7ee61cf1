"""The state of one call: what a guard is asked, what goes on record, and who is told how the call ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware.caller import CallContext
from highflame_middleware.codecs.parts import Text
from highflame_middleware.drivers import perform
from highflame_middleware.errors import GuardError
from highflame_middleware.exchange import Evaluate, Exchange, Policy, judge
from highflame_middleware.flow import Op, run
from highflame_middleware.guard.protocol import bind
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardResponse, Mode, ModelContext, Signal, Stage, ToolContext
from tests.exchanges import Record, decisions, events_of, exchange

GUARD = bind(FakeGuard())

# mode, fail_open: strict (what cannot be judged must not pass), holds (texts wait until they are judged)
POLICIES = {
    ("enforce", False): (True, True),
    ("enforce", True): (False, True),
    ("modify", False): (False, True),
    ("modify", True): (False, True),
    ("monitor", False): (False, False),
    ("monitor", True): (False, False),
    ("alert", False): (False, False),
    ("alert", True): (False, False),
}


@pytest.mark.parametrize(("mode", "fail_open"), POLICIES)
def test_what_a_policy_means_for_what_is_not_judged(mode: str, fail_open: bool) -> None:
    policy = Policy(guard=GUARD, mode=Mode(mode), fail_open=fail_open)
    assert (policy.strict, policy.holds) == POLICIES[mode, fail_open]
    unguarded = Policy(guard=None, mode=Mode(mode), fail_open=fail_open)
    assert (unguarded.strict, unguarded.holds) == (False, False)


def call_of(arguments: str, **fields: Any) -> Text:
    return Text(("x",), arguments, Stage.TOOL_CALL, "assistant", "pay", None, is_json=True, **fields)


class TestQuestion:
    def test_it_says_who_asks_what_of_which_model(self) -> None:
        caller = CallContext(user="ada", session="s-1", metadata={"team": "core"})
        owner = exchange(FakeGuard(), mode="alert", caller=caller, model="gpt-4o", provider="azure.ai.openai")
        asked = owner.question(Text(("x",), "hello", Stage.PROMPT, "system"))
        assert (asked.content, asked.stage, asked.role, asked.mode) == ("hello", Stage.PROMPT, "system", Mode.ALERT)
        assert (asked.session_id, asked.metadata) == ("s-1", {"team": "core"})
        assert asked.model == ModelContext(provider="azure.ai.openai", model="gpt-4o")
        assert (asked.content_type, asked.action, asked.tool) == ("prompt", "process_prompt", None)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ('{"card": "4111", "n": 1}', {"card": "4111", "n": 1}),
            ("{}", {}),
            ("", {}),
            ("[1]", {}),
            ('"x"', {}),
            ("{broken", {}),
            ("[" * 100_000, {}),
            ("1" * 10_000, {}),
        ],
    )
    def test_a_tools_arguments_are_given_as_an_object_where_they_are_one(
        self, arguments: str, expected: Any
    ) -> None:
        asked = exchange(FakeGuard()).question(call_of(arguments))
        assert asked.tool == ToolContext(name="pay", arguments=expected)
        assert asked.content == arguments

    def test_only_a_calls_arguments_are_read(self) -> None:
        result = Text(("x",), '{"a": 1}', Stage.TOOL_RESULT, "tool", "pay")
        asked = exchange(FakeGuard()).question(result)
        assert asked.tool == ToolContext(name="pay")
        free = call_of('{"a": 1}')._replace(is_json=False)
        assert exchange(FakeGuard()).question(free).tool == ToolContext(name="pay")


class TestRecord:
    def test_a_verdict(self) -> None:
        owner = exchange(FakeGuard(), mode="monitor")
        signals = (Signal(name="pii", score=90), Signal(name="toxicity", score=5))
        answer = GuardResponse(
            decision=Decision.DENY, policy_reason="no", signals=signals, request_id="r-1", latency_ms=2.5
        )
        owner.note(call_of("{}"), answer, enforced=False)
        (event,) = events_of(owner)
        assert (event.guard, event.decision, event.enforced, event.reason) == ("fake", "deny", False, "no")
        assert (event.signals, event.request_id, event.latency_ms) == (("pii:90", "toxicity:5"), "r-1", 2.5)
        assert (event.tool, event.stage, event.mode) == ("pay", Stage.TOOL_CALL, Mode.MONITOR)

    def test_a_fault(self) -> None:
        owner = exchange(FakeGuard())
        owner.note(call_of("{}"), GuardError("it broke"), enforced=True)
        (event,) = events_of(owner)
        assert (event.decision, event.enforced, event.reason, event.signals) == ("error", True, "it broke", ())


class TestJudge:
    def test_each_text_gets_its_ruling(self) -> None:
        guard = FakeGuard(deny=["bomb"], redact=["card"])
        owner = exchange(guard)
        texts = [Text(("a",), value, Stage.PROMPT) for value in ("hello", "a card", "a bomb")]
        rulings = run(judge(owner, texts), perform)
        assert [(ruling.text, ruling.error is not None) for ruling in rulings] == [
            (None, False),
            ("a [redacted]", False),
            (None, True),
        ]
        assert decisions(owner) == [
            ("prompt", "allow", False),
            ("prompt", "modify", True),
            ("prompt", "deny", True),
        ]
        assert [asked.content for asked in guard.requests] == ["hello", "a card", "a bomb"]

    @pytest.mark.parametrize(("guard", "texts"), [(None, [Text((), "x", Stage.PROMPT)]), (FakeGuard(), [])])
    def test_nobody_is_asked_about_nothing(self, guard: Any, texts: list[Text]) -> None:
        def never(op: Op[Any]) -> Any:
            raise AssertionError(op)

        assert run(judge(exchange(guard), texts), never) == []

    def test_an_answer_for_each_text_is_required(self) -> None:
        """A driver that loses one must not shift the others' verdicts."""

        def forgetful(op: Op[Any]) -> Any:
            assert isinstance(op, Evaluate)
            return [GuardResponse(decision=Decision.ALLOW)] * (len(op.requests) - 1)

        texts = [Text((), "a", Stage.PROMPT), Text((), "b", Stage.PROMPT)]
        with pytest.raises(ValueError, match="zip"):
            run(judge(exchange(FakeGuard()), texts), forgetful)

    @pytest.mark.parametrize("local", [True, False])
    def test_a_guard_that_raises_gives_faults(self, local: bool) -> None:
        owner = exchange(FakeGuard(fault=ValueError("the text was: secret"), local=local))
        rulings = run(judge(owner, [Text((), "a", Stage.PROMPT), Text((), "b", Stage.PROMPT)]), perform)
        assert [type(ruling.error) for ruling in rulings] == [GuardError, GuardError]
        assert all("secret" not in str(ruling.error) for ruling in rulings)
        assert decisions(owner) == [("prompt", "error", True)] * 2


@pytest.mark.parametrize(
    ("returned", "error", "outcome"),
    [
        (False, None, []),
        (False, ValueError("x"), []),
        (True, None, ["end"]),
        (True, ValueError("x"), ["ValueError"]),
    ],
)
def test_a_bodys_end_is_the_calls_end_once_the_caller_has_it(
    returned: bool, error: Exception | None, outcome: list[str]
) -> None:
    owner: Exchange = exchange(FakeGuard())
    owner.returned, owner.reading = returned, True
    owner.close(error)
    assert isinstance(owner.recorder, Record)
    assert [item if item == "end" else type(item).__name__ for item in owner.recorder.outcome] == outcome
    assert owner.reading is False


def test_bodies_and_texts_are_in_no_repr() -> None:
    text = Text(("x",), "SECRET", Stage.PROMPT)
    owner = exchange(FakeGuard(), body={"messages": [{"content": "SECRET"}]}, texts=(text,))
    assert "SECRET" not in repr(owner.call)
    assert "SECRET" not in json.dumps(repr(owner.policy))
