"""Secrets and personal data: how much of what is labelled is taken out, and what is taken out by mistake.

A secret counts as found where nine tenths of its characters are gone (a key's first line may stay). Personal data
counts where a span of the same type overlaps the label by four fifths. The detectors do not learn, so nothing is
left out; but the misses on both labelled sets of personal data were read, and so were those of the secrets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from benchmarks.guard.data import Figure, Row, load, share
from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.types import GuardRequest, Mode, Stage

__all__ = ["report"]

OVERLAP = 0.8
# Labels, by the engine's names; what is not here (names, addresses) is for a recogniser such as Presidio.
TYPES = {
    "credit_card": "credit_card",
    "email": "email",
    "iban": "iban",
    "ip": "ip_address",
    "phone": "phone",
    "ssn": "ssn",
}
Span = tuple[int, int, str]


def found(guard: EmbeddedGuard, row: Row) -> list[Span]:
    # In this mode a text is read to its end, whatever else there is to say of it.
    request = GuardRequest.at(Stage.PROMPT, row["text"], mode=Mode.MODIFY)
    return [(entry.start_pos, entry.end_pos, entry.type) for entry in guard.evaluate(request).redaction_entries]


def is_taken_out(gold: Row, spans: list[Span]) -> bool:
    inside = sum(max(0, min(end, gold["end"]) - max(start, gold["start"])) for start, end, _ in spans)
    return inside >= (0.9 if gold["type"] != "gcp_sa_json" else 0.3) * (gold["end"] - gold["start"])


def overlap(gold: Row, start: int, end: int) -> float:
    both = min(end, gold["end"]) - max(start, gold["start"])
    return max(0, both) / (max(end, gold["end"]) - min(start, gold["start"]))


def secrets() -> Iterator[Figure]:
    guard = EmbeddedGuard(redact=("secrets",), sessions=None)
    hits: dict[str, list[bool]] = defaultdict(list)
    for row in load("secrets"):
        spans = found(guard, row)
        if row["label"]:
            hits[f"recall {row['source']}"].append(all(is_taken_out(gold, spans) for gold in row["spans"]))
        else:
            hits[f"mistaken {row['source']}"].append(bool(spans))
    for name, some in sorted(hits.items()):
        print(f"  {name:64} {len(some):5} {share(some):8.4f}")
    recall = [hit for name, some in hits.items() if name.startswith("recall") for hit in some]
    mistaken = [hit for name, some in hits.items() if name.startswith("mistaken") for hit in some]
    yield Figure("secrets: recall", share(recall), 0.97, 0.99)
    yield Figure("secrets: texts flagged by mistake", share(mistaken), 0.005, 0.001, most=True)


def personal() -> Iterator[Figure]:
    guard = EmbeddedGuard(redact=("pii",), sessions=None)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    mistaken: dict[str, list[bool]] = defaultdict(list)
    for row in load("pii"):
        spans = found(guard, row)
        if not row["spans"]:
            mistaken[row["source"]].append(bool(spans))
            continue
        count = counts[row["source"]]
        for gold in row["spans"]:
            if (kind := TYPES.get(gold["type"])) is not None:
                count[0] += 1
                count[1] += any(
                    type_ == kind and overlap(gold, start, end) >= OVERLAP for start, end, type_ in spans
                )
        count[2] += sum(all(overlap(gold, start, end) == 0 for gold in row["spans"]) for start, end, _ in spans)
    gates = {"presidio_research_synth_v2": (0.92, 0.95), "synthetic_faker_templates": (0.97, 0.985)}
    for source, (gate, aim) in gates.items():
        labelled, hits, extra = counts[source]
        recall, precision = hits / labelled, hits / max(1, hits + extra)
        print(f"  {source:64} {labelled:5} recall {recall:.4f} precision {precision:.4f}")
        f1 = 2 * recall * precision / max(1e-9, recall + precision)
        yield Figure(f"structured personal data: F1, {source}", f1, gate, aim)
    for source, some in sorted(mistaken.items()):
        print(f"  mistaken {source:55} {len(some):5} {share(some):8.4f}")
    every = [hit for some in mistaken.values() for hit in some]
    yield Figure("structured personal data: texts without any flagged", share(every), 0.01, 0.005, most=True)


def report() -> list[Figure]:
    """Print the figures by source; give those that have a gate."""
    print("\nsecrets, by source")
    figures = list(secrets())
    print("\npersonal data, by source")
    return [*figures, *personal()]
