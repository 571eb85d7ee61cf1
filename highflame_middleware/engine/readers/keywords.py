"""The words and patterns that a user has listed, by category."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from re import _parser  # type: ignore[attr-defined] # the only way to know how far a pattern may reach

from ...errors import ConfigError
from ...guard.rules import Fact
from ...types import Signal
from ..kinds import signal_of
from ..normal import fold
from .reader import Span

__all__ = ["Keywords", "Listed", "list_keywords"]

_MOST = 5_000  # words
_LONGEST = 200  # characters of a word, and of what a pattern may match
_MOST_COUNTED = 20


@dataclass(frozen=True, slots=True)
class Listed:
    """The lists as one pattern; ``categories[i]`` is what its group ``i + 1`` belongs to."""

    pattern: re.Pattern[str]
    categories: tuple[str, ...]


def list_keywords(keywords: Mapping[str, Iterable[str]]) -> Listed | None:
    """The lists, checked; None where there is no word in them. What begins with ``re:`` is a pattern.

    >>> listed = list_keywords({"competitors": ["Acme", "re:globex(corp)?"]})
    >>> listed.pattern.search("ask globexcorp").lastgroup
    'c0'
    """
    if not isinstance(keywords, Mapping):
        raise ConfigError(
            f"keywords={type(keywords).__name__} cannot be used: give a mapping of categories to words"
        )
    groups, count = [], 0
    for place, (category, words) in enumerate(keywords.items()):
        if not isinstance(category, str) or not category or isinstance(words, str | bytes):
            raise ConfigError(f"keywords[{category!r}] has to be a list of words under a name, such as ['acme']")
        listed = [_checked(category, word) for word in words]
        count += len(listed)
        if count > _MOST:
            raise ConfigError(f"keywords holds more than {_MOST} words: give fewer")
        patterns = [_pattern(category, word.removeprefix("re:")) for word in listed if word.startswith("re:")]
        plain = [" ".join(fold(word)[0].lower().split()) for word in listed if not word.startswith("re:")]
        bounded = [word for word in plain if word[0].isascii() and word[0].isalnum()]
        if bounded:
            patterns.append(r"(?<![^\W_])" + _tree(bounded))
        if others := sorted(set(plain) - set(bounded)):
            patterns.append(_tree(others))
        groups += [f"(?P<c{place}>{'|'.join(patterns)})"] if patterns else []
    if not groups:
        return None
    return Listed(re.compile("|".join(groups), re.IGNORECASE), tuple(keywords))


def _checked(category: str, word: object) -> str:
    if not isinstance(word, str) or len(word) > _LONGEST or not fold(word)[0].removeprefix("re:").strip():
        raise ConfigError(f"keywords[{category!r}] holds what is no word of 1 to {_LONGEST} characters")
    return word


def _tree(words: Iterable[str]) -> str:
    """A pattern for any of some words that looks at no beginning twice; a word in letters ends where letters end.

    >>> _tree(["ab!", "ac!"])
    'a(?:b!|c!)'
    """
    branches: dict[str, list[str]] = {}
    for word in words:
        branches.setdefault(word[0], []).append(word[1:])
    parts = [_sign(sign) + _below(sign, rests) for sign, rests in sorted(branches.items())]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _below(sign: str, rests: list[str]) -> str:
    ended = (r"(?![^\W_])" if sign.isascii() and sign.isalnum() else "") if "" in rests else None
    longer = sorted({rest for rest in rests if rest})
    if not longer:
        return ended or ""
    tree = _tree(longer)
    return tree if ended is None else f"(?:{tree}|{ended})"


def _sign(sign: str) -> str:
    return r"\s{1,4}" if sign == " " else re.escape(sign)


def _pattern(category: str, pattern: str) -> str:
    try:
        widest, compiled = _parser.parse(pattern).getwidth()[1], re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"keywords[{category!r}] holds a pattern that cannot be read: {error}") from None
    if widest > _LONGEST or compiled.match("") is not None:
        raise ConfigError(
            f"keywords[{category!r}] holds a pattern that may match nothing, or more than {_LONGEST} characters: "
            "bound it, as in .{0,40}"
        )
    if compiled.groupindex or re.search(r"\\[1-9]", pattern):
        raise ConfigError(f"keywords[{category!r}] holds a pattern with a named group or a reference to one")
    return f"(?:{pattern})"


class Keywords:
    """Reads a text for listed words: whole words, whatever their case."""

    __slots__ = ("_count", "_done", "_found", "_listed", "_span", "facts")

    def __init__(self, listed: Listed) -> None:
        self._listed = listed
        self._span = Span(before=_LONGEST + 8, reach=_LONGEST + 8)
        self._done = 0  # where in the whole text the last word ended
        self._found: set[str] = set()
        self._count = 0
        self.facts: Mapping[str, Fact] = {
            "keyword_matched": False,
            "keyword_categories": (),
            "keyword_count": 0,
        }

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece of the folded text."""
        taken = self._span.take(folded, final=final)
        if taken is None:
            return False
        text, start, stop = taken
        base, before = self._span.at(text), self._count
        at = max(start, self._done - base)
        while at < stop and (found := self._listed.pattern.search(text, at)) and found.start() < stop:
            at = found.end()
            self._done = base + at
            self._count += 1
            self._found.add(self._listed.categories[int((found.lastgroup or "c0")[1:])])
        if self._count == before:
            return False
        self.facts = {
            "keyword_matched": True,
            "keyword_categories": tuple(sorted(self._found)),
            "keyword_count": min(_MOST_COUNTED, self._count),
        }
        return True

    def signals(self) -> Iterable[Signal]:
        """The categories of what was found."""
        if self._found:
            yield signal_of("keyword", category=", ".join(sorted(self._found)))
