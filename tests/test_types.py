"""The vocabulary: unknown decisions deny, secrets stay secret, malformed answers of a guard are its own fault."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
from typing import Any

import pytest

from highflame_middleware.types import (
    AgentIdentity,
    Challenge,
    Decision,
    DeterminingPolicy,
    FileContext,
    GuardRequest,
    GuardResponse,
    McpContext,
    Mode,
    ModelContext,
    Receipt,
    RedactionEntry,
    Secret,
    SessionDelta,
    Signal,
    Stage,
    ToolContext,
)

RAW = "4111 1111 1111 1111"


@pytest.mark.parametrize("value", ["maybe", "", "ALLOW", "Allow", " allow", None, 1, True, [], object()])
def test_an_unknown_decision_is_a_deny(value: Any) -> None:
    assert Decision(value) is Decision.DENY
    assert GuardResponse(decision=value).decision is Decision.DENY


@pytest.mark.parametrize("decision", Decision)
def test_known_decisions_are_read_from_their_wire_names(decision: Decision) -> None:
    response = GuardResponse(decision=decision.value)  # type: ignore[arg-type]
    assert response.decision is decision
    assert response.allowed is (decision.value in ("allow", "modify"))


KINDS = {
    "allow": (True, False, False),
    "modify": (True, False, False),
    "deny": (False, False, True),
    "step_up": (False, True, False),
    "defer": (False, True, False),
}


@pytest.mark.parametrize("decision", KINDS)
def test_a_verdict_goes_on_or_waits_or_ends(decision: str) -> None:
    response = GuardResponse(decision=Decision(decision), actual_decision=decision)  # type: ignore[arg-type]
    assert (response.allowed, response.suspended, response.denied) == KINDS[decision]
    assert response.actual_decision is Decision(decision)


MODES = {"enforce": (True, True), "monitor": (False, False), "alert": (False, False), "modify": (False, True)}


def test_what_each_mode_may_do() -> None:
    assert {mode.value: (mode.blocks, mode.edits) for mode in Mode} == MODES


@pytest.mark.parametrize(
    ("stage", "content_type", "action"),
    [
        (Stage.PROMPT, "prompt", "process_prompt"),
        (Stage.RESPONSE, "response", "process_response"),
        (Stage.TOOL_CALL, "tool_call", "call_tool"),
        (Stage.TOOL_RESULT, "response", "process_prompt"),
    ],
)
def test_a_stage_has_the_wire_names_of_shield(stage: Stage, content_type: str, action: str) -> None:
    request = GuardRequest.at(stage, "x", role="user")
    assert (request.stage, request.content_type, request.action) == (stage, content_type, action)
    assert request.role == "user"
    assert "_" not in stage.label


@pytest.mark.parametrize(
    ("content_type", "stage"),
    [
        ("prompt", Stage.PROMPT),
        ("response", Stage.RESPONSE),
        ("tool_call", Stage.TOOL_CALL),
        ("file", Stage.PROMPT),
    ],
)
def test_a_stage_follows_from_the_content_type(content_type: str, stage: Stage) -> None:
    assert GuardRequest(content="x", content_type=content_type).stage is stage
    assert GuardRequest(content="x", content_type=content_type, stage=Stage.TOOL_RESULT).stage is Stage.TOOL_RESULT


HOLDERS = {
    "request": GuardRequest(content=RAW, metadata={"note": RAW}, contexts=(RAW,), extra={"x": RAW}),
    "what was made out": GuardResponse(decision=Decision.ALLOW, context={"a": RAW}, extra={"b": RAW}),
    "challenge": Challenge(auth_req_id=RAW, authorization_details=({"amount": RAW},)),
    "receipt": Receipt(algorithm="Ed25519", canonical=RAW, key_id="k", signature=RAW),
    "tool": ToolContext(name="f", arguments={"a": RAW}, description=RAW),
    "response": GuardResponse(decision=Decision.MODIFY, redacted_content=RAW),
    "entry": RedactionEntry(type="card", start_pos=0, end_pos=3, replacement="#", original=RAW),
    "request of a tool": GuardRequest(content=RAW, tool=ToolContext(name="f", arguments={"a": RAW})),
    "response with entries": GuardResponse(
        decision=Decision.MODIFY,
        redaction_entries=(RedactionEntry(type="c", start_pos=0, end_pos=1, replacement="#", original=RAW),),
    ),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_texts_are_in_no_repr(name: str) -> None:
    assert RAW not in repr(HOLDERS[name])
    assert RAW not in f"{HOLDERS[name]} {[HOLDERS[name]]}"


def test_the_original_of_a_redaction_is_in_no_pickle_and_no_comparison() -> None:
    entry = RedactionEntry(type="card", start_pos=0, end_pos=3, replacement="#", original=RAW)
    assert RAW.encode() not in pickle.dumps(entry)
    again = pickle.loads(pickle.dumps(entry))
    assert (again, again.original, hash(again)) == (entry, "", hash(entry))
    response = GuardResponse(decision=Decision.MODIFY, redaction_entries=(entry,))
    assert RAW.encode() not in pickle.dumps(response)


def test_without_content_a_response_holds_no_text() -> None:
    entry = RedactionEntry(type="card", start_pos=0, end_pos=3, replacement="#", original=RAW)
    signal = Signal(name="pii", score=90)
    full = GuardResponse(
        decision=Decision.MODIFY,
        policy_reason="a card number",
        signals=(signal,),
        redacted_content=RAW,
        redaction_entries=(entry,),
        request_id="r-1",
        latency_ms=1.5,
        context={"a": RAW},
        extra={"b": RAW},
    )
    bare = full.without_content()
    assert RAW not in repr(dataclasses.asdict(bare))
    assert bare.redacted_content is None
    assert [found.original for found in bare.redaction_entries] == [""]
    assert (bare.policy_reason, bare.signals, bare.request_id, bare.latency_ms) == (
        "a card number",
        (signal,),
        "r-1",
        1.5,
    )


class TestSecret:
    def test_only_reveal_shows_it(self, caplog: pytest.LogCaptureFixture) -> None:
        secret = Secret("zid_sk_1")
        logging.getLogger("x").warning("%s %r %s", secret, secret, {"k": secret})
        shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", caplog.text, str([secret])]
        assert all("zid_sk_1" not in text for text in shown)
        assert secret.reveal() == "zid_sk_1"

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_cannot_be_pickled(self, protocol: int) -> None:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(Secret("zid_sk_1"), protocol)

    @pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, json.dumps, vars])
    def test_no_other_way_out(self, way: Any) -> None:
        with pytest.raises(TypeError):
            way(Secret("zid_sk_1"))

    def test_it_compares_by_value_and_with_nothing_else(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


VALUES = [
    GuardRequest(content="x"),
    GuardResponse(decision=Decision.ALLOW),
    RedactionEntry(type="t", start_pos=0, end_pos=1, replacement=""),
    Signal(name="s"),
    ToolContext(name="t"),
    ModelContext(),
    FileContext(path="p", operation="read"),
    McpContext(server_name="s"),
    DeterminingPolicy(rule_id="r"),
    SessionDelta(turn_count=1, cumulative_risk=0.0),
    AgentIdentity(auth_method="jwt", external_id="a", sub_type="agent", trust_level="verified"),
    Receipt(algorithm="Ed25519", canonical="{}", key_id="k", signature="s"),
    Challenge(),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen(value: Any) -> None:
    for item in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, item.name, "changed")
    with pytest.raises((AttributeError, TypeError)):
        value.no_such_field = 1


MALFORMED: dict[str, dict[str, Any]] = {
    "positions that are no integers": {"start_pos": 1.0},
    "a position missing": {"end_pos": None},
    "a replacement that is no text": {"replacement": None},
    "bytes for a text": {"replacement": b"#"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_redaction_fails_where_the_guard_makes_it(name: str) -> None:
    given: dict[str, Any] = {"type": "t", "start_pos": 0, "end_pos": 1, "replacement": "#", **MALFORMED[name]}
    with pytest.raises(TypeError, match=r"RedactionEntry\.\w+ is \w+: it must be \w+"):
        RedactionEntry(**given)


ANSWERS: dict[str, dict[str, Any]] = {
    "redacted content of another type": {"redacted_content": {"content": RAW}},
    "a reason of another type": {"policy_reason": [RAW]},
    "entries as dicts": {"redaction_entries": [{"start_pos": 0, "end_pos": 1, "original": RAW}]},
    "signals as strings": {"signals": [RAW]},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_malformed_answer_fails_where_the_guard_makes_it(name: str) -> None:
    with pytest.raises(TypeError) as caught:
        GuardResponse(decision=Decision.MODIFY, **ANSWERS[name])
    assert RAW not in str(caught.value)


def test_lists_of_a_guard_become_tuples() -> None:
    entry = RedactionEntry(type="t", start_pos=0, end_pos=1, replacement="#")
    response = GuardResponse(decision=Decision.MODIFY, signals=[Signal(name="s")], redaction_entries=[entry])  # type: ignore[arg-type]
    assert response.signals == (Signal(name="s"),)
    assert response.redaction_entries == (entry,)
