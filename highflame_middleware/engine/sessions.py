"""What a session tells of a text, and what a text adds to its session: Shield's ``session_*`` keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..guard.rules import Fact
from ..sessions.session import EMPTY, Session, merged
from ..types import Decision, GuardRequest, GuardResponse, SessionDelta, Stage
from .readers.actions import Action, loop_facts, remembered, sequence_facts

__all__ = ["FACTS", "MOST_RISK", "Past", "session_facts"]

MOST_RISK = 1_000  # of a session; a text adds the highest of its scores, where that is at least `_RISKY`
_RISKY = 50
_THREAT = 70  # a text with such a score is a threat, stopped or not
_MOST_TYPES = 32
_LONGEST_TYPE = 60
_TURNS = (None, "user")  # whose prompts are turns of a conversation

# What makes a text risky; values that are only taken out do not.
_RISKS = (
    *("injection_score", "jailbreak_score", "command_injection_score", "sql_injection_score"),
    *("tool_poisoning_score", "encoded_score", "exfiltration_score", "rug_pull_score"),
)
_PEAKS = ("injection_score", "jailbreak_score", "command_injection_score")
_TIERS = ("", "public", "internal", "confidential", "restricted")
_STOPS = frozenset({Decision.DENY, Decision.STEP_UP, Decision.DEFER})

#: Everything that a session can tell.
FACTS: frozenset[str] = frozenset(
    {
        *("session_pii_detected", "session_pii_types", "session_secrets_detected", "session_secret_types"),
        *("session_injection_detected", "session_command_injection", "session_threat_turns"),
        *("session_max_injection_score", "session_max_jailbreak_score", "session_max_command_injection_score"),
        *("session_max_pii_score", "session_max_secret_score", "session_cumulative_risk_score"),
        *("session_max_sensitivity", "conversation_turn", "multi_turn_detection"),
        *("loop_detected", "loop_count", "loop_tool", "suspicious_pattern", "pattern_type", "sequence_risk"),
    }
)


def session_facts(session: Session) -> dict[str, Fact]:
    """What a session tells of its next text; one that has only begun tells nothing.

    >>> facts = session_facts(Session(counts={"turns": 2, "risk": 90}, firsts={"pii:email": "1"}))
    >>> facts["session_pii_types"], facts["session_cumulative_risk_score"], facts["session_secrets_detected"]
    (('email',), 90, False)
    """
    if not session:
        return {}
    pii, secrets = _types(session, "pii:"), _types(session, "secret:")
    turns = session.counts.get("turns", 0)
    facts: dict[str, Fact] = {
        "session_pii_detected": bool(pii),
        "session_secrets_detected": bool(secrets),
        "session_injection_detected": "injection" in session.firsts,
        "session_command_injection": "command_injection" in session.firsts,
        "session_threat_turns": session.counts.get("threats", 0),
        "session_cumulative_risk_score": min(MOST_RISK, session.counts.get("risk", 0)),
        "conversation_turn": turns + 1,
        "multi_turn_detection": turns > 0,
    }
    for name in ("injection", "jailbreak", "command_injection", "pii", "secret"):
        facts[f"session_max_{name}_score"] = session.peaks.get(f"{name}_score", 0)
    if pii:
        facts["session_pii_types"] = pii
    if secrets:
        facts["session_secret_types"] = secrets
    if tier := _tier(session):
        facts["session_max_sensitivity"] = tier
    return facts


class Past:
    """The session of one text, while the text is read: its facts first, then what the text changes.

    The history of a conversation comes again with every call, so a text counts the first time
    only. ``keep`` is handed the change.
    """

    __slots__ = ("_action", "_hash", "_keep", "_request", "_session", "facts")

    def __init__(
        self,
        session: Session,
        request: GuardRequest,
        keep: Callable[[Session], None],
    ) -> None:
        self._session, self._request, self._keep = session, request, keep
        # Keyed, so that whoever sees a session cannot try which texts were in it.
        key = hashlib.blake2b((request.session_id or "").encode("utf-8", "surrogatepass"), digest_size=32)
        self._hash = hashlib.blake2b(key=key.digest(), digest_size=8)
        self._action: Action | None = None
        self.facts = session_facts(session)

    def read(self, text: str) -> None:
        """Take the next piece of the text."""
        self._hash.update(text.encode("utf-8", "surrogatepass"))

    def act(self, action: Action) -> Mapping[str, Fact]:
        """The text is a tool call that does this: what that tells after the calls before it.

        A call in the history of a conversation has been told of when it was made.
        """
        if self._request.to_model:
            return {}
        self._action = action
        actions = remembered(_actions(self._session), action)
        return {**loop_facts(actions), **sequence_facts(actions)}

    def close(self, verdict: GuardResponse) -> GuardResponse:
        """The text has been judged: hand on what that changes, and put it in the verdict."""
        change = self._change(verdict)
        if change:
            self._keep(change)
        now = merged(self._session, change)
        delta = SessionDelta(
            turn_count=now.counts.get("turns", 0),
            cumulative_risk=float(min(MOST_RISK, now.counts.get("risk", 0))),
            max_sensitivity=_tier(now) or None,
            new_action=self._action.tool if self._action is not None else None,
            tokens_used_delta=change.counts.get("tokens"),
        )
        return replace(verdict, session_delta=delta)

    def _change(self, verdict: GuardResponse) -> Session:
        digest = self._hash.hexdigest()
        action = {"actions": (_written(self._action),)} if self._action is not None else {}
        if digest in self._session.lists.get("texts", ()):
            return Session(lists=action) if action else EMPTY
        return _change(self._request, verdict, {**action, "texts": (digest,)})


def _change(request: GuardRequest, verdict: GuardResponse, lists: Mapping[str, tuple[str, ...]]) -> Session:
    """What a text that has not been seen before adds to its session."""
    facts = verdict.context
    scores = {key: _score(facts, key) for key in (*_RISKS, "invisible_chars_score")}
    risk = max(scores.values())
    stopped = verdict.decision in _STOPS
    counts = {
        "turns": int(request.stage is Stage.PROMPT and request.role in _TURNS),
        "risk": risk if risk >= _RISKY else 0,
        "threats": int(stopped or risk >= _THREAT),
        "tokens": (request.model.tokens_used or 0) if request.model is not None else 0,
    }
    peaks = {key: scores[key] for key in _PEAKS}
    for signal in verdict.signals:
        if (name := {"pii": "pii_score", "secrets": "secret_score"}.get(signal.name)) is not None:
            peaks[name] = max(peaks.get(name, 0), signal.score)
    tier = request.file.sensitivity_level if request.file is not None else None
    peaks["sensitivity"] = _TIERS.index(tier) if tier in _TIERS else 0
    names = [f"{kind}:{name}" for kind in ("pii", "secret") for name in _listed(facts, f"{kind}_types")]
    # A score that the built-in rules stop counts as one, whatever this text's own rules made of it.
    names += [name for name in ("injection", "command_injection") if scores[f"{name}_score"] >= _THREAT]
    return Session(
        {name: count for name, count in counts.items() if count},
        {name: peak for name, peak in peaks.items() if peak},
        dict.fromkeys(names, "1"),
        lists,
    )


def _score(facts: Mapping[str, Fact], key: str) -> int:
    score = facts.get(key)
    return min(100, score) if isinstance(score, int) and not isinstance(score, bool) else 0


def _listed(facts: Mapping[str, Fact], key: str) -> tuple[str, ...]:
    names = facts.get(key)
    return tuple(name[:_LONGEST_TYPE] for name in names[:_MOST_TYPES]) if isinstance(names, tuple) else ()


def _types(session: Session, prefix: str) -> tuple[str, ...]:
    return tuple(sorted(name[len(prefix) :] for name in session.firsts if name.startswith(prefix)))


def _tier(session: Session) -> str:
    return _TIERS[max(0, min(session.peaks.get("sensitivity", 0), len(_TIERS) - 1))]


def _written(action: Action) -> str:
    return json.dumps([action.tool, action.digest, *action.kinds])


def _actions(session: Session) -> list[Action]:
    """The actions that a session remembers; what is spelled in another way is of another version."""
    actions = []
    for written in session.lists.get("actions", ()):
        try:
            parts = json.loads(written)
        except (ValueError, RecursionError):
            continue
        if isinstance(parts, list) and len(parts) > 1 and all(isinstance(part, str) for part in parts):
            actions.append(Action(parts[0], parts[1], tuple(parts[2:])))
    return actions
