"""Texts that stream: whether anything leaks in random pieces, how much is held back, what a piece costs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from time import thread_time

from benchmarks.guard.data import Figure, load
from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.guard.redaction import apply_entries
from highflame_middleware.types import GuardRequest, Mode, RedactionEntry, Stage

__all__ = ["report"]

SPLITS = 10_000


def tokens(text: str, choice: random.Random) -> Iterator[str]:
    """Pieces as a model writes them: a word or part of one with the space before it, or up to three signs."""
    for word in re.findall(r" ?[A-Za-z]+|[0-9]{1,3}|\s+|[^\sA-Za-z0-9]{1,3}", text):
        at = 0
        while len(word) - at > 9:
            cut = choice.randint(3, 8)
            yield word[at : at + cut]
            at += cut
        yield word[at:]


def released(guard: EmbeddedGuard, text: str, choice: random.Random) -> str:
    """What a reader has been given when the text came in random pieces, each as soon as it was cleared."""
    window = guard.window(GuardRequest.at(Stage.RESPONSE, "", mode=Mode.MODIFY))
    entries: list[RedactionEntry] = []
    at = cleared = 0
    while at < len(text):
        size = choice.choice((1, 1, 2, 3, 5, 8, 13, 40))
        progress = window.feed(text[at : at + size])
        at += size
        assert progress.cleared >= cleared, "what was let go cannot be taken back"
        assert all(entry.start_pos >= cleared for entry in progress.entries), "redacted after it was let go"
        entries += progress.entries
        cleared = progress.cleared
    entries += window.finish().entries
    merged: list[RedactionEntry] = []
    for entry in entries:
        if merged and not entry.replacement and entry.start_pos == merged[-1].end_pos:
            merged[-1] = RedactionEntry(
                type=entry.type,
                start_pos=merged[-1].start_pos,
                end_pos=entry.end_pos,
                replacement=merged[-1].replacement,
            )
        else:
            merged.append(entry)
    return apply_entries(text, merged) or ""


def leaks() -> int:
    """How often a value that is taken out of the whole text was not taken out of its pieces."""
    guard, choice = EmbeddedGuard(redact=("secrets", "pii"), sessions=None), random.Random(5)
    rows = [row for row in load("secrets") if row["label"]] + [row for row in load("pii") if row["spans"]]
    leaked = 0
    for turn in range(SPLITS):
        text = rows[turn % len(rows)]["text"]
        whole = guard.evaluate(GuardRequest.at(Stage.RESPONSE, text, mode=Mode.MODIFY))
        given = released(guard, text, choice)
        values = [text[entry.start_pos : entry.end_pos] for entry in whole.redaction_entries]
        leaked += any(given.count(value) > (whole.redacted_content or "").count(value) for value in values if value)
    return leaked


def prose(size: int) -> str:
    text = " ".join(
        row["text"] for row in load("benign") if row["source"] == "selfinstruct" and row["text"].isascii()
    )
    return (text * (size // len(text) + 1))[:size]


def read(text: str, choice: random.Random) -> tuple[list[int], float]:
    """The characters held back after each piece, sorted, and the CPU of a piece in microseconds."""
    pieces = list(tokens(text, choice))
    window, held, fed = EmbeddedGuard().window(GuardRequest.at(Stage.RESPONSE, "")), [], 0
    began = thread_time()
    for piece in pieces:
        fed += len(piece)
        held.append(fed - window.feed(piece).cleared)
    window.finish()
    return sorted(held), (thread_time() - began) / len(pieces) * 1e6


def report() -> list[Figure]:
    """Print what is held back by kind of text; give the figures that have a gate."""
    choice = random.Random(1)
    benign = load("benign")
    kinds = {
        "English prose": prose(60_000),
        "package readmes": "\n".join(row["text"] for row in benign if row["source"] == "pkg_readme")[:60_000],
        "Python code": "\n".join(row["text"] for row in benign if row["source"] == "stdlib_code")[:60_000],
        "Chinese": "\n".join(row["text"] for row in benign if row["source"] == "awesome_zh")[:20_000],
    }
    print("\nstreams of tokens: characters held back after each (p50, p95, most), CPU microseconds a token")
    medians = []
    for name, text in kinds.items():
        held, took = read(text, choice)
        medians.append(held[len(held) // 2])
        print(f"  {name:22} {medians[-1]:4} {held[int(len(held) * 0.95)]:5} {held[-1]:6}   {took:6.1f} us")
    growth = min(read(prose(400_000), choice)[1] / read(prose(1_000), choice)[1] for _ in range(3))
    return [
        Figure(f"streams: texts that leak a value, of {SPLITS} in random pieces", leaks(), 0, 0, most=True),
        Figure("streams: characters held back, median (the kind that holds most)", max(medians), 8, 8, most=True),
        Figure("streams: cost of a token, 400 thousand characters to 1 thousand", growth, 1.2, 1.2, "x", most=True),
    ]
