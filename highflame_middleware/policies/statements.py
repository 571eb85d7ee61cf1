"""A policy file, cut into its policies before Cedar sees it: where each stands, and whether it is fit to be parsed.

Cedar's parser calls itself for each bracket and each operator, and a file that is
nested too deeply ends the process. What it is given is bounded here, by reading the file once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from ..errors import ConfigError

__all__ = ["MAX_CHARS", "MAX_POLICIES", "Statement", "statements_of"]

MAX_CHARS: Final = 512_000  # of all files together
MAX_POLICIES: Final = 2_000
# What a thread with a stack of 512 KB, the smallest that a common platform gives, can still read; with a margin.
_MAX_DEPTH = 16
_MAX_OPERATORS = 200
_MAX_STEPS = 250  # dots and brackets that go into a value
_MAX_TOKENS = 20_000

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<dot>\.)
    |(?P<open>[(\[{])|(?P<close>[)\]}])
    |(?P<end>;)
    |(?P<operator>&&|\|\||[-+*!]|\b(?:if|then|else|has|is)\b)
    |(?P<word>\w+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy: its text, the file it stands in, the line it begins on, and which of that file's it is."""

    text: str
    source: str
    line: int
    number: int

    @property
    def place(self) -> str:
        """Where it stands, for whoever loads it."""
        return f"{self.source}:{self.line}"

    @property
    def file(self) -> str:
        """The file's name without its directory, which is nobody's business whose call is judged."""
        return PurePath(self.source).name


def statements_of(text: str, source: str) -> list[Statement]:
    """The policies of one file; a file that cannot be parsed safely is a `ConfigError` with its place.

    >>> [statement.place for statement in statements_of("permit (…);\\n\\nforbid (…);", "own.cedar")]
    ['own.cedar:1', 'own.cedar:3']
    """
    if len(text) > MAX_CHARS:
        raise ConfigError(f"{source} has {len(text)} characters: at most {MAX_CHARS} are read")
    found: list[Statement] = []
    line, counted = 1, 0
    for start, end, complete in _cut(text, source):
        line, counted = line + text.count("\n", counted, start), start
        if not complete:
            raise ConfigError(f"{source}:{line}: a policy is not ended by ';'")
        found.append(Statement(text[start:end], source, line, len(found) + 1))
        if len(found) > MAX_POLICIES:
            raise ConfigError(f"{source} has more than {MAX_POLICIES} policies")
    return found


def _cut(text: str, source: str) -> Iterator[tuple[int, int, bool]]:
    """Where each policy begins and ends, and whether it ends at all."""
    start: int | None = None
    closing: list[str] = []
    operators = steps = tokens = last = 0

    def refuse(at: int, why: str) -> ConfigError:
        return ConfigError(f"{source}:{text.count(chr(10), 0, at) + 1}: {why}")

    for match in _TOKEN.finditer(text):
        kind, sign, at = match.lastgroup, match.group(), match.start()
        if kind == "space":
            continue
        if start is None:
            start, operators, steps, tokens = at, 0, 0, 0
        last, tokens = match.end(), tokens + 1
        steps += sign in ".["
        if kind == "open":
            closing.append(_PAIRS[sign])
        elif kind == "close":
            if not closing or closing.pop() != sign:
                raise refuse(at, f"{sign!r} closes nothing that is open")
        elif kind == "operator":
            operators += 1
        elif kind == "other" and sign in "\"'\0":
            raise refuse(at, "a string is not ended" if sign == '"' else f"{sign!r} means nothing here")
        if len(closing) > _MAX_DEPTH:
            raise refuse(at, f"brackets are nested more than {_MAX_DEPTH} deep")
        if operators > _MAX_OPERATORS or steps > _MAX_STEPS or tokens > _MAX_TOKENS:
            raise refuse(start, "the policy is too long to be read safely: make several of it")
        if kind == "end" and not closing:
            yield start, last, True
            start = None
    if start is not None:
        yield start, last, False
