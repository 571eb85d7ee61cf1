"""Credentials that can be told by their form: a literal to look for, and the characters around it.

Only the long words of a text are searched for the literals, and for most of them only
the beginnings of what stands in these words, so the table of forms may be long. No
credential has a white space, a quote or a backslash in it, so taking one out never
breaks JSON.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from .finding import Finding, run_of
from .formats import FORMATS, Format

__all__ = ["FORMATS", "find", "long_words", "starts_token"]

_HEX = "0123456789abcdefABCDEF"
_SHORTEST = 12  # characters: no word with a credential in it is shorter
_LITERAL = 96  # characters that a literal may stand before the credential that it announces
_STAND_IN = "xxxxxx"  # what documentation writes in the place of a key
_STEM = 3  # letters and digits of a literal to look words up by


def long_words(text: str, start: int = 0) -> list[str]:
    """The words of a text, a little before ``start`` and after, that are long enough to hold a credential."""
    return [word for word in text[max(0, start - _LITERAL) :].split() if len(word) >= _SHORTEST]


def find(text: str, start: int = 0, words: Sequence[str] | None = None) -> Iterator[Finding]:
    """The credentials of a folded text from ``start`` on that are told by their form.

    ``words`` are its `long_words`, where they are known already.

    >>> [(found.start, found.type) for found in find("key: " + "ghp_" + "a1B2" * 9)]
    [(5, 'github_token')]
    """
    joined = " ".join(long_words(text, start) if words is None else words)
    if not joined:
        return
    loose, stems = _rows()
    runs = _compiled(r"[A-Za-z0-9]+").findall(joined)
    if "\\" in joined:  # what follows an escape begins a word as well
        runs += _compiled(r"[A-Za-z0-9]+").findall(_compiled(r"\\(?:u[0-9A-Fa-f]{4}|.)").sub(" ", joined))
    lengths: set[int] | None = None
    begun = {run[:_STEM] for run in runs}
    rows = [row for stem in sorted(begun & stems.keys()) for row in stems[stem]]
    for literal, form in (*loose, *rows):
        if literal in joined:
            if form.run:
                lengths = {len(run) for run in runs} if lengths is None else lengths
                if form.run not in lengths:
                    continue
            yield from _occurrences(form, literal, text, max(0, start - _LITERAL))


def _occurrences(form: Format, literal: str, text: str, at: int) -> Iterator[Finding]:
    pattern = _compiled(form.pattern)
    tail = run_of(form.tail) if form.tail else None
    at = text.find(literal, at)
    while at >= 0:
        if (start := _start(form, text, at)) is not None and (matched := pattern.match(text, at)):
            begin, end = matched.span(matched.lastindex or 0)
            start = begin if matched.lastindex else start
            value = text[start:end]
            if _STAND_IN not in value.lower() and (form.plausible is None or form.plausible(value)):
                if tail is not None:
                    end, _ = tail(text, end, True)
                yield Finding(start, end, form.type, tail=tail)
                at = end - 1
        at = text.find(literal, at + 1)


def _start(form: Format, text: str, at: int) -> int | None:
    """Where the credential begins whose literal stands at ``at``; None when what stands before does not fit."""
    if form.before is not None:
        characters, fewest, most = form.before
        ahead = text[max(0, at - most - 2) : at]
        length = len(ahead) - len(ahead.rstrip(characters))
        if length and not starts_token(text, at - length):
            length -= 1  # the letter of an escape, as in "\\nkey"
        if not fewest <= length <= most:
            return None
        at -= length
    return at if starts_token(text, at) else None


def starts_token(text: str, at: int) -> bool:
    r"""Whether a word begins here, be it after an escape as in ``"one\ntwo"``; never inside of an escape."""
    before = text[at - 1 : at]
    if before == "\\":
        return not _escaped(text, at) or text[at] not in "nrtbfu"
    if not (before.isascii() and before.isalnum()):
        return True
    if before in "nrtbf" and _escaped(text, at - 1):
        return True
    return at >= 6 and text[at - 5] == "u" and _escaped(text, at - 5) and not text[at - 4 : at].strip(_HEX)


def _escaped(text: str, at: int) -> bool:
    ahead = text[max(0, at - 9) : at]
    return (len(ahead) - len(ahead.rstrip("\\"))) % 2 == 1


_Row = tuple[str, Format]  # a literal, and what it is one of


@functools.cache
def _rows() -> tuple[tuple[_Row, ...], dict[str, list[_Row]]]:
    """The rows whose literal is looked for anywhere, and the others by how what they look for begins."""
    loose: list[_Row] = []
    stems: dict[str, list[_Row]] = defaultdict(list)
    for form in FORMATS:
        for literal in form.literals.split():
            stem = _compiled(r"[A-Za-z0-9]*").match(literal).group()[:_STEM]  # type: ignore[union-attr]
            whole = len(stem) == _STEM or len(stem) < len(literal)  # else more letters may come, of any kind
            if form.before is None and stem and whole:
                stems[stem].append((literal, form))
            else:
                loose.append((literal, form))
    return tuple(loose), dict(stems)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
