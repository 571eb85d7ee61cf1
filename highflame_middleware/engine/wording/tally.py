"""Weighted rules over a text: hits add up as long as they stand near each other.

A long text does not dilute a short attack, because only hits within one span
count together; and a rule counts once in a span, however often it hits.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from ..literals import Literals
from ..values.secrets import starts_token

__all__ = ["Lift", "Rule", "Tally"]

_SPAN = 1_500  # characters in which hits add up
_LIFTED = 300  # characters after a lift in which it still counts
_ALONE = 19  # points that a lift adds at most to a single habit
_REACH = 480  # more than any pattern reads on from its literal
_BEFORE = 144  # characters that ``before`` reads in front of it
_LONGEST = 64  # characters: no literal has more
_WHOLE = 4  # letters: a shorter literal is no beginning of a longer word
_STEM, _SHORT = 6, 3  # characters from the beginning of a word on that a literal is looked up by
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
    """What something else than a rule adds to the rules hit before a place in the text, until the next lift.

    ``points`` is asked only where it makes a difference.
    """

    at: int
    points: Callable[[], int]


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
        self._lift = Lift(0, int)  # the last one that has been passed
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
        if not events and not self._hits:
            self._lift = passed[-1] if passed else self._lift
            return
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
        for at, (_, rule) in _sought(self._rules, text, start, stop):
            if _is_hit(rule, text, at):
                yield self._at + at, rule

    def _add(self, at: int) -> None:
        near: dict[str, int] = {}  # rules of one name are one habit
        for hit, place in self._hits.items():
            if place > at - _SPAN:
                near[hit.name] = max(hit.weight, near.get(hit.name, 0))
        weight = sum(near.values())
        lifted = weight >= self._gate and self._lift.at > at - _LIFTED
        most = weight if len(near) > 1 else min(weight, _ALONE)
        lift = min(most, self._lift.points()) if lifted else 0
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


_Row = tuple[str, Rule]  # a literal, and what it begins
_Rows = dict[str, list[_Row]]


def _sought(rules: tuple[Rule, ...], text: str, start: int, stop: int) -> Iterator[tuple[int, _Row]]:
    """Where in ``text[start:stop]`` a literal stands, and its row; one of letters has to begin a word there."""
    literals, rows_of = _listed(rules)
    found = literals.within(text[start : stop + _LONGEST])
    if found is not None:
        for index in found:
            for row in rows_of[index]:
                yield from ((at, row) for at in _places_of(row[0], text, start, stop))
        return
    begun, short, plain, foreign = _rows(rules)
    stems = set(_words().findall(text, start, min(len(text), stop + _STEM)))
    rows = [row for stem in stems & begun.keys() for row in begun[stem]]
    for length, table in short.items():
        rows += [row for stem in {stem[:length] for stem in stems} & table.keys() for row in table[stem]]
    for row in rows:
        yield from ((at, row) for at in _places_of(row[0], text, start, stop))
    yield from _places(plain, text, start, stop)
    if not text.isascii() and _letters(rules).search(text, start):
        yield from _places(foreign, text, start, stop)


def _places_of(literal: str, text: str, start: int, stop: int) -> Iterator[int]:
    """Where a literal stands; one in ASCII that begins with a letter has to begin a word."""
    begins = literal.isascii() and _is_letter(literal[0])
    whole = begins and len(literal) < _WHOLE and literal.isalpha()  # two or three letters are a word by themselves
    at = text.find(literal, start)
    while 0 <= at < stop:
        end = at + len(literal)
        within = begins and at > start and _is_letter(text[at - 1])
        if not within and not (whole and _is_letter(text[end : end + 1])):
            yield at
        at = text.find(literal, at + 1)


def _places(table: _Rows, text: str, start: int, stop: int) -> Iterator[tuple[int, _Row]]:
    for beginning, rows in table.items():
        at = text.find(beginning, start) if beginning[0] in text else -1
        while 0 <= at < stop:
            for row in rows:
                if text.startswith(row[0], at):
                    yield at, row
            at = text.find(beginning, at + 1)


def _is_letter(character: str) -> bool:
    return "a" <= character <= "z"


@functools.cache
def _listed(rules: tuple[Rule, ...]) -> tuple[Literals, list[list[_Row]]]:
    """All literals, and the rows of each."""
    rows: dict[str, list[_Row]] = defaultdict(list)
    for rule in rules:
        for literal in rule.literals.split("|"):
            rows[literal].append((literal, rule))
    return Literals(rows), list(rows.values())


@functools.cache
def _rows(rules: tuple[Rule, ...]) -> tuple[_Rows, dict[int, _Rows], _Rows, _Rows]:
    """Literals and rules, by how they begin: words, short ones by length; signs; what is not all in ASCII."""
    begun: _Rows = defaultdict(list)
    short: dict[int, _Rows] = {}
    plain: _Rows = defaultdict(list)
    foreign: _Rows = defaultdict(list)
    for rule in rules:
        for literal in rule.literals.split("|"):
            if not literal.isascii():
                foreign[literal[:2]].append((literal, rule))
            elif not _is_letter(literal[0]):
                plain[literal[:2]].append((literal, rule))
            elif len(literal) >= _STEM:
                begun[literal[:_STEM]].append((literal, rule))
            else:
                length = min(_SHORT, len(literal))
                short.setdefault(length, defaultdict(list))[literal[:length]].append((literal, rule))
    return dict(begun), {length: dict(table) for length, table in short.items()}, dict(plain), dict(foreign)


@functools.cache
def _letters(rules: tuple[Rule, ...]) -> re.Pattern[str]:
    """The characters beyond ASCII that literals have."""
    literals = [row[0] for rows in _rows(rules)[3].values() for row in rows]
    letters = sorted({letter for literal in literals for letter in literal if not letter.isascii()})
    return re.compile(f"[{''.join(letters)}]" if letters else r"\Z.")


@functools.cache
def _words() -> re.Pattern[str]:
    return re.compile(rf"(?=(.{{1,{_STEM}}}))[a-z]+", re.DOTALL)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
