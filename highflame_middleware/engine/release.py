"""How far a text may be released, and what is taken out of it up to there.

A finding is told by its own characters, at most `CONTEXT` characters in front and
two behind. So a text may be cut at any place that no finding reaches across, and
only three things can reach on past what is known of it:

* the word that is being written: the text is known up to the last break, a
  character that no value has in it (white space, a double quote, anything
  beyond ASCII);
* a value of several words, a number in groups or a private key: both tell where
  one may have begun (``opens_at``);
* a value without an end, a key that goes on and on: every such finding has a
  tail that tells where it stops, so it is taken out as it comes.

A name such as ``password:`` is released at once; it is read again as context. A
run without any break (data, a long address) is released as well, all but its last
`REACH` characters, for no finding needs more of them to be told from none. So
nothing is held back without bound, and nothing is taken out for its length alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .disguise import is_disguised
from .policy import Policy
from .values import pem, pii
from .values.finding import Finding, Tail, merge
from .values.scan import CONTEXT, scan

__all__ = ["REACH", "Release", "release"]

REACH = 1_024  # characters: more than the beginning of any finding; a JWT's is the longest


@dataclass(frozen=True, slots=True)
class Release:
    """``text[:cut]`` may go: without ``taken``, which is in order; ``noted`` types were seen in it as well.

    With ``tail`` the last finding taken goes on at the cut.
    """

    cut: int
    taken: tuple[Finding, ...]
    noted: frozenset[str]
    tail: Tail | None = None


def release(
    text: str,
    start: int,
    limit: int,
    known: int,
    policy: Policy,
    *,
    final: bool,
    spared: Callable[[str, str], bool] = is_disguised,
) -> Release:
    """Release what follows ``start`` in a folded text, of which ``text[:known]`` can be read.

    What begins before ``limit`` is to be decided; a whole word, or `REACH` characters, is known after it.
    What is ``spared`` was put there by us: it is no value, and nothing that stands in it is one.
    """
    low = max(0, start - CONTEXT)
    found: list[Finding] = []
    passed: list[Finding] = []
    ours: list[Finding] = []
    for one in scan(text[low:known], start - low):
        if one.start + low >= start:
            finding = Finding(one.start + low, one.end + low, one.type, one.rank, one.tail)
            value = text[finding.start : finding.end]
            kept = ours if spared(one.type, value) else passed if policy.allow.covers(one.type, value) else found
            kept.append(finding)
    # A part of what passes is not found instead.
    found = [one for one in found if not any(_within(one, other) for other in passed)]
    found = _outside(found, ours) if ours else found
    merged = merge(one for one in found if one.type in policy.redacted)
    others = [one for one in found if one.type not in policy.redacted]
    cut = limit
    if not final and limit == known:
        cut = min(pem.opens_at(text, start, limit), pii.opens_at(text, start, limit))
    cut = _clear_of((*merged, *others, *passed, *ours), cut)

    taken: list[Finding] = []
    done, going_on = start, None
    for one in merged:
        if one.start >= cut or going_on is not None:
            break
        if one.start < done:
            continue  # inside of one that turned out longer
        done, goes_on = one.tail(text, one.end, final) if one.tail else (one.end, False)
        taken.append(Finding(one.start, done, one.type, tail=one.tail))
        cut = done if goes_on else max(cut, done)
        going_on = one.tail if goes_on else None
    noted = frozenset(one.type for one in others if one.start < cut and not _inside(one, taken))
    return Release(cut, tuple(taken), noted, going_on)


def _outside(findings: Sequence[Finding], ours: Sequence[Finding]) -> list[Finding]:
    """The findings that stand in none of ours."""
    ordered = sorted(ours, key=lambda one: one.start)
    reach = list(accumulate((one.end for one in ordered), max))  # how far those that began by then go on
    outside = []
    for one in findings:
        at = bisect_right(ordered, one.start, key=lambda our: our.start) - 1
        if at < 0 or reach[at] < one.end:
            outside.append(one)
    return outside


def _within(finding: Finding, other: Finding) -> bool:
    return finding.type == other.type and other.start <= finding.start and finding.end <= other.end


def _clear_of(findings: Sequence[Finding], cut: int) -> int:
    """The last place up to ``cut`` that no finding reaches across; one with a tail is cut where it is."""
    for one in sorted(findings, key=lambda one: one.start, reverse=True):
        if one.tail is None and one.start < cut < one.end:
            cut = one.start
    return cut


def _inside(finding: Finding, taken: Sequence[Finding]) -> bool:
    at = bisect_right(taken, finding.start, key=lambda one: one.start) - 1
    return at >= 0 and finding.start < taken[at].end
