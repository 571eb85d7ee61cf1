"""A small linear model of how attacks on models are worded: hashed words and pairs of them, with weights of a byte.

By itself it takes unknown kinds of documents for attacks, so it has no say but where rules have hit (`classifier`).
`benchmarks/train_injection.py` makes its two files: the weights, and what they were made of and how well they do.
"""

from __future__ import annotations

import functools
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise

__all__ = ["BITS", "BLOCKS", "FEW", "Block", "Blocks", "Features", "Model", "load"]

BITS = 17  # of a feature's hash, so that there are 128 Ki weights of a byte each
_MASK = (1 << BITS) - 1
_MIX = 23_505
_BLOCK = 200  # characters of which a window is moved on at a time
BLOCKS = 3  # in a window
FEW = 40  # features: with fewer than these, few words do not make a sure thing
_WORD = 24  # characters of a word, at most
_REMEMBERED = 20_000  # distinct words; a text made to hold more only costs time

Features = tuple[int, ...]


class _Hashing(dict[str, int]):
    """Word to its hash, worked out when it is first met."""

    def __missing__(self, word: str) -> int:
        value = zlib.crc32(word.encode("utf-8", "surrogatepass")) & _MASK
        if len(self) < _REMEMBERED:
            self[word] = value
        return value


_hashing = _Hashing()


class Block:
    """About 200 characters of plain text, whose words are only looked up when somebody asks for them."""

    __slots__ = ("_before", "_known", "_text")

    def __init__(self, text: str, before: int) -> None:
        self._text = text
        self._before = before  # the hash of the last word in front of it, or -1
        self._known: tuple[int, int] | None = None

    @property
    def features(self) -> Features:
        """The hashes of its words, and of each pair of them that stand together."""
        words = list(map(_hashing.__getitem__, _pattern_of(self._text).findall(self._text)))
        if not words:
            return ()
        before = self._before
        pairs = [(one * _MIX + two) & _MASK for one, two in pairwise((before, *words) if before >= 0 else words)]
        return (*words, *pairs)

    @property
    def last(self) -> int:
        """The hash of its last word, or of the one in front of it where it has none."""
        # No word has a space in it, so those after the last one are read by themselves.
        pattern = _pattern_of(self._text)
        found = pattern.findall(self._text.rstrip().rpartition(" ")[2]) or pattern.findall(self._text)
        return _hashing[found[-1]] if found else self._before

    def weigh(self, weights: memoryview) -> tuple[int, int]:
        """The sum of its weights, always of the same model, and how many they are."""
        if self._known is None:
            features = self.features
            self._known = sum(map(weights.__getitem__, features)), len(features)
        return self._known


class Blocks:
    """Cuts a plain text that comes in pieces into blocks; each is given with those before it, as one window.

    >>> [(end, len(window[-1].features)) for end, window in Blocks().read("ignore all rules", final=True)]
    [(16, 5)]
    """

    __slots__ = ("_at", "_last", "_text", "_window")

    def __init__(self) -> None:
        self._text = ""
        self._at = 0  # where self._text begins in the whole
        self._last = -1  # the hash of the last word of the block before
        self._window: tuple[Block, ...] = ()

    def read(self, plain: str, *, final: bool) -> Iterator[tuple[int, tuple[Block, ...]]]:
        """Take the next piece; give where each block ends that is complete, and the window that it ends."""
        self._text += plain
        start, length = 0, len(self._text)
        while length - start > _BLOCK + _WORD or (final and length > start):
            # A block ends with a word, unless that is longer than a word is.
            rest = _rest().match(self._text, min(start + _BLOCK, length))
            end = rest.end() if rest else min(start + _BLOCK, length)
            block = Block(self._text[start:end], self._last)
            self._last = block.last
            self._window = (*self._window[1 - BLOCKS :], block)
            yield self._at + end, self._window
            start = end
        self._text, self._at = self._text[start:], self._at + start


@dataclass(frozen=True, slots=True)
class Model:
    """Weights by hash. The score of a window is ``bias + step * sum / sqrt(features + FEW)``, in logits."""

    weights: memoryview
    step: float
    bias: float

    def logit(self, window: tuple[Block, ...]) -> float:
        """The score of a window."""
        weighed = [block.weigh(self.weights) for block in window]
        total, count = sum(pair[0] for pair in weighed), sum(pair[1] for pair in weighed)
        return self.bias + self.step * total / math.sqrt(count + FEW)


@functools.cache
def load() -> Model:
    """The model that this library comes with."""
    folder = resources.files(__package__)
    facts = json.loads((folder / "injection_model.json").read_text("utf-8"))["model"]
    packed = zlib.decompress((folder / "injection_model.bin").read_bytes())
    return Model(weights=memoryview(packed).cast("b"), step=facts["step"], bias=facts["bias"])


def _pattern_of(text: str) -> re.Pattern[str]:
    return _latin() if text.isascii() else _words()


@functools.cache
def _latin() -> re.Pattern[str]:
    return re.compile(rf"[a-z']{{1,{_WORD}}}|[<>\[\]{{}}|:#*]{{1,{_WORD}}}")


@functools.cache
def _words() -> re.Pattern[str]:
    # Latin words; letters of scripts without spaces one by one; other letters as they run; marks that frame orders.
    return re.compile(
        rf"[a-z']{{1,{_WORD}}}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_a-z]{{1,{_WORD}}}|[<>\[\]{{}}|:#*]{{1,{_WORD}}}"
    )


@functools.cache
def _rest() -> re.Pattern[str]:
    return re.compile(rf"[a-z'\w]{{0,{_WORD}}}")
