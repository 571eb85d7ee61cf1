"""Everything seen in one text so far, and the verdict that follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from ..guard.rules import Fact, RuleOutcome, Subject
from ..types import Decision, DeterminingPolicy, GuardRequest, GuardResponse, Mode, RedactionEntry, Signal, Stage
from .invisible import Run
from .kinds import facts_of, replacement_of, signal_of
from .policy import Policy
from .readers.actions import Action
from .readers.table import readers_for
from .ruleset import BuiltInRules
from .sessions import Past

__all__ = ["RESTORED", "Docket"]

_HIDDEN_LETTERS = 8  # in one text: more than a stray character, and enough to spell something
_DENIED_TOOL = DeterminingPolicy(
    rule_id="deny_tools", policy_id="options", effect="forbid", mode="enforce", category="agent-security"
)
RESTORED = "restored"  # the type of an entry that puts a value back
_NO_VALUES = frozenset({"invisible", RESTORED})
_STOPS = frozenset({Decision.DENY, Decision.STEP_UP, Decision.DEFER})


class Docket:
    """What has been found in one text, by type; what is taken out of it; what the rules make of the facts.

    The rules are asked whenever a fact has changed, so a stream is stopped as soon as they say so; but not
    where the mode is to redact and never to block, for then the rest is still to be redacted.
    """

    __slots__ = (
        "_action",
        "_asked",
        "_entries",
        "_facts",
        "_goes_on",
        "_hidden",
        "_last",
        "_outcome",
        "_past",
        "_policy",
        "_readers",
        "_request",
        "_subject",
        "_types",
    )

    def __init__(self, policy: Policy, request: GuardRequest, past: Past | None = None) -> None:
        self._policy = policy
        self._past = past
        self._asked: dict[str, str] = {}  # the strategy that the rules name for a type
        self._request = request
        self._action = request.action
        self._subject = Subject(session_id=request.session_id or "")
        self._goes_on = request.mode is Mode.MODIFY
        self._readers = readers_for(policy, request)
        self._facts: dict[str, Fact] = _known(request) if past is None else {**_known(request), **past.facts}
        self._types: dict[str, int] = {}
        self._hidden = 0
        self._outcome = _judge_tool(policy, request)
        self._entries: list[RedactionEntry] = []
        self._last = 0  # which entry goes on
        for reader in self._readers:
            self._add(reader.facts)
        self._decide()

    @property
    def denied(self) -> bool:
        """Whether the text is to be stopped, whatever else is in it."""
        return self._outcome is not None and self._outcome.decision in _STOPS and not self._goes_on

    def read(self, folded: str, *, final: bool, ascii_only: bool = True) -> None:
        """Have the next piece of the folded text read, and be told whether it was written in ASCII."""
        changed = not ascii_only and "contains_non_ascii" not in self._facts
        if changed or (final and "contains_non_ascii" not in self._facts):
            self._facts |= {"contains_non_ascii": changed, "non_ascii_score": 100 * changed}
        for reader in self._readers:
            if reader.read(folded, final=final):
                self._add(reader.facts)
                changed = True
            if final and self._past is not None and isinstance(action := getattr(reader, "action", None), Action):
                self._facts.update(self._past.act(action))
                changed = True
        if changed:
            self._decide()

    def note(self, type_: str) -> None:
        """Something of a type has been found."""
        self._types[type_] = self._types.get(type_, 0) + 1
        self._learn(facts_of(self._types))

    def hide(self, run: Run) -> None:
        """A run of invisible characters has been found."""
        self._hidden += sum(character.isalpha() for character in run.hidden)
        self._types["invisible"] = self._types.get("invisible", 0) + 1
        self._tell_hidden(100 if self._hidden >= _HIDDEN_LETTERS else 40)

    def stuff(self) -> None:
        """There are more unreadable characters in one place than anybody writes."""
        self._tell_hidden(100)

    def asked(self, type_: str) -> str:
        """The strategy that the rules name for values of a type: by this fact alone, as a stream may end here."""
        if isinstance(self._policy.rules, BuiltInRules):
            return ""
        if type_ not in self._asked:
            facts = {**_known(self._request), **facts_of({type_: 1})}
            outcome = self._policy.rules.decide(facts, action=self._action, subject=self._subject)
            self._asked[type_] = outcome.redaction
        return self._asked[type_]

    def redact(
        self,
        type_: str,
        start: int,
        end: int,
        *,
        replacement: str | None = None,
        quoted: bool = False,
        goes_on: bool = False,
    ) -> RedactionEntry:
        """Take ``written[start:end]`` out; when it ``goes_on``, it is more of the value that was taken out last."""
        if goes_on:
            self._entries[self._last] = replace(self._entries[self._last], end_pos=end)
            return RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement="")
        is_value = type_ not in _NO_VALUES
        if is_value:
            self.note(type_)
        mark = '"' if quoted else ""
        replacement = f"{mark}{replacement_of(type_) if replacement is None else replacement}{mark}"
        entry = RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement=replacement)
        if is_value:
            self._last = len(self._entries)
        self._entries.append(entry)
        return entry

    def verdict(self, latency_ms: float) -> GuardResponse:
        """The verdict on what has been read; no word of it is in the reason or in a signal."""
        outcome = self._outcome or RuleOutcome(Decision.ALLOW)
        decision, reason = outcome.decision, outcome.reason
        if decision is Decision.ALLOW and self._entries:
            taken = sorted({entry.type for entry in self._entries} - {RESTORED})
            decision = Decision.MODIFY
            reason = f"Redacted: {', '.join(taken)}" if taken else "Values of the vault put back"
        redacts = decision is Decision.MODIFY or self._goes_on
        return GuardResponse(
            decision=decision,
            policy_reason=reason,
            signals=self._signals(),
            redaction_entries=_joined(self._entries) if redacts else (),
            request_id=os.urandom(16).hex(),
            latency_ms=latency_ms,
            determining_policies=outcome.policies,
            eval_errors="; ".join(outcome.errors) or None,
            context=dict(self._facts),
        )

    def _tell_hidden(self, score: int) -> None:
        if score >= 100:
            self._types["hidden_text"] = 1
        self._learn({"invisible_chars_detected": True, "invisible_chars_score": score})

    def _learn(self, facts: Mapping[str, Fact]) -> None:
        if any(self._facts.get(key) != fact for key, fact in facts.items()):
            self._facts.update(facts)
            self._decide()

    def _add(self, facts: Mapping[str, Fact]) -> None:
        """What one reader tells: where two tell the same fact, the graver one counts."""
        known = self._facts
        for key, fact in facts.items():
            other = known.get(key)
            graver = isinstance(fact, int) and isinstance(other, int) and other > fact
            known[key] = other if graver and other is not None else fact

    def _decide(self) -> None:
        """Ask the rules; what has once been stopped stays stopped."""
        if self._outcome is None or self._outcome.decision not in _STOPS:
            self._outcome = self._policy.rules.decide(self._facts, action=self._action, subject=self._subject)

    def _signals(self) -> tuple[Signal, ...]:
        signals = [signal_of(type_) for type_ in sorted(self._types)]
        if self._outcome is not None and _DENIED_TOOL in self._outcome.policies:
            signals.append(signal_of("denied_tool"))
        return (*signals, *(signal for reader in self._readers for signal in reader.signals()))


def _judge_tool(policy: Policy, request: GuardRequest) -> RuleOutcome | None:
    """What the option ``deny_tools`` makes of a call."""
    if request.stage is Stage.TOOL_CALL and request.tool is not None:
        for pattern in policy.deny_tools:
            if fnmatchcase(request.tool.name, pattern):
                return RuleOutcome(Decision.DENY, f"Tool denied by the pattern {pattern!r}", (_DENIED_TOOL,))
    return None


def _known(request: GuardRequest) -> dict[str, Fact]:
    """The facts that the request itself tells."""
    stage = request.stage
    facts: dict[str, Fact] = {
        "content_type": request.content_type,
        "direction": "input" if stage in (Stage.PROMPT, Stage.TOOL_RESULT) else "output",
    }
    if request.role is not None:
        # Not "role": to policies that is what the caller's token says, and who writes a message may write any.
        facts["message_role"] = request.role
    if request.tool is not None:
        facts |= {"tool_name": request.tool.name, "tool_is_builtin": request.tool.is_builtin}
    return facts


def _joined(entries: Iterable[RedactionEntry]) -> tuple[RedactionEntry, ...]:
    """Entries in order; a run of invisible characters that came in pieces becomes one again."""
    joined: list[RedactionEntry] = []
    for entry in sorted(entries, key=lambda entry: entry.start_pos):
        last = joined[-1] if joined else None
        if last is not None and last.type == entry.type == "invisible" and last.end_pos == entry.start_pos:
            joined[-1] = replace(last, end_pos=entry.end_pos)
        else:
            joined.append(entry)
    return tuple(joined)
