"""What detectors of whole texts are made of: what a reader is, and one that goes by rows of literals and patterns.

A text may come in pieces of any size. A reader tells the same of it whatever the
pieces: a hit is told by what stands close around it, and facts only ever grow.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ...guard.rules import Fact
from ...types import Signal
from ..kinds import signal_of
from ..literals import Literals
from ..normal import fold
from ..wording.tally import Rule

__all__ = ["Reader", "Span", "Told", "Watch", "Watcher", "compiled", "hits", "shield_score"]

_STEP = 128  # characters that are worth looking at in one go


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


class Span:
    """The part of a text, in lower case, in which a hit may still begin, with ``before`` characters of context.

    What begins in it is judged only when ``reach`` characters after it are known.

    >>> span = Span(before=2, reach=3, step=1)
    >>> span.take("ABCDEF", final=False), span.take("GH", final=False), span.take("", final=True)
    (('abcdef', 0, 3), ('bcdefgh', 2, 4), ('defgh', 2, 5))
    """

    __slots__ = ("_before", "_known", "_reach", "_start", "_step", "_taken")

    def __init__(self, *, before: int, reach: int, step: int = _STEP) -> None:
        self._before, self._reach, self._step = before, reach, step
        self._known = ""
        self._taken = 0  # characters of the whole text that have come
        self._start = 0  # where in it nothing has been judged yet

    def take(self, folded: str, *, final: bool) -> tuple[str, int, int] | None:
        """The text known, and from where to where hits that begin there can be judged now."""
        text = self._known = self._known + folded.lower()
        self._taken += len(folded)
        start, stop = self._start, len(text) - (0 if final else self._reach)
        if stop - start < (1 if final else self._step):
            return None
        drop = max(0, stop - self._before)
        self._known, self._start = text[drop:], stop - drop
        return text, start, stop

    def at(self, text: str) -> int:
        """Where in the whole the text stands that was taken last."""
        return self._taken - len(text)


@dataclass(frozen=True, slots=True)
class Watch:
    """A detector that goes by rows: a hit's weight is the score, and its name the type.

    ``reach`` is more than any pattern reads on from its literal, ``before`` more than any reads in
    front of it; a text without any of ``only_with`` has no row in it. ``tell`` makes facts of the type
    and the score of the gravest hit; a score of at least ``reports`` is also a signal of ``kind``.
    """

    kind: str
    rows: tuple[Rule, ...]
    tell: Callable[[str, int], dict[str, Fact]]
    before: int = 64
    reach: int = 256
    reports: int = 50
    only_with: tuple[str, ...] = ()


class Watcher:
    """Reads a text by the rows of a `Watch`; scores are at most ``most`` where the text stands."""

    __slots__ = ("_most", "_span", "_watch", "facts", "score", "type")

    def __init__(self, watch: Watch, *, most: int = 100) -> None:
        self._watch, self._most = watch, most
        self._span = Span(before=watch.before, reach=watch.reach)
        self.score, self.type = 0, ""
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece; whether it holds anything graver than before."""
        taken = self._span.take(folded, final=final)
        if taken is None:
            return False
        signs = self._watch.only_with
        if signs and not any(sign in taken[0] for sign in signs):
            return False
        before = (self.score, self.type)
        for row in hits(self._watch.rows, *taken, before=self._watch.before):
            self.note(row.name, row.weight)
        return (self.score, self.type) != before

    def note(self, type_: str, score: int) -> None:
        """Something of a type is in the text, or is known of it otherwise."""
        score = min(score, self._most)
        # By name where the score is the same: the order in which pieces come must not matter.
        if (-score, type_) < (-self.score, self.type):
            self.score, self.type = score, type_
            self.facts = self._watch.tell(type_, score)

    def signals(self) -> Iterable[Signal]:
        """The gravest hit, if it is grave enough."""
        if self.score >= self._watch.reports:
            severity = "critical" if self.score >= 90 else "high" if self.score >= 75 else "medium"
            yield signal_of(self._watch.kind, category=self.type, score=self.score, severity=severity)


class Told:
    """A `Watcher` that has read a text of its own beforehand, and does not read the one that it stands beside."""

    __slots__ = ("_watcher", "facts")

    def __init__(self, watcher: Watcher, text: str) -> None:
        watcher.read(fold(text)[0], final=True)
        self._watcher = watcher
        self.facts: Mapping[str, Fact] = watcher.facts

    def read(self, folded: str, *, final: bool) -> bool:  # noqa: ARG002
        """Nothing more is to be known."""
        return False

    def signals(self) -> Iterable[Signal]:
        """What the other text told."""
        return self._watcher.signals()


def hits(rows: tuple[Rule, ...], text: str, start: int, stop: int, *, before: int) -> Iterator[Rule]:
    """The rows whose literal begins in ``text[start:stop]``, in lower case, with the pattern behind it."""
    literals, listed = _literals(rows)
    found = literals.within(text[start:])
    for literal, row in listed if found is None else map(listed.__getitem__, sorted(found)):
        at = text.find(literal, start)
        while 0 <= at < stop:
            if compiled(row.pattern).match(text, at) is not None and (
                not row.before or compiled(row.before).search(text, max(0, at - before), at) is not None
            ):
                yield row
                break  # it counts once, however often it stands here
            at = text.find(literal, at + 1)


@functools.cache
def _literals(rows: tuple[Rule, ...]) -> tuple[Literals, tuple[tuple[str, Rule], ...]]:
    listed = tuple((literal, row) for row in rows for literal in row.literals.split("|"))
    return Literals(literal for literal, _ in listed), listed


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled once; for ASCII only."""
    return re.compile(pattern, re.ASCII)
