"""Recognisers beside the engine: what only a model finds, such as names of persons, reported or taken out.

They read whole texts, so a guard with recognisers has no window. A stream is then
given to it as to every guard without one: as a whole, sentence by sentence, or
afterwards, as the setting ``stream`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol, runtime_checkable

from ..errors import ConfigError, GuardError
from ..types import Decision, GuardRequest, GuardResponse, RedactionEntry, Signal, Stage
from .embedded import EmbeddedGuard
from .quotes import Quotes

__all__ = ["Recogniser", "RecognisingGuard"]

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_MOST = 10_000  # findings in one text


@runtime_checkable
class Recogniser(Protocol):
    """Finds what a text holds: where, of which type, and how sure that is, from 0 to 1."""

    def find(self, text: str) -> Iterable[tuple[int, int, str, float]]:
        """Start, end, type and score of each finding, in any order; offsets count characters."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    start: int
    end: int
    type: str
    score: float


class RecognisingGuard:
    """An embedded guard whose verdict recognisers add to: they report and take out, they never stop a text.

    Parameters
    ----------
    guard
        The engine; what it finds comes first, and what it stops is not given to the recognisers.
    recognisers
        Objects with ``find(text)``, such as `highflame_middleware.engine.presidio.PresidioRecogniser`.
    redact
        Which of their types are taken out. The rest is reported.
    threshold
        The score, from 0 to 1, below which a finding is none.

    >>> class Names:
    ...     def find(self, text):
    ...         at = text.find("Ada")
    ...         return [(at, at + 3, "PERSON", 0.9)] if at >= 0 else []
    >>> guard = RecognisingGuard(EmbeddedGuard(), recognisers=[Names()], redact=["PERSON"])
    >>> guard.evaluate(GuardRequest(content="Ask Ada about it")).redacted_content
    'Ask [REDACTED:PERSON] about it'
    """

    name = "embedded"
    local = False  # a model may take its time: it is called on a thread, with a deadline

    def __init__(
        self,
        guard: EmbeddedGuard,
        *,
        recognisers: Sequence[Recogniser],
        redact: Iterable[str] = ("PERSON",),
        threshold: float = 0.5,
    ) -> None:
        if isinstance(redact, str):
            raise ConfigError(
                f"redact is {redact!r}, one string: give a tuple of strings, such as redact=('PERSON',)"
            )
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise ConfigError(f"threshold={threshold!r} cannot be used: give a number from 0 to 1")
        for recogniser in recognisers:
            if isinstance(recogniser, type | str) or not isinstance(recogniser, Recogniser):
                raise ConfigError(
                    f"recognisers holds {recogniser!r}: every one has to be an object with find(text)"
                )
        self._guard = guard
        self._recognisers = tuple(recognisers)
        self._redact = frozenset(redact)
        self._threshold = threshold

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text; a recogniser that fails is a `GuardError`, for then nobody has looked."""
        verdict = self._guard.evaluate(request)
        if not verdict.allowed or not request.content:
            return verdict
        began = perf_counter()
        found = _merged(self._find(request.content), verdict.redaction_entries)
        if not found:
            return verdict
        signals = [*verdict.signals, *_signals(found)]
        taken = [one for one in found if one.type in self._redact and _may_go(one, request)]
        if not taken:
            return replace(verdict, signals=tuple(signals))
        entries = sorted(
            (*verdict.redaction_entries, *map(_entry, taken)),
            key=lambda entry: entry.start_pos,
        )
        return replace(
            verdict,
            decision=Decision.MODIFY,
            policy_reason="Redacted: " + ", ".join(sorted({entry.type for entry in entries})),
            signals=tuple(signals),
            redaction_entries=tuple(entries),
            redacted_content=_without(request.content, entries),
            latency_ms=verdict.latency_ms + (perf_counter() - began) * 1_000,
        )

    def _find(self, text: str) -> list[_Found]:
        found: list[_Found] = []
        for recogniser in self._recognisers:
            name = type(recogniser).__name__
            try:
                found += [_checked(name, one, len(text)) for one in recogniser.find(text)]
            except GuardError:
                raise
            except Exception as error:
                raise GuardError(
                    f"the recogniser {name} raised {type(error).__name__}; its cause is attached"
                ) from error
            if len(found) > _MOST:
                raise GuardError(f"the recogniser {name} found more than {_MOST:_} things in one text")
        return [one for one in found if one.score >= self._threshold]

    def __repr__(self) -> str:
        names = ", ".join(type(recogniser).__name__ for recogniser in self._recognisers)
        return f"RecognisingGuard({self._guard!r}, {names})"


def _checked(name: str, one: tuple[int, int, str, float], length: int) -> _Found:
    try:
        start, end, type_, score = one
        fits = 0 <= start < end <= length and 0 <= score <= 1 and _TYPE.fullmatch(type_) is not None
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise GuardError(f"the recogniser {name} gave no (start, end, type, score) of this text")
    return _Found(start, end, type_, float(score))


def _merged(found: Iterable[_Found], entries: Sequence[RedactionEntry]) -> list[_Found]:
    """What is found, in order and apart: the surer of two, and of what an entry overlaps only what it leaves."""
    kept: list[_Found] = []
    for one in sorted(found, key=lambda one: (-one.score, one.start, -one.end)):
        pieces = [(one.start, one.end)]
        for start, end in (
            *((entry.start_pos, entry.end_pos) for entry in entries),
            *((other.start, other.end) for other in kept),
        ):
            pieces = [
                piece
                for low, high in pieces
                for piece in ((low, min(high, start)), (max(low, end), high))
                if piece[0] < piece[1]
            ]
        kept += [replace(one, start=low, end=high) for low, high in pieces]
    return sorted(kept, key=lambda one: one.start)


def _may_go(one: _Found, request: GuardRequest) -> bool:
    """Whether taking this out leaves the text what it is: JSON arguments stay JSON."""
    if request.stage is not Stage.TOOL_CALL:
        return True
    quotes, text = Quotes(), request.content
    quotes.read(text)
    return not quotes.outside(one.start) and not re.search(r"[\"\\\\]", text[one.start : one.end])


def _signals(found: Iterable[_Found]) -> list[Signal]:
    best: dict[str, float] = {}
    for one in found:
        best[one.type] = max(one.score, best.get(one.type, 0.0))
    return [
        Signal(
            name="pii_model",
            category=type_,
            score=round(100 * score),
            severity="medium",
            context_key="pii_detected",
        )
        for type_, score in sorted(best.items())
    ]


def _entry(one: _Found) -> RedactionEntry:
    return RedactionEntry(type=one.type, start_pos=one.start, end_pos=one.end, replacement=f"[REDACTED:{one.type}]")


def _without(text: str, entries: Iterable[RedactionEntry]) -> str:
    parts, done = [], 0
    for entry in entries:
        parts += [text[done : entry.start_pos], entry.replacement]
        done = entry.end_pos
    return "".join((*parts, text[done:]))
