"""Weighted rules over a text: hits add up as long as they stand near each other.

A long text does not dilute a short attack, because only hits within one span
count together; and a rule counts once in a span, however often it hits.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .secrets import starts_token

__all__ = ["Rule", "Tally"]

_SPAN = 1_500  # characters in which hits add up
_REACH = 480  # more than any pattern reads on from its literal
_BEFORE = 144  # characters that ``before`` reads in front of it
_BEGINNING = 4  # letters: a text without a word that begins so is not searched for a literal that does
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


class Tally:
    """The score, 0 to 100, of the rules hit in a text that may come in pieces.

    >>> tally = Tally((Rule("override", 60, "ignore", r"ignore (?:all|previous)"),))
    >>> tally.read("please ignore all of it", final=True)
    >>> tally.score, tally.names
    (60, ('override',))
    """

    __slots__ = ("_at", "_hits", "_limit", "_read", "_rules", "_text", "names", "score")

    def __init__(self, rules: tuple[Rule, ...], *, limit: int = 100) -> None:
        self._rules = rules
        self._limit = limit
        self._text = ""
        self._at = 0  # where self._text begins in the whole
        self._read = 0  # how much of the whole has been scored
        self._hits: dict[Rule, int] = {}
        self.score = 0
        self.names: tuple[str, ...] = ()

    def read(self, folded: str, *, final: bool = False) -> None:
        """Take the next piece of the folded text; scoring stops at the limit."""
        if self.score >= self._limit:
            return
        self._text += folded
        end = self._at + len(self._text) - (0 if final else _REACH)
        if end - self._read >= (1 if final else _STEP):
            for at, rule in sorted(self._found(end), key=lambda hit: (hit[0], hit[1].name)):
                self._add(at, rule)
                if self.score >= self._limit:
                    break
            self._read = end
            drop = end - _BEFORE - 16 - self._at
            if drop > 0:
                self._text, self._at = self._text[drop:], self._at + drop

    def _found(self, end: int) -> Iterator[tuple[int, Rule]]:
        text = self._text.lower()
        if "\\" in text:  # line breaks of JSON strings, as wide as they were
            text = text.replace("\\n", "  ").replace("\\r", "  ").replace("\\t", "  ")
        start, stop = self._read - self._at, end - self._at
        beginnings = {word[:_BEGINNING] for word in _words().findall(text, start)}
        for literal, beginning, rule in _rows(self._rules):
            at = text.find(literal, start) if not beginning or beginning in beginnings else -1
            while 0 <= at < stop:
                if _is_hit(rule, text, at):
                    yield self._at + at, rule
                at = text.find(literal, at + 1)

    def _add(self, at: int, rule: Rule) -> None:
        self._hits[rule] = at
        near = [hit for hit, place in self._hits.items() if place > at - _SPAN]
        score = min(100, sum(hit.weight for hit in near))
        if score > self.score:
            self.score, self.names = score, tuple(sorted(hit.name for hit in near))


def _is_hit(rule: Rule, text: str, at: int) -> bool:
    return (
        starts_token(text, at)
        and _compiled(rule.pattern).match(text, at) is not None
        and (not rule.before or _compiled(rule.before).search(text, max(0, at - _BEFORE), at) is not None)
    )


@functools.cache
def _rows(rules: tuple[Rule, ...]) -> tuple[tuple[str, str, Rule], ...]:
    """Each literal, how a word has to begin for it to be there (if it begins with a word), and its rule."""
    literals = [(literal, rule) for rule in rules for literal in rule.literals.split("|")]
    begun = [(_words().match(literal), literal, rule) for literal, rule in literals]
    return tuple((literal, word.group()[:_BEGINNING] if word else "", rule) for word, literal, rule in begun)


@functools.cache
def _words() -> re.Pattern[str]:
    return re.compile(f"[a-z]{{{_BEGINNING},}}")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
