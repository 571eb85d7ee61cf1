"""Everything seen in one text so far, and the verdict that follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from ..types import Decision, GuardRequest, GuardResponse, RedactionEntry, Signal, Stage
from . import commands, injection
from .invisible import Run
from .policy import Policy
from .rules import replacement_of, signal_of
from .tally import Tally

__all__ = ["Docket"]

_OWN_ROLES = frozenset({"system", "developer", "assistant"})  # who writes as these gives the orders
_HIDDEN_LETTERS = 8  # in one text: more than a stray character, and enough to spell something


class Docket:
    """What has been found in one text, by type; what is taken out of it; how its wording scores."""

    __slots__ = ("_cause", "_commands", "_entries", "_hidden", "_injection", "_last", "_policy", "_types")

    def __init__(self, policy: Policy, request: GuardRequest) -> None:
        stage, role = request.stage, request.role
        read = stage is Stage.TOOL_RESULT or (stage is Stage.PROMPT and role not in _OWN_ROLES)
        self._policy = policy
        self._injection = Tally(injection.RULES, limit=policy.injection_threshold) if read else None
        self._commands = Tally(commands.RULES, limit=commands.THRESHOLD) if stage is Stage.TOOL_CALL else None
        self._types: dict[str, None] = {}
        self._hidden = 0
        self._cause = ""
        self._entries: list[RedactionEntry] = []
        self._last = 0  # which entry goes on
        if stage is Stage.TOOL_CALL and request.tool is not None:
            self._judge_tool(request.tool.name)

    @property
    def denied(self) -> bool:
        """Whether the text is to be stopped, whatever else is in it."""
        return bool(self._cause)

    def read(self, folded: str, *, final: bool) -> None:
        """Score the next piece of the folded text."""
        if (tally := self._injection) is not None:
            tally.read(folded, final=final)
            if tally.score >= self._policy.injection_threshold:
                self._deny("injection", f"Prompt injection suspected (score {tally.score})")
        if (tally := self._commands) is not None:
            tally.read(folded, final=final)
            if tally.score >= commands.THRESHOLD:
                self._deny("command", f"Destructive command in tool arguments (score {tally.score})")

    def note(self, type_: str) -> None:
        """Something of a type has been found."""
        self._types[type_] = None

    def hide(self, run: Run) -> None:
        """A run of invisible characters has been found."""
        self.note("invisible")
        self._hidden += sum(character.isalpha() for character in run.hidden)
        if self._hidden >= _HIDDEN_LETTERS:
            self._deny("hidden_text", "Text hidden in invisible characters")

    def stuff(self) -> None:
        """There are more unreadable characters in one place than anybody writes."""
        self._deny("hidden_text", "More invisible characters in one place than can be read")

    def redact(
        self, type_: str, start: int, end: int, *, quoted: bool = False, goes_on: bool = False
    ) -> RedactionEntry:
        """Take ``written[start:end]`` out; when it ``goes_on``, it is more of the value that was taken out last."""
        self.note(type_)
        if goes_on:
            self._entries[self._last] = replace(self._entries[self._last], end_pos=end)
            return RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement="")
        mark = '"' if quoted else ""
        replacement = f"{mark}{replacement_of(type_)}{mark}"
        entry = RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement=replacement)
        if type_ != "invisible":
            self._last = len(self._entries)
        self._entries.append(entry)
        return entry

    def verdict(self, latency_ms: float) -> GuardResponse:
        """The verdict on what has been read; no word of it is in the reason or in a signal."""
        taken = sorted({entry.type for entry in self._entries})
        entries = _joined(self._entries)
        decision, reason = Decision.ALLOW, None
        if self._cause:
            decision, reason = Decision.DENY, self._cause
        elif taken:
            decision, reason = Decision.MODIFY, f"Redacted: {', '.join(taken)}"
        return GuardResponse(
            decision=decision,
            policy_reason=reason,
            signals=self._signals(),
            redaction_entries=entries if decision is Decision.MODIFY else (),
            request_id=os.urandom(16).hex(),
            latency_ms=latency_ms,
        )

    def _judge_tool(self, name: str) -> None:
        for pattern in self._policy.deny_tools:
            if fnmatchcase(name, pattern):
                self._deny("denied_tool", f"Tool denied by the pattern {pattern!r}")
                return

    def _deny(self, type_: str, cause: str) -> None:
        self.note(type_)
        self._cause = self._cause or cause

    def _signals(self) -> tuple[Signal, ...]:
        signals = [signal_of(type_) for type_ in sorted(self._types) if type_ not in {"injection", "command"}]
        if (tally := self._injection) is not None and 2 * tally.score >= self._policy.injection_threshold:
            severity = "" if tally.score >= self._policy.injection_threshold else "medium"
            names = ", ".join(tally.names)
            signals.append(signal_of("injection", category=names, score=tally.score, severity=severity))
        if (tally := self._commands) is not None and tally.score >= commands.THRESHOLD:
            signals.append(signal_of("command", category=", ".join(tally.names), score=tally.score))
        return tuple(signals)


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
