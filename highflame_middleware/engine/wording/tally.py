"""Weighted rules over a text: hits add up as long as they stand near each other.

A long text does not dilute a short attack, because only hits within one span
count together; and a rule counts once in a span, however often it hits.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from ..values.secrets import starts_token

__all__ = ["Lift", "Rule", "Tally"]

_SPAN = 1_500  # characters in which hits add up
_LIFTED = 300  # characters after a lift in which it still counts
_ALONE = 19  # points that a lift adds at most to a single habit
_REACH = 480  # more than any pattern reads on from its literal
_BEFORE = 144  # characters that ``before`` reads in front of it
_BEGINNING = 4  # letters of its first word that a literal is looked up by; a shorter word is looked up whole
_STEP = 128  # characters that are worth looking at in one go


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A pattern over lower-case text that begins with one of the ``literals``, and what a hit weighs.

    ``literals`` have bars between them; ``before`` is a pattern for the words in front of the hit.
    """

    name: str
    weight: int
    literals: str
    pattern: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class Lift:
    """What something else than a rule adds to the rules hit before a place in the text, until the next lift."""

    at: int
    points: int


class Tally:
    """The score, 0 to 100, of the rules hit in a text that may come in pieces.

    ``lifts`` add their points where the rules hit nearby come to ``gate`` at least, and no more than these have.
    ``share`` is the score where at least half of it comes from rules that are named in ``shared``.

    >>> tally = Tally((Rule("override", 60, "ignore", r"ignore (?:all|previous)"),))
    >>> tally.read("please ignore all of it", final=True)
    >>> tally.score, tally.names
    (60, ('override',))
    """

    __slots__ = (
        "_at",
        "_gate",
        "_hits",
        "_lift",
        "_lifts",
        "_limit",
        "_read",
        "_rules",
        "_shared",
        "_text",
        "names",
        "score",
        "share",
    )

    def __init__(
        self, rules: tuple[Rule, ...], *, limit: int = 100, gate: int = 1, shared: frozenset[str] = frozenset()
    ) -> None:
        self._rules = rules
        self._limit = limit
        self._gate = gate
        self._shared = shared
        self._lift = Lift(0, 0)  # the last one that has been passed
        self._lifts: list[Lift] = []  # the ones ahead of what has been scored
        self._text = ""
        self._at = 0  # where self._text begins in the whole
        self._read = 0  # how much of the whole has been scored
        self._hits: dict[Rule, int] = {}
        self.score = 0
        self.share = 0
        self.names: tuple[str, ...] = ()

    def read(self, folded: str, *, final: bool = False, lifts: Iterable[Lift] = ()) -> None:
        """Take the next piece of the folded text, and lifts in it; scoring stops at the limit."""
        if self.score >= self._limit:
            return
        self._text += folded
        self._lifts += lifts
        end = self._at + len(self._text) - (0 if final else _REACH)
        if end - self._read >= (1 if final else _STEP):
            self._score(end, final=final)
            self._read = end
            drop = end - _BEFORE - 16 - self._at
            if drop > 0:
                self._text, self._at = self._text[drop:], self._at + drop

    def _score(self, end: int, *, final: bool) -> None:
        """Go through the hits and the lifts before ``end`` as they stand in the text."""
        passed = [lift for lift in self._lifts if lift.at < end or final]
        self._lifts = self._lifts[len(passed) :]
        events: list[tuple[int, str, Rule | Lift]] = [(at, rule.name, rule) for at, rule in self._found(end)]
        events += [(lift.at, "", lift) for lift in passed]
        for at, _, event in sorted(events, key=itemgetter(0, 1)):
            if isinstance(event, Rule):
                self._hits[event] = at
            else:
                self._lift = event
            self._add(at)
            if self.score >= self._limit:
                break

    def _found(self, end: int) -> Iterator[tuple[int, Rule]]:
        text = self._text.lower()
        if "\\" in text:  # line breaks of JSON strings, as wide as they were
            text = text.replace("\\n", "  ").replace("\\r", "  ").replace("\\t", "  ")
        start, stop = self._read - self._at, end - self._at
        for at, rows in _sought(self._rules, text, start, stop):
            for literal, rule in rows:
                if text.startswith(literal, at) and _is_hit(rule, text, at):
                    yield self._at + at, rule

    def _add(self, at: int) -> None:
        near: dict[str, int] = {}  # rules of one name are one habit
        for hit, place in self._hits.items():
            if place > at - _SPAN:
                near[hit.name] = max(hit.weight, near.get(hit.name, 0))
        weight = sum(near.values())
        lifted = weight >= self._gate and self._lift.at > at - _LIFTED
        most = weight if len(near) > 1 else min(weight, _ALONE)
        lift = min(most, self._lift.points) if lifted else 0
        score = min(100, weight + lift)
        if score > self.share and 2 * sum(near[name] for name in near.keys() & self._shared) >= weight:
            self.share = score
        if score > self.score:
            self.score = score
            self.names = (*sorted(near), *(("model",) if lift else ()))


def _is_hit(rule: Rule, text: str, at: int) -> bool:
    return (
        starts_token(text, at)
        and _compiled(rule.pattern).match(text, at) is not None
        and (not rule.before or _compiled(rule.before).search(text, max(0, at - _BEFORE), at) is not None)
    )


_Rows = list[tuple[str, Rule]]


def _sought(rules: tuple[Rule, ...], text: str, start: int, stop: int) -> Iterator[tuple[int, _Rows]]:
    """Where in ``text[start:stop]`` a literal may stand, and the literals that begin so with their rules."""
    begun, plain, foreign = _rows(rules)
    rows_of = begun.get
    for word in _words().finditer(text, start, min(len(text), stop + _BEGINNING)):
        if (rows := rows_of(word.group()[:_BEGINNING])) and word.start() < stop:
            yield word.start(), rows
    yield from _places(plain, text, start, stop)
    if not text.isascii():
        yield from _places(foreign, text, start, stop)


def _places(table: dict[str, _Rows], text: str, start: int, stop: int) -> Iterator[tuple[int, _Rows]]:
    for beginning, rows in table.items():
        at = text.find(beginning, start) if beginning[0] in text else -1
        while 0 <= at < stop:
            yield at, rows
            at = text.find(beginning, at + 1)


@functools.cache
def _rows(rules: tuple[Rule, ...]) -> tuple[dict[str, _Rows], dict[str, _Rows], dict[str, _Rows]]:
    """Literals and rules: by their first word, or as much of it as counts; by a sign; by letters beyond ASCII."""
    begun: dict[str, _Rows] = {}
    plain: dict[str, _Rows] = {}
    foreign: dict[str, _Rows] = {}
    for rule in rules:
        for literal in rule.literals.split("|"):
            word = _words().match(literal)
            if word is not None and (literal[word.end() :] or "!").isascii():
                begun.setdefault(word.group()[:_BEGINNING], []).append((literal, rule))
            elif literal.isascii():
                plain.setdefault(literal[:2], []).append((literal, rule))
            else:
                foreign.setdefault(literal[:2], []).append((literal, rule))
    return begun, plain, foreign


@functools.cache
def _words() -> re.Pattern[str]:
    return re.compile("[a-z]+")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
