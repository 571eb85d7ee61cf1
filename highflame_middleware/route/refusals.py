"""How gateways say no: in the headers, the status, or in the middle of what looks like a model's reply. Pure.

The current Highflame gateway answers 200 with a completion of its own and says
so in a header, in the completion's id, and in its words. The two before it
answer with the policy's status, often 200, and a completion that has nothing
of a provider's but the words, beside an object of their own. Portkey has a
status of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..types import Decision, GuardResponse, Signal, Stage

__all__ = ["DECISION_HEADER", "Refusal", "bears_traces", "decision_in", "may_refuse", "refusal_in"]

DECISION_HEADER = "x-highflame-policy-decision"

_HIGHFLAME = ("highflame", "highflame-v2", "javelin")
_PASSING = ("allow", "modify", "monitor", "alert")
_ID = re.compile(r"[a-z]+[-_](blocked|validation-error)[-_]")
_WORDS = "Highflame Security:"
_OBJECTS = ("highflame", "javelin")
# What every provider's completion has, and a header-routed gateway's own has not.
_PROVIDERS = ("id", "model", "object", "usage", "created")
_DENIED_BY_PORTKEY = 446
_MOST = 300
# A reply that holds none of these says no in none of the ways above.
_TRACES = (b"blocked", b"validation-error", b"Highflame", b'"highflame"', b'"javelin"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A gateway's no: its verdict, and where in the call it fell as far as the gateway says."""

    verdict: GuardResponse
    stage: Stage = Stage.PROMPT


def may_refuse(dialect: str, status: int) -> bool:
    """Whether an answer of this status may be a refusal of the gateway's own.

    >>> may_refuse("highflame", 200), may_refuse("openai-compatible", 200)
    (True, False)
    """
    if dialect in _HIGHFLAME:
        return 200 <= status < 300 or 400 <= status < 500
    return dialect == "portkey" and status == _DENIED_BY_PORTKEY


def decision_in(headers: Mapping[str, str]) -> str | None:
    """What an answer's headers say the gateway decided: ``allow`` for whatever lets the call pass."""
    said = (headers.get(DECISION_HEADER) or "").strip().lower()
    return "allow" if said in _PASSING else said or None


def bears_traces(status: int, headers: Mapping[str, str], raw: bytes) -> bool:
    """Whether an answer is worth reading for a refusal: most replies are long, and say nothing of the kind."""
    return status >= 400 or decision_in(headers) is not None or any(trace in raw for trace in _TRACES)


def refusal_in(dialect: str, status: int, headers: Mapping[str, str], body: Any) -> Refusal | None:
    """The refusal that an answer is, or nothing. ``body`` is its JSON, or that of one event of it."""
    said = decision_in(headers)
    if said == "allow":
        return None
    if said is not None:
        severity = (headers.get("x-highflame-highest-severity") or "").strip().lower()
        signals = (Signal(name="gateway_policy", category="gateway", severity=severity),) if severity else ()
        return _refusal(Decision(said), _words(body), signals=signals)
    if dialect == "portkey":
        return _by_portkey(body) if status == _DENIED_BY_PORTKEY else None
    if not isinstance(body, dict):
        return None
    if status < 300 and (refusal := _by_its_looks(body)) is not None:
        return refusal
    return _by_its_object(body, status)


def _by_its_looks(body: dict[str, Any]) -> Refusal | None:
    """A completion of the current gateway's own: by its id, else by how it begins."""
    inner = next((body[key] for key in ("message", "response") if isinstance(body.get(key), dict)), body)
    for id_ in (body.get("id"), inner.get("id")):
        if isinstance(id_, str) and (match := _ID.match(id_)):
            unsure = match[1] == "validation-error"
            return _refusal(Decision.DENY, _words(body) or ("no decision could be had" if unsure else None))
    words = _words(body)
    return _refusal(Decision.DENY, words) if words is not None and words.startswith(_WORDS) else None


def _by_its_object(body: dict[str, Any], status: int) -> Refusal | None:
    """An answer of an older gateway: its own object, and no completion, or one that no provider made."""
    own = next((body[name] for name in _OBJECTS if isinstance(body.get(name), dict)), None)
    if own is None:
        return None
    outputs = own.get("processor_outputs")
    flagged = [
        name
        for name, output in (outputs.items() if isinstance(outputs, dict) else ())
        if isinstance(output, dict) and (output.get("flagged") is True or output.get("request_reject") is True)
    ]
    if status < 300:
        choices = body.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        made = any(key in body for key in _PROVIDERS) or (isinstance(first, dict) and "finish_reason" in first)
        if made or not isinstance(first, dict):
            return None
    elif not flagged and "choices" not in body:
        return None
    after = any(name.startswith("response.") for name in flagged)
    signals = tuple(Signal(name=_short(name) or "", category="gateway", severity="high") for name in flagged[:8])
    return _refusal(Decision.DENY, _words(body), stage=Stage.RESPONSE if after else Stage.PROMPT, signals=signals)


def _by_portkey(body: Any) -> Refusal:
    results = body.get("hook_results") if isinstance(body, dict) else None
    before = results.get("before_request_hooks") if isinstance(results, dict) else None
    failed = isinstance(before, list) and any(
        isinstance(hook, dict) and hook.get("verdict") is False for hook in before
    )
    return _refusal(Decision.DENY, _words(body), stage=Stage.PROMPT if failed or not before else Stage.RESPONSE)


def _refusal(
    decision: Decision,
    words: str | None,
    *,
    stage: Stage = Stage.PROMPT,
    signals: tuple[Signal, ...] = (),
) -> Refusal:
    reason = words or "the gateway gave no reason"
    verdict = GuardResponse(decision=decision, policy_reason=reason, signals=signals)
    return Refusal(verdict=verdict, stage=stage)


def _words(body: Any) -> str | None:
    """What a refusal says, in whatever format it is written."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    for place in (
        ("choices", 0, "message", "content"),
        ("choices", 0, "delta", "content"),
        ("choices", 0, "text"),
        ("content", 0, "text"),
        ("output", 0, "content", 0, "text"),
        ("output", "message", "content", 0, "text"),
        ("error", "message"),
        ("error",) if isinstance(error, str) else ("message",),
    ):
        if (words := _short(_at(body, place))) is not None:
            return words
    return None


def _at(body: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        if isinstance(key, int):
            body = body[key] if isinstance(body, list) and len(body) > key else None
        else:
            body = body.get(key) if isinstance(body, dict) else None
    return body


def _short(text: Any) -> str | None:
    """A line of a gateway's words: printable, and no longer than a log can bear."""
    if not isinstance(text, str) or not text.strip():
        return None
    line = "".join(sign if sign.isprintable() else " " for sign in text[: _MOST * 2]).strip()
    return line if len(line) <= _MOST else f"{line[: _MOST - 1]}…"
