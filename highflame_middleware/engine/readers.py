"""Detectors that say something of a whole text: each reads it piece by piece, and tells facts and signals.

What has a place in the text (a secret, a number) is found by `scan`; what is read
here has none: the habits of an injection, a command, what a tool is able to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from ..guard.rules import Fact
from ..types import GuardRequest, Signal, Stage
from . import commands, injection
from .policy import Policy
from .rules import signal_of
from .tally import Tally

__all__ = ["READERS", "Reader", "readers_for", "shield_score"]

_OWN_ROLES = frozenset({"system", "developer", "assistant"})  # who writes as these gives the orders
_COMMAND_BLOCKS = 75  # the score from which Shield's rules stop a command; for injections it is 86


class Reader(Protocol):
    """Reads one text. Its ``facts`` stand under Shield's context keys, and may be there before a word is read."""

    @property
    def facts(self) -> Mapping[str, Fact]:
        """What is known by now."""
        ...

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece of the folded text; whether the facts have changed."""
        ...

    def signals(self) -> Iterable[Signal]:
        """What there is to report by now."""
        ...


def shield_score(score: int, threshold: int, *, blocks: int = 86) -> int:
    """A detector's score on Shield's scale, where its ``threshold`` stands at the score that ``blocks``.

    >>> shield_score(30, 60), shield_score(60, 60), shield_score(100, 60)
    (42, 86, 100)
    """
    if score < threshold:
        return score * (blocks - 1) // threshold
    return blocks + (score - threshold) * (100 - blocks) // max(1, 100 - threshold)


class _Injection:
    """Orders to a model in a text that gives it none: in what users write and what tools return."""

    __slots__ = ("_limit", "_tally", "facts")

    def __init__(self, policy: Policy) -> None:
        self._limit = policy.injection_threshold
        self._tally = Tally(injection.RULES, limit=100)
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        before = self._tally.score
        self._tally.read(folded, final=final)
        if self._tally.score == before:
            return False
        self.facts = {"injection_score": shield_score(self._tally.score, injection.THRESHOLD)}
        return True

    def signals(self) -> Iterable[Signal]:
        score = int(self.facts.get("injection_score", 0))  # type: ignore[arg-type] # ours, and a number
        if 2 * score >= self._limit:
            severity = "" if score >= self._limit else "medium"
            yield signal_of("injection", category=", ".join(self._tally.names), score=score, severity=severity)


class _Commands:
    """Commands in the arguments of a tool that destroy a machine or carry its secrets away."""

    __slots__ = ("_tally", "facts")

    def __init__(self) -> None:
        self._tally = Tally(commands.RULES, limit=commands.THRESHOLD)
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        before = self._tally.score
        self._tally.read(folded, final=final)
        if self._tally.score == before:
            return False
        self.facts = {
            "command_injection_score": shield_score(self._tally.score, commands.THRESHOLD, blocks=_COMMAND_BLOCKS),
            "command_injection_detected": self._tally.score >= commands.THRESHOLD,
        }
        return True

    def signals(self) -> Iterable[Signal]:
        if self.facts.get("command_injection_detected"):
            score = int(self.facts["command_injection_score"])  # type: ignore[arg-type] # ours, and a number
            yield signal_of("command", category=", ".join(self._tally.names), score=score)


def _injection(policy: Policy, request: GuardRequest) -> Reader | None:
    stage, role = request.stage, request.role
    reads = stage is Stage.TOOL_RESULT or (stage is Stage.PROMPT and role not in _OWN_ROLES)
    return _Injection(policy) if reads else None


def _commands(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001 - one shape for all
    return _Commands() if request.stage is Stage.TOOL_CALL else None


# Shield's name of each detector, and what makes its reader for a request: nothing where it has no say.
READERS: Mapping[str, Callable[[Policy, GuardRequest], Reader | None]] = {
    "injection": _injection,
    "command_injection": _commands,
}


def readers_for(policy: Policy, request: GuardRequest) -> list[Reader]:
    """The readers that have something to say of a request; those it asks for, where it names any."""
    made = (
        make(policy, request)
        for name, make in READERS.items()
        if not request.detectors or name in request.detectors
    )
    return [reader for reader in made if reader is not None]
