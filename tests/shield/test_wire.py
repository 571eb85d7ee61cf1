"""Shield's wire: exact in what is sent, tolerant in what is taken, and strict where we are the server."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
from pathlib import Path
from typing import Any

import pytest

from highflame_middleware.errors import InvalidRequestError, InvalidResponseError
from highflame_middleware.guard.redaction import apply_entries, apply_modify
from highflame_middleware.shield.fields import dump, load
from highflame_middleware.shield.offsets import Positions
from highflame_middleware.shield.wire import (
    read_request,
    read_response,
    tool_content,
    write_request,
    write_response,
)
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
    SessionDelta,
    Signal,
    Stage,
    ToolContext,
)

RAW = "123-45-6789"
FULL = GuardRequest(
    content="delete it",
    content_type="file",
    action="write_file",
    mode=Mode.ALERT,
    session_id="s1",
    tool=ToolContext(name="rm", is_builtin=True, arguments={"path": "/x"}, description="d", server_id="m"),
    model=ModelContext(provider="openai", model="gpt", temperature=0.0, input_tokens=3),
    file=FileContext(path="/x", operation="write", size=3, is_encrypted=False, sensitivity_level="internal"),
    mcp=McpContext(server_name="m", transport="http", verified=True, capabilities=("tools",)),
    contexts=("a", "b"),
    detectors=("pii",),
    metadata={"team": "core"},
    explain=True,
    debug=True,
    early_exit=False,
    optimize=True,
    dryrun=True,
    extra={"new_field": {"x": 1}},
)


class TestAsking:
    def test_a_tool_call_is_what_the_official_client_sends(self) -> None:
        arguments = {"cmd": "ls"}
        request = GuardRequest.at(
            Stage.TOOL_CALL,
            tool_content(arguments),
            session_id="s1",
            tool=ToolContext(name="shell", arguments=arguments),
        )
        assert json.dumps(write_request(request), sort_keys=True) == (
            '{"action": "call_tool", "content": "{\\"cmd\\": \\"ls\\"}", "content_type": "tool_call", '
            '"mode": "enforce", "session_id": "s1", '
            '"tool": {"arguments": {"cmd": "ls"}, "is_builtin": false, "name": "shell"}}'
        )

    def test_nulls_and_defaults_stay_at_home(self) -> None:
        sent = write_request(GuardRequest(content="x", model=ModelContext(), tool=ToolContext(name="t")))
        assert sent == {
            "content": "x",
            "content_type": "prompt",
            "action": "process_prompt",
            "mode": "enforce",
            "session_id": "",
            "model": {},
            "tool": {"name": "t", "is_builtin": False},
        }

    def test_everything_that_is_said_arrives(self) -> None:
        assert read_request(load(dump(write_request(FULL)))) == FULL

    def test_an_unknown_field_never_takes_the_place_of_a_known_one(self) -> None:
        assert write_request(GuardRequest(content="x", extra={"content": "y", "n": 1}))["content"] == "x"

    def test_what_json_cannot_carry_is_written_out(self) -> None:
        """Defect F: dates and bytes among the arguments of a tool are no error."""

        class Rude:
            def __str__(self) -> str:
                raise RuntimeError

        deep: Any = "x"
        for _ in range(5_000):
            deep = [deep]
        arguments = {
            "when": datetime.date(2026, 1, 2),
            "raw": b"a\xff",
            "nan": float("nan"),
            "huge": 10**5000,
            3: {1},
            "rude": Rude(),
            "path": Path("a"),
            "deep": deep,
            "half": "\ud800",
        }
        request = GuardRequest(content=tool_content(arguments), tool=ToolContext(name="t", arguments=arguments))
        sent = load(dump(write_request(request)))["tool"]["arguments"]
        assert (sent["when"], sent["raw"], sent["nan"], sent["3"]) == ("2026-01-02", "a\ufffd", "nan", [1])
        assert (sent["rude"], sent["path"], sent["half"]) == ("<Rude>", "a", "\ufffd")

    def test_a_long_call_is_shortened_in_the_content_only(self) -> None:
        text = tool_content({"text": "x" * 20_000})
        assert len(text) < 10_200
        assert text.startswith('{"text": "xxx')


VERDICT = {
    "decision": "modify",
    "actual_decision": "deny",
    "request_id": "r1",
    "latency_ms": 12,
    "timestamp": "2026-01-01T00:00:00Z",
    "policy_reason": "a number",
    "effective_mode": "alert",
    "mode_overridden": True,
    "mode_reason": "policy is in alert",
    "alerted": True,
    "signals": [
        {
            "name": "PII",
            "category": "pii",
            "context_key": "pii_detected",
            "score": 100,
            "severity": "high",
            "vulnerability_id": "pii_leak",
        }
    ],
    "redacted_content": "my [SSN]",
    "redaction_entries": [
        {"type": "ssn", "start_pos": 3, "end_pos": 14, "replacement": "[SSN]", "original": RAW},
    ],
    "determining_policies": [{"rule_id": "pii", "severity": "high", "tags": ["a"], "annotations": {"k": "v"}}],
    "session_delta": {"turn_count": 2, "cumulative_risk": 30.5, "chain_turn": 7},
    "agent_identity": {"auth_method": "jwt", "external_id": "a", "sub_type": "custom", "trust_level": "verified"},
    "receipt": {"algorithm": "Ed25519", "canonical": "{}", "key_id": "k", "signature": "s"},
    "eval_errors": "none really",
    "context": {"pii_count": 1},
    "explanation": {"effect": "Deny"},
    "some_new_field": [1],
}


class TestTaking:
    def test_a_verdict_is_read_whole(self) -> None:
        verdict = read_response(VERDICT, f"my {RAW}")
        assert verdict == GuardResponse(
            decision=Decision.MODIFY,
            actual_decision=Decision.DENY,
            request_id="r1",
            latency_ms=12.0,
            policy_reason="a number",
            effective_mode="alert",
            mode_overridden=True,
            mode_reason="policy is in alert",
            alerted=True,
            signals=(
                Signal(
                    name="PII",
                    category="pii",
                    context_key="pii_detected",
                    score=100,
                    severity="high",
                    vulnerability_id="pii_leak",
                ),
            ),
            redacted_content="my [SSN]",
            redaction_entries=(RedactionEntry(type="ssn", start_pos=3, end_pos=14, replacement="[SSN]"),),
            determining_policies=(
                DeterminingPolicy(rule_id="pii", severity="high", tags=("a",), annotations={"k": "v"}),
            ),
            session_delta=SessionDelta(turn_count=2, cumulative_risk=30.5, chain_turn=7),
            agent_identity=AgentIdentity(
                auth_method="jwt", external_id="a", sub_type="custom", trust_level="verified"
            ),
            receipt=Receipt(algorithm="Ed25519", canonical="{}", key_id="k", signature="s"),
            eval_errors="none really",
            context={"pii_count": 1},
            extra={
                "timestamp": "2026-01-01T00:00:00Z",
                "explanation": {"effect": "Deny"},
                "some_new_field": [1],
            },
        )

    @pytest.mark.parametrize(
        ("change", "decision"),
        [
            ({"decision": "quarantine"}, Decision.DENY),
            ({"decision": "ALLOW"}, Decision.DENY),
            ({"decision": "allow", "signals": None}, Decision.ALLOW),
            ({"decision": "allow", "latency_ms": 1.25}, Decision.ALLOW),
            ({"decision": "allow", "latency_ms": "soon", "request_id": 7, "context": []}, Decision.ALLOW),
        ],
    )
    def test_it_is_tolerant_but_never_of_a_decision(self, change: dict[str, Any], decision: Decision) -> None:
        """Defect K: an unknown decision, missing signals and a float latency are no fault."""
        assert read_response(change, "x").decision is decision

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            [],
            "allow",
            {},
            {"decision": None},
            {"decision": True},
            {"decision": ["allow"]},
            {"verdict": "allow"},
        ],
    )
    def test_no_decision_is_never_an_allow(self, payload: Any) -> None:
        with pytest.raises(InvalidResponseError, match="no decision"):
            read_response(payload, "x")

    @pytest.mark.parametrize("name", sorted(set(VERDICT) - {"decision"}))
    @pytest.mark.parametrize("junk", [None, 7, "x", [], [None, 1, {}], {"a": {}}, True, 1e400, float("nan")])
    def test_junk_in_any_field_is_survived(self, name: str, junk: Any) -> None:
        verdict = read_response({**VERDICT, name: junk}, f"my {RAW}")
        assert verdict.decision is Decision.MODIFY
        assert RAW not in repr(verdict)

    def test_a_challenge_is_kept_whole(self) -> None:
        """Defect E: what a step_up is answered with is not dropped."""
        details = [{"type": "call_tool"}]
        verdict = read_response(
            {
                "decision": "step_up",
                "auth_req_id": "q1",
                "interval": 2,
                "expires_in": 300,
                "binding_message": "approve?",
                "authorization_details": details,
            },
            "x",
            www_authenticate="Bearer x",
        )
        assert verdict.challenge == Challenge(
            auth_req_id="q1",
            interval=2.0,
            expires_in=300.0,
            binding_message="approve?",
            authorization_details=tuple(details),
            www_authenticate="Bearer x",
        )
        assert "q1" not in repr(verdict)


class TestOffsets:
    TEXT = "né 日本 🙂 end"

    def test_bytes_become_characters_and_back(self) -> None:
        positions, text = Positions(self.TEXT), self.TEXT
        for start in range(len(text) + 1):
            for end in range(start, len(text) + 1):
                span = (len(text[:start].encode()), len(text[:end].encode()))
                assert positions.characters([span]) == [(start, end)]
                assert positions.octets([(start, end)]) == [span]

    def test_inside_a_character_all_of_it_is_meant(self) -> None:
        text = "a🙂b"
        for start in (1, 2, 3, 4):
            for end in range(max(start, 2), 6):
                (found,) = Positions(text).characters([(start, end)]) or []
                assert found == (1, 2), (start, end)

    def test_halves_of_pairs_count_as_what_replaces_them(self) -> None:
        text = "\ud83d|\ude00|x"
        sent = load(dump({"c": text}))["c"]
        assert Positions(sent).octets([(4, 5)]) == Positions(text).octets([(4, 5)])

    @pytest.mark.parametrize("span", [(-1, 2), (2, 1), (0, 99), (50, 60)])
    def test_what_lies_outside_is_no_span(self, span: tuple[int, int]) -> None:
        assert Positions(self.TEXT).characters([(0, 1), span]) is None

    def test_any_text_is_redacted_in_the_same_place(self) -> None:
        chooser = random.Random(7)
        for _ in range(300):
            text = "".join(chooser.choice("aé日🙂\ud800 ") for _ in range(chooser.randrange(1, 30)))
            cuts = sorted(chooser.sample(range(len(text) + 1), min(len(text) + 1, 4)))
            spans = list(zip(cuts[::2], cuts[1::2], strict=False))
            assert Positions(text).characters(Positions(text).octets(spans)) == spans

    def entry(self, **changes: Any) -> dict[str, Any]:
        return {"type": "ssn", "start_pos": 3, "end_pos": 14, "replacement": "#", "original": "", **changes}

    @pytest.mark.parametrize(
        "bad",
        [
            {"start_pos": "3"},
            {"start_pos": True},
            {"end_pos": None},
            {"end_pos": 400},
            {"start_pos": 9, "end_pos": 4},
            {"replacement": None},
            {"original": "something else"},
        ],
    )
    def test_one_entry_that_cannot_be_makes_all_of_them_unusable(self, bad: dict[str, Any]) -> None:
        """To redact the others only would let the rest pass; a modify that cannot be applied is stopped."""
        content = f"my {RAW} and {RAW}"
        entries = [self.entry(original=RAW), self.entry(start_pos=19, end_pos=30, original=RAW) | bad]
        verdict = read_response({"decision": "modify", "redaction_entries": entries}, content)
        assert verdict.redaction_entries == ()
        assert apply_modify(content, verdict, is_json=False) is None

    def test_a_modify_by_bytes_hits_its_text(self) -> None:
        content = f"schön: {RAW}!"
        at = len("schön: ".encode())
        entries = [self.entry(start_pos=at, end_pos=at + 11, original=RAW)]
        verdict = read_response({"decision": "modify", "redaction_entries": entries}, content)
        assert apply_entries(content, verdict.redaction_entries) == "schön: #!"


class TestServing:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"content": None}, "content is required"),
            ({"content": ""}, "content must not be empty"),
            ({"content": 7}, "content must be a string"),
            ({"content_type": "poem"}, "content_type must be one of prompt, response"),
            ({"action": None}, "action is required"),
            ({"mode": "watch"}, "mode must be one of enforce"),
            ({"session_id": 7}, "session_id must be a string"),
            ({"metadata": []}, "metadata must be an object"),
            ({"detectors": "pii"}, "detectors must be a list of strings"),
            ({"contexts": ["x"] * 1001}, "contexts has more than 1000 items"),
            ({"debug": 1}, "debug must be true or false"),
            ({"tool": {"name": "t"}}, "tool.is_builtin is required"),
            ({"tool": {"is_builtin": True}}, "tool.name is required"),
            ({"tool": {"name": "t", "is_builtin": False, "arguments": "x"}}, "tool.arguments must be an object"),
            ({"model": {"input_tokens": 2_000_000_000}}, "model.input_tokens must be at most 1e"),
            ({"model": {"input_tokens": 1.5}}, "model.input_tokens must be a whole number"),
            ({"model": {"temperature": True}}, "model.temperature must be a number"),
            ({"model": {"temperature": float("nan")}}, "model.temperature must be at most"),
            ({"file": {"path": "/x"}}, "file.operation is required"),
            ({"file": {"path": "/x", "operation": "read", "sensitivity_level": "top"}}, "file.sensitivity_level"),
            ({"mcp": {"server_name": "m", "transport": "pigeon"}}, "mcp.transport must be one of sse"),
        ],
    )
    def test_what_is_wrong_is_named_and_not_quoted(self, change: dict[str, Any], words: str) -> None:
        body = {"content": RAW, "content_type": "prompt", "action": "process_prompt", **change}
        with pytest.raises(InvalidRequestError, match=f"^validation failed: {words}") as caught:
            read_request(body)
        assert RAW not in str(caught.value)

    @pytest.mark.parametrize("body", [None, [], "x", 7])
    def test_what_is_no_object_is_refused(self, body: Any) -> None:
        with pytest.raises(InvalidRequestError, match="must be a JSON object"):
            read_request(body)

    @pytest.mark.parametrize(
        ("fields", "stage"),
        [
            ({"content_type": "prompt"}, Stage.PROMPT),
            ({"content_type": "response"}, Stage.RESPONSE),
            ({"content_type": "response", "action": "call_tool"}, Stage.TOOL_RESULT),
            ({"content_type": "response", "tool": {"name": "t", "is_builtin": False}}, Stage.TOOL_RESULT),
            ({"content_type": "tool_call"}, Stage.TOOL_CALL),
            ({"content_type": "clipboard"}, Stage.PROMPT),
        ],
    )
    def test_the_stage_follows(self, fields: dict[str, Any], stage: Stage) -> None:
        assert read_request({"content": "x", "action": "process_prompt", **fields}).stage is stage

    def test_a_verdict_survives_the_wire(self) -> None:
        content = f"né {RAW}"
        verdict = read_response({**VERDICT, "redaction_entries": None}, content)
        verdict = dataclasses.replace(
            verdict,
            redaction_entries=(RedactionEntry(type="ssn", start_pos=3, end_pos=14, replacement="[SSN]"),),
            challenge=None,
        )
        again = read_response(load(dump(write_response(verdict, content))), content)
        stamped = {**verdict.extra, "timestamp": again.extra["timestamp"]}
        assert again == dataclasses.replace(verdict, extra=stamped)

    def test_a_challenge_survives_the_wire(self) -> None:
        verdict = GuardResponse(
            decision=Decision.STEP_UP, challenge=Challenge(auth_req_id="q", interval=3.0, expires_in=60.0)
        )
        assert read_response(load(dump(write_response(verdict, "x"))), "x").challenge == verdict.challenge

    @pytest.mark.parametrize("decision", list(Decision))
    def test_the_official_client_reads_it(self, decision: Decision) -> None:
        """Its own model of the answer, where that package is installed."""
        official = pytest.importorskip("highflame", reason="the official client is not installed here")
        verdict = GuardResponse(
            decision=decision,
            latency_ms=0.4,
            signals=(Signal(name="s"),),
            redaction_entries=(RedactionEntry(type="t", start_pos=0, end_pos=1, replacement="#"),),
            determining_policies=(DeterminingPolicy(rule_id="r"),),
            session_delta=SessionDelta(turn_count=1, cumulative_risk=0.0),
        )
        read = official.GuardResponse.model_validate(load(dump(write_response(verdict, "x"))))
        assert (read.decision, read.latency_ms, len(read.signals), len(read.redaction_entries)) == (
            decision.value,
            0,
            1,
            1,
        )
