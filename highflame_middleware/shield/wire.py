"""Shield's wire, both ways: what a client writes and reads, and what a server reads and writes. Pure.

A client is exact in what it sends (nulls and defaults are left out) and tolerant
in what it takes: fields it has no name for are kept in ``extra``, a decision it
does not know is a deny, and only an answer without any decision is a fault. A
server is strict in what it takes (`InvalidRequestError`, to be answered with
422), and answers every field that the official SDK insists on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from ..contexts import FileContext, McpContext, ModelContext, ToolContext
from ..errors import InvalidRequestError, InvalidResponseError
from ..evidence import (
    AgentIdentity,
    Challenge,
    DeterminingPolicy,
    Receipt,
    RedactionEntry,
    SessionDelta,
    Signal,
)
from ..types import Decision, GuardRequest, GuardResponse, Mode, Stage
from .fields import (
    Field,
    flag_of,
    list_of,
    number_of,
    plain,
    read_strictly,
    table_of,
    text_of,
    texts_of,
    unknown,
    whole_of,
    written,
)
from .offsets import Positions

__all__ = [
    "CHALLENGE",
    "CONTENT_TYPES",
    "STATUSES",
    "read_request",
    "read_response",
    "tool_content",
    "write_request",
    "write_response",
]

CONTENT_TYPES = ("prompt", "response", "tool_call", "file", "clipboard")
# A verdict rides on these; any other comes with 200.
STATUSES: Mapping[Decision, int] = MappingProxyType({Decision.STEP_UP: 401, Decision.DEFER: 425})
# RFC 9470, the header beside a step_up.
CHALLENGE = 'Bearer error="insufficient_user_authentication", acr_values="urn:highflame:aarm:step_up"'

_TOOL_CONTENT = 10_000  # characters of a tool's arguments that stand in the content
_TOKENS = Field("whole", at_most=1_000_000_000)
_LISTED = 1_000
_SENT_IF_SET = ("explain", "debug", "optimize", "dryrun")
_REQUEST: Mapping[str, Field] = MappingProxyType(
    {
        "content": Field("text", required=True),
        "content_type": Field("text", required=True, one_of=CONTENT_TYPES),
        "action": Field("text", required=True),
        "mode": Field("text", one_of=tuple(Mode)),
        "session_id": Field("text"),
        "metadata": Field("table"),
        "detectors": Field("texts", at_most=_LISTED),
        "contexts": Field("texts", at_most=_LISTED),
        **dict.fromkeys((*_SENT_IF_SET, "early_exit"), Field("flag")),
        **dict.fromkeys(("tool", "model", "file", "mcp"), Field("table")),
    }
)
_TOOL: Mapping[str, Field] = MappingProxyType(
    {
        "name": Field("text", required=True),
        "is_builtin": Field("flag", required=True),
        "arguments": Field("table"),
        "description": Field("text"),
        "server_id": Field("text"),
    }
)
_MODEL: Mapping[str, Field] = MappingProxyType(
    {
        "provider": Field("text"),
        "model": Field("text"),
        "temperature": Field("number"),
        **{
            item.name: _TOKENS
            for item in fields(ModelContext)
            if item.name not in ("provider", "model", "temperature")
        },
    }
)
_FILE: Mapping[str, Field] = MappingProxyType(
    {
        "path": Field("text", required=True),
        "operation": Field("text", required=True),
        "size": Field("whole"),
        "is_encrypted": Field("flag"),
        "is_rights_managed": Field("flag"),
        "sensitivity_level": Field("text", one_of=("public", "internal", "confidential", "restricted")),
        **dict.fromkeys(
            ("file_name", "file_extension", "mime_type", "mip_label_id", "mip_label_name"), Field("text")
        ),
    }
)
_MCP: Mapping[str, Field] = MappingProxyType(
    {
        "server_name": Field("text", required=True),
        "server_url": Field("text"),
        "transport": Field("text", one_of=("sse", "stdio", "http")),
        "verified": Field("flag"),
        "capabilities": Field("texts", at_most=_LISTED),
    }
)
_CONTEXTS: tuple[tuple[str, Any, Mapping[str, Field]], ...] = (
    ("tool", ToolContext, _TOOL),
    ("model", ModelContext, _MODEL),
    ("file", FileContext, _FILE),
    ("mcp", McpContext, _MCP),
)
_CHALLENGE_FIELDS = ("auth_req_id", "interval", "expires_in", "binding_message", "authorization_details")
_RESPONSE = frozenset(
    {*(item.name for item in fields(GuardResponse) if item.name != "extra"), *_CHALLENGE_FIELDS} - {"challenge"}
)
_FLAGS = ("mode_overridden", "alerted")


# --- the client's side -------------------------------------------------------------------------------------------


def write_request(request: GuardRequest) -> dict[str, Any]:
    """The body of a question to Shield.

    >>> write_request(GuardRequest(content="Hello", session_id="s"))
    {'content': 'Hello', 'content_type': 'prompt', 'action': 'process_prompt', 'mode': 'enforce', 'session_id': 's'}
    """
    body: dict[str, Any] = {
        "content": request.content,
        "content_type": request.content_type,
        "action": request.action,
        "mode": Mode(request.mode).value,
        # Shield asks for it although it may be empty.
        "session_id": request.session_id or "",
    }
    for name in ("contexts", "detectors"):
        if found := getattr(request, name):
            body[name] = list(found)
    if request.metadata:
        body["metadata"] = plain(request.metadata)
    for name in _SENT_IF_SET:
        if getattr(request, name):
            body[name] = True
    if request.early_exit is not None:
        body["early_exit"] = request.early_exit
    for name, _, _ in _CONTEXTS:
        if (context := getattr(request, name)) is not None:
            body[name] = written(context)
    return {**plain(request.extra), **body}


def tool_content(arguments: Mapping[str, Any] | None) -> str:
    """The text that stands for a tool call: its arguments as JSON, shortened where they are long.

    The arguments themselves go along in the tool's context, whole.

    >>> tool_content({"cmd": "ls"}), tool_content(None)
    ('{"cmd": "ls"}', '{}')
    """
    text = json.dumps(plain(arguments or {}), ensure_ascii=False, sort_keys=True)
    if len(text) <= _TOOL_CONTENT:
        return text
    rest = len(text) - _TOOL_CONTENT
    return f"{text[:_TOOL_CONTENT]}... [{rest} characters left out; the tool's context has all of them]"


def read_response(payload: Any, content: str, *, www_authenticate: str | None = None) -> GuardResponse:
    """The verdict that Shield gives on ``content``; an `InvalidResponseError` where it gives none.

    >>> read_response({"decision": "perhaps", "signals": None, "latency_ms": 1.5}, "x").decision
    <Decision.DENY: 'deny'>
    """
    if not isinstance(payload, dict) or not isinstance(payload.get("decision"), str):
        raise InvalidResponseError("Shield's answer holds no decision")
    decision = Decision(payload["decision"])
    actual = text_of(payload.get("actual_decision"))
    return GuardResponse(
        decision=decision,
        policy_reason=text_of(payload.get("policy_reason")),
        signals=tuple(_signal(item) for item in list_of(payload.get("signals"))),
        redacted_content=text_of(payload.get("redacted_content")),
        redaction_entries=_entries(payload.get("redaction_entries"), content),
        request_id=text_of(payload.get("request_id")) or "",
        latency_ms=number_of(payload.get("latency_ms")) or 0.0,
        actual_decision=Decision(actual) if actual else None,
        effective_mode=text_of(payload.get("effective_mode")),
        mode_overridden=flag_of(payload.get("mode_overridden")),
        mode_reason=text_of(payload.get("mode_reason")),
        alerted=flag_of(payload.get("alerted")),
        determining_policies=tuple(_policy(item) for item in list_of(payload.get("determining_policies"))),
        session_delta=_session(payload.get("session_delta")),
        agent_identity=_agent(payload.get("agent_identity")),
        receipt=_receipt(payload.get("receipt")),
        challenge=_challenge(payload, www_authenticate) if decision is Decision.STEP_UP else None,
        eval_errors=text_of(payload.get("eval_errors")),
        context=table_of(payload.get("context")),
        extra=unknown(payload, _RESPONSE),
    )


def _signal(item: dict[str, Any]) -> Signal:
    texts = {
        name: found
        for name in ("name", "category", "severity", "context_key", "vulnerability_id")
        if (found := text_of(item.get(name))) is not None
    }
    score = max(0, min(100, whole_of(item.get("score")) or 0))
    return Signal(**{"name": "unnamed", **texts}, score=score)


def _entries(found: Any, content: str) -> tuple[RedactionEntry, ...]:
    """The redactions, in characters; none at all where one of them cannot be what was redacted.

    To redact some of them would be to let the rest pass.
    """
    if not found or not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        return ()
    positions, spans, kept = Positions(content), [], []
    for item in found:
        start, end, replacement = item.get("start_pos"), item.get("end_pos"), item.get("replacement")
        if type(start) is not int or type(end) is not int or not isinstance(replacement, str):
            return ()
        original = text_of(item.get("original")) or ""
        if original and not positions.holds((start, end), original):
            return ()
        spans.append((start, end))
        kept.append((text_of(item.get("type")) or "", replacement, original))
    placed = positions.characters(spans)
    if placed is None:
        return ()
    return tuple(
        RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement=replacement, original=original)
        for (start, end), (type_, replacement, original) in zip(placed, kept, strict=True)
    )


def _policy(item: dict[str, Any]) -> DeterminingPolicy:
    names = ("policy_id", "policy_name", "effect", "mode", "category", "severity")
    return DeterminingPolicy(
        rule_id=text_of(item.get("rule_id")) or text_of(item.get("policy_id")) or "unnamed",
        **{name: text_of(item.get(name)) for name in names},
        tags=texts_of(item.get("tags")),
        annotations={
            name: value for name, value in table_of(item.get("annotations")).items() if isinstance(value, str)
        },
    )


def _session(found: Any) -> SessionDelta | None:
    item = table_of(found)
    turns, risk = whole_of(item.get("turn_count")), number_of(item.get("cumulative_risk"))
    if turns is None or risk is None:
        return None
    original = item.get("original_request_set")
    return SessionDelta(
        turn_count=turns,
        cumulative_risk=risk,
        max_sensitivity=text_of(item.get("max_sensitivity")),
        new_action=text_of(item.get("new_action")),
        tokens_used_delta=whole_of(item.get("tokens_used_delta")),
        original_request_set=original if isinstance(original, bool) else None,
        context_hash=text_of(item.get("context_hash")),
        chain_turn=whole_of(item.get("chain_turn")),
    )


def _agent(found: Any) -> AgentIdentity | None:
    item = table_of(found)
    given = {known.name: text_of(item.get(known.name)) for known in fields(AgentIdentity)}
    needed = ("auth_method", "external_id", "sub_type", "trust_level")
    return AgentIdentity(**given) if all(given[name] is not None for name in needed) else None  # type: ignore[arg-type]


def _receipt(found: Any) -> Receipt | None:
    item = table_of(found)
    given = {known.name: text_of(item.get(known.name)) for known in fields(Receipt)}
    return Receipt(**given) if all(value is not None for value in given.values()) else None  # type: ignore[arg-type]


def _challenge(payload: dict[str, Any], www_authenticate: str | None) -> Challenge:
    interval = number_of(payload.get("interval"))
    return Challenge(
        auth_req_id=text_of(payload.get("auth_req_id")),
        interval=interval if interval is not None and interval > 0 else 5.0,
        expires_in=number_of(payload.get("expires_in")),
        binding_message=text_of(payload.get("binding_message")),
        authorization_details=tuple(list_of(payload.get("authorization_details"))),
        www_authenticate=www_authenticate,
    )


# --- the server's side -------------------------------------------------------------------------------------------


def read_request(payload: Any) -> GuardRequest:
    """The question in a body; an `InvalidRequestError` says which field is wrong, and quotes nothing.

    What a tool gave back comes as a response that has a tool.

    >>> read_request({"content": "", "content_type": "prompt", "action": "process_prompt"})
    Traceback (most recent call last):
    highflame_middleware.errors.InvalidRequestError: validation failed: content must not be empty
    """
    if not isinstance(payload, dict):
        raise InvalidRequestError("validation failed: the body must be a JSON object")
    given = read_strictly(payload, _REQUEST)
    for name, context, table in _CONTEXTS:
        if name in given:
            given[name] = context(**read_strictly(given[name], table, name))
    if given["content_type"] == "response" and ("tool" in given or given["action"] == "call_tool"):
        given["stage"] = Stage.TOOL_RESULT
    if "mode" in given:
        given["mode"] = Mode(given["mode"])
    return GuardRequest(**given, extra=unknown(payload, _REQUEST))


def write_response(response: GuardResponse, content: str, *, at: datetime | None = None) -> dict[str, Any]:
    """The body of a verdict on ``content``, with every field that the official SDK insists on.

    Offsets become bytes. What was redacted is not sent back but where the verdict itself tells it.

    >>> body = write_response(GuardResponse(decision=Decision.ALLOW, request_id="r"), "x")
    >>> sorted(body), body["latency_ms"]
    (['decision', 'latency_ms', 'request_id', 'signals', 'timestamp'], 0)
    """
    body: dict[str, Any] = {
        **plain(response.extra),
        "decision": response.decision.value,
        "latency_ms": round(response.latency_ms),
        "request_id": response.request_id,
        "signals": [written(signal) for signal in response.signals],
        "timestamp": (at or datetime.now(UTC)).isoformat(),
    }
    for name in ("policy_reason", "redacted_content", "effective_mode", "mode_reason", "eval_errors"):
        if (found := getattr(response, name)) is not None:
            body[name] = found
    if response.actual_decision is not None:
        body["actual_decision"] = response.actual_decision.value
    for name in _FLAGS:
        if getattr(response, name):
            body[name] = True
    if response.context:
        body["context"] = plain(response.context)
    for name in ("session_delta", "agent_identity", "receipt"):
        if (found := getattr(response, name)) is not None:
            body[name] = written(found)
    if response.determining_policies:
        body["determining_policies"] = [written(policy) for policy in response.determining_policies]
    if response.redaction_entries:
        body["redaction_entries"] = _write_entries(response.redaction_entries, content)
    if response.challenge is not None:
        body.update(written(response.challenge, omit=("www_authenticate",)))
    return body


def _write_entries(entries: tuple[RedactionEntry, ...], content: str) -> list[dict[str, Any]]:
    spans = Positions(content).octets([(entry.start_pos, entry.end_pos) for entry in entries])
    return [
        {
            "type": entry.type,
            "start_pos": start,
            "end_pos": end,
            "replacement": entry.replacement,
            "original": entry.original,
        }
        for entry, (start, end) in zip(entries, spans, strict=True)
    ]
