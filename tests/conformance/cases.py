"""The conformance table: what each mode does with each answer of a guard, at every stage and at every door.

One table, and any number of doors (`doors.DOORS`): a later one joins by a row there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from highflame_middleware import DecisionEvent, EmbeddedGuard
from highflame_middleware.guard.rules import NOBODY, Fact, RuleOutcome, Subject
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, Mode, RedactionEntry, Stage

VALUE = "jo@example.org"
TEXT = f"Write to {VALUE} when it is done."
EDITED = "[REDACTED:email]"

# What a guard may answer: for enforce (fail closed, fail open) and for modify; monitor and alert let all pass.
TABLE: Mapping[str, tuple[str, str, str]] = {
    "allow": ("pass", "pass", "pass"),
    "modify": ("edit", "edit", "edit"),
    "modify, no change": ("stop", "stop", "pass"),
    "deny": ("stop", "stop", "pass"),
    "step_up": ("stop", "stop", "pass"),
    "defer": ("stop", "stop", "pass"),
    "unknown": ("stop", "stop", "pass"),
    "raises": ("stop", "pass", "pass"),
    "late": ("stop", "pass", "pass"),
    "nonsense": ("stop", "pass", "pass"),
}
# What is on record of each.
RECORDED = {
    "modify, no change": "modify",
    "unknown": "deny",
    "raises": "error",
    "late": "error",
    "nonsense": "error",
}
# What the embedded engine can be made to answer, by its rules or its bounds.
ENGINE = ("allow", "modify", "deny", "step_up", "defer", "raises")
DEADLINE = 0.15


@dataclass(frozen=True)
class Case:
    """One guard, at one stage, in one mode; ``events`` takes what is left on record."""

    guard: Any
    answer: str
    stage: Stage
    mode: Mode
    fail_open: bool
    events: list[DecisionEvent] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """The settings that any door takes."""
        return {
            "guard": self.guard,
            "mode": self.mode,
            "fail_open": self.fail_open,
            "deadline": DEADLINE if self.answer == "late" else 5.0,
            "on_decision": self.events.append,
        }

    @property
    def outcome(self) -> str:
        """What is to come of it: pass, edit or stop."""
        enforce, fail_open, modify = TABLE[self.answer]
        if self.mode is Mode.ENFORCE:
            return fail_open if self.fail_open else enforce
        return modify if self.mode is Mode.MODIFY else "pass"

    @property
    def recorded(self) -> str:
        """The decision on record."""
        return RECORDED.get(self.answer, self.answer)


class Answering:
    """A user's own guard: it answers as it is told to where the value stands at one stage."""

    name = "answering"

    def __init__(self, answer: str, stage: Stage, *, wait: Callable[[], None]) -> None:
        self._answer, self._stage, self._wait = answer, stage, wait

    def evaluate(self, request: GuardRequest) -> Any:
        if request.stage is not self._stage or VALUE not in request.content:
            return GuardResponse(decision=Decision.ALLOW)
        if self._answer == "raises":
            raise RuntimeError(f"broken by {VALUE}")
        if self._answer == "late":
            self._wait()
        if self._answer == "nonsense":
            return {"decision": "allow"}
        if self._answer == "modify":
            at = request.content.index(VALUE)
            entry = RedactionEntry(type="email", start_pos=at, end_pos=at + len(VALUE), replacement=EDITED)
            return GuardResponse(decision=Decision.MODIFY, redaction_entries=(entry,))
        named = {"modify, no change": "modify", "unknown": "quarantine", "late": "allow"}
        return GuardResponse(decision=Decision(named.get(self._answer, self._answer)), policy_reason="told to")


class _Told:
    """Rules that decide by an address of mail at one stage."""

    def __init__(self, decision: Decision, stage: Stage) -> None:
        self._decision = decision
        self._about = GuardRequest.at(stage, "")

    def decide(self, facts: Mapping[str, Fact], *, action: str, subject: Subject = NOBODY) -> RuleOutcome:
        here = (facts.get("content_type"), action) == (self._about.content_type, self._about.action)
        if here and "email" in (facts.get("pii_types") or ()):  # type: ignore[operator] # a tuple of names
            return RuleOutcome(self._decision, "told to")
        return RuleOutcome(Decision.ALLOW)


def embedded(answer: str, stage: Stage) -> EmbeddedGuard:
    """The embedded engine, made to give an answer."""
    if answer == "raises":
        return _bounded(stage)
    redact = ("email",) if answer == "modify" else ()
    decision = Decision.ALLOW if answer in ("allow", "modify") else Decision(answer)
    return EmbeddedGuard(redact=redact, rules=_Told(decision, stage))


def _bounded(stage: Stage) -> Any:
    """The engine with a bound that the text passes, but at the one stage only."""
    short, long = EmbeddedGuard(max_chars=8), EmbeddedGuard()

    class Bounded:
        name = "embedded"
        local = True

        def _at(self, request: GuardRequest) -> EmbeddedGuard:
            return short if request.stage is stage else long

        def evaluate(self, request: GuardRequest) -> GuardResponse:
            return self._at(request).evaluate(request)

        async def aevaluate(self, request: GuardRequest) -> GuardResponse:
            return self.evaluate(request)

        def window(self, request: GuardRequest) -> Any:
            return self._at(request).window(request)

    return Bounded()


class Served:
    """What judges behind Shield's door: the embedded engine, made to give an answer, or to break."""

    name = "served"

    def __init__(self) -> None:
        self.answer, self.stage = "allow", Stage.PROMPT

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        about = GuardRequest.at(self.stage, "")
        here = (request.content_type, request.action) == (about.content_type, about.action)
        if self.answer == "raises":
            if here and VALUE in request.content:
                raise RuntimeError(f"broken by {VALUE}")
            return GuardResponse(decision=Decision.ALLOW)
        return embedded(self.answer if here else "allow", self.stage).evaluate(request)


def arguments() -> str:
    """The arguments of the tool call, as a model writes them."""
    return json.dumps({"note": TEXT})
