"""What a detector found in a text, and how findings that overlap become one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

__all__ = ["Finding", "Tail", "merge", "run_of"]

# How the end of a finding grows with the text: given the text, where the finding ends so far and whether the
# text is complete, tell where it ends now and whether more of it may still come.
Tail = Callable[[str, int, bool], tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Finding:
    """``text[start:end]`` is of a type. ``rank`` 0 names the type better than 1; ``tail`` is for open ends.

    A finding depends on nothing but its own characters, at most `CONTEXT` characters before
    it and one after it: that is what lets a stream be cut between findings.
    """

    start: int
    end: int
    type: str
    rank: int = 0
    tail: Tail | None = None


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in order, without overlaps: what overlaps becomes one finding of the best named type.

    >>> merge([Finding(0, 9, "generic", 1), Finding(4, 12, "jwt")])
    [Finding(start=0, end=12, type='jwt', rank=0, tail=None)]
    """
    merged: list[Finding] = []
    for finding in sorted(findings, key=lambda one: (one.start, -one.end, one.rank, one.type)):
        last = merged[-1] if merged else None
        if last is None or finding.start >= last.end:
            merged.append(finding)
            continue
        # What begins further inside an open-ended finding belongs to it: a stream has swallowed it unseen.
        if last.tail is None or finding.start == last.start:
            best = min(last, finding, key=lambda one: one.rank)
            longer = max(finding, last, key=lambda one: (one.end, one.tail is not None))
            merged[-1] = replace(last, end=longer.end, type=best.type, rank=best.rank, tail=longer.tail)
    return merged


@functools.cache
def run_of(pattern: str) -> Tail:
    """The tail of a finding that goes on for as long as a pattern matches; it may look one character ahead."""
    run = re.compile(f"(?:{pattern})*+", re.ASCII)

    def tail(text: str, at: int, final: bool) -> tuple[int, bool]:
        end = run.match(text, at).end()  # type: ignore[union-attr] # it matches everywhere
        return end, not final and len(text) - end <= 1

    return tail
