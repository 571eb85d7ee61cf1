"""In which script and, roughly, in which language a text is written.

Both are told by how a text begins: `_SAMPLE` characters. The language is told by the little
words that every sentence has, or by letters that only one language has; where neither speaks
clearly, nothing is said of it.
"""

# ruff: noqa: SIM905, RUF001 - rows of a table

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ...guard.rules import Fact
from ...types import Signal

__all__ = ["Language", "Script"]

_SAMPLE = 1_024  # characters
_FEWEST_WORDS = 4  # little words that have to be there to tell a language by

# The first code point of each block of letters, and its script as Shield names them.
_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("latin", "[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]"),
    ("cjk", "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0002fa1f]"),
    ("cyrillic", "[\u0400-\u052f]"),
    ("arabic", "[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff]"),
    ("devanagari", "[\u0900-\u097f]"),
)
_LETTERS = r"[^\W\d_]"

_LITTLE: Mapping[str, frozenset[str]] = {
    "en": frozenset(
        "the of and to in is that it for was with as you are this be have not what how can i my your".split()
    ),
    "de": frozenset(
        "der die das und ist nicht ein eine zu den mit von sich auf für dem im auch wie ich sie wird".split()
    ),
    "fr": frozenset(
        "le la les des et est une un pour dans que qui ne pas du sur avec au il vous je ce nous".split()
    ),
    "es": frozenset("el la los las de que y en un una es por con para se no del al lo como más su".split()),
    "pt": frozenset("o a os as de que e em um uma é por com para se não do da no na como mais".split()),
    "it": frozenset("il lo la gli le di che e in un una è per con non si del della come sono più questo".split()),
    "nl": frozenset("de het een en van is dat in op te zijn niet met voor die er aan ook als ik je".split()),
    "pl": frozenset("w i na z się nie do to że jest jak o po co za od jego ale przez dla".split()),
    "sv": frozenset("och att det i en som är på av för med inte den till ett jag har du om".split()),
    "tr": frozenset("ve bir bu için ile de da ne var mı olarak daha çok gibi ama değil ben sen".split()),
}
_BY_SCRIPT: tuple[tuple[str, str], ...] = (
    ("ja", "[\u3040-\u30ff]"),
    ("ko", "[\uac00-\ud7af]"),
)


class _Beginning(ABC):
    """What a text's beginning tells, once it is there."""

    __slots__ = ("_sample", "facts")

    def __init__(self) -> None:
        self._sample: str | None = ""
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        """Take the next piece of the folded text."""
        if self._sample is None:
            return False
        self._sample = (self._sample + folded[:_SAMPLE])[:_SAMPLE]
        if not final and len(self._sample) < _SAMPLE:
            return False
        self.facts = self._told(self._sample)
        self._sample = None
        return bool(self.facts)

    def signals(self) -> Iterable[Signal]:
        """Nothing: neither a script nor a language is a finding."""
        return ()

    @abstractmethod
    def _told(self, sample: str) -> Mapping[str, Fact]:
        """What it tells; nothing where that is not clear."""


class Script(_Beginning):
    """The script that most letters of the beginning are in."""

    __slots__ = ()

    def _told(self, sample: str) -> Mapping[str, Fact]:
        script, confidence = script_of(sample)
        return {"detected_script": script, "is_latin_script": script == "latin", "script_confidence": confidence}


class Language(_Beginning):
    """The language of the beginning, where it can be told."""

    __slots__ = ()

    def _told(self, sample: str) -> Mapping[str, Fact]:
        language, confidence = language_of(sample)
        if not language:
            return {}
        return {
            "detected_language": language,
            "is_english": language == "en",
            "language_confidence": confidence,
        }


def script_of(text: str) -> tuple[str, int]:
    """The script of most letters, and what share of them it has, from 0 to 100.

    >>> script_of("hello мир"), script_of("123")
    (('latin', 62), ('unknown', 0))
    """
    if text.isascii():
        return ("latin", 100) if any(map(str.isalpha, text)) else ("unknown", 0)
    letters = _count(_LETTERS, text)
    if not letters:
        return "unknown", 0
    counts = {name: _count(pattern, text) for name, pattern in _SCRIPTS}
    counts["other"] = letters - sum(counts.values())
    name, count = max(counts.items(), key=lambda one: one[1])
    return name, 100 * min(count, letters) // letters


def language_of(text: str) -> tuple[str, int]:
    """The language of a text as an ISO 639-1 code, and how sure that is; an empty code where it is not.

    >>> language_of("What is the weather in Paris, and how do I get to the airport?")[0]
    'en'
    """
    script = script_of(text)[0]
    if script == "cjk":
        letters = _count(_LETTERS, text)
        for code, pattern in _BY_SCRIPT:
            if _count(pattern, text) * 5 >= letters:
                return code, 90
        return "zh", 90
    if script != "latin":
        return "", 0  # several languages share each of the others
    scores = dict.fromkeys(_LITTLE, 0)
    index = _index()
    for word, count in Counter(filter(index.__contains__, text.lower().split())).items():
        for code in index[word]:
            scores[code] += count
    (code, best), (_, second) = sorted(scores.items(), key=lambda one: -one[1])[:2]
    if best < _FEWEST_WORDS or best < 1.3 * second:
        return "", 0
    return code, min(99, 50 + 50 * (best - second) // best)


def _count(letter: str, text: str) -> int:
    """How many letters of a kind a text has."""
    return sum(map(len, _compiled(f"{letter}+").findall(text)))


@functools.cache
def _index() -> dict[str, list[str]]:
    """The languages that each little word is one of."""
    index: dict[str, list[str]] = defaultdict(list)
    for code, words in _LITTLE.items():
        for word in words:
            index[word].append(code)
    return dict(index)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
