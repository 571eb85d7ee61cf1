"""What a small model of injections is made of, and how: the data, what of it is one text, the fit.

Texts come from ``GUARD_DATA`` (default: ``../shared/guard-data`` beside the checkout). Here models are made for
`benchmarks.train_injection`, which leaves one in the package, and for `benchmarks.guard.injection`, which measures
how well others made so do on what they have not seen. It needs numpy, scipy and scikit-learn.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from highflame_middleware.engine.normal import fold
from highflame_middleware.engine.wording import injection
from highflame_middleware.engine.wording.model import BITS, BLOCKS, FEW, Blocks, Model
from highflame_middleware.engine.wording.plain import Plain
from highflame_middleware.engine.wording.tally import Tally

__all__ = ["CONTEXTUAL", "DATA", "SETTINGS", "Examples", "Row", "alike", "fit", "labelled", "load"]

DATA = Path(os.environ.get("GUARD_DATA") or Path(__file__).resolve().parents[2] / "../shared/guard-data")

# Attacks by what they ask in their place, not by their wording: benign words for a model of wording.
CONTEXTUAL = frozenset({"cyberseceval", "cyberseceval_ml", "garak_latent", "bipia"})
NOT_TO_LEARN_FROM = re.compile(r"GPL", re.IGNORECASE)  # licences: to measure with only
SETTINGS: Mapping[str, Any] = {
    "C": 10.0,  # inverse strength of regularisation
    "texts_of_a_source": 100,  # what a source counts for at most
    "harmful": 0.15,  # weight of harmful requests, a category of their own, among what is no injection
    "hit_benign": 6.0,  # weight of a benign text that rules have hit, since only there the model has a say
    "hit_attack": 3.0,  # weight of an attack that rules have hit, but not hard enough to stop it
    "hit": 20,  # points of the rules from which a text has been hit
    "seed": 7,
    "likeness": 0.35,  # of two texts' runs of three words, from which they are one text
}

Row = dict[str, Any]


def load(name: str, folder: Path = DATA) -> list[Row]:
    """The rows of a file of the data."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def labelled(folder: Path = DATA) -> list[Row]:
    """Every text to learn from, with ``label`` (1 is an injection), in one order."""
    rows = [row | {"label": 1} for row in load("attacks", folder) if row["source"] not in CONTEXTUAL]
    rows += [row | {"label": 0} for name in ("benign", "harmful") for row in load(name, folder)]
    rows = [row for row in rows if not NOT_TO_LEARN_FROM.search(row.get("licence") or "")]
    for row in rows:
        row["points"] = points_of(row["text"])
    return rows


def points_of(text: str) -> int:
    """What the rules alone give a text."""
    tally = Tally(injection.RULES)
    tally.read(Plain().read(fold(text)[0], final=True), final=True)
    return tally.score


def blocks_of(text: str) -> list[tuple[int, ...]]:
    """The features of a text's blocks, made by the code that the engine runs."""
    plain = Plain().read(fold(text)[0], final=True)
    return [window[-1].features for _, window in Blocks().read(plain, final=True)]


def windows_of(text: str) -> list[Counter[int]]:
    """The features of every window of a text."""
    blocks = blocks_of(text)
    made = [
        Counter(feature for block in blocks[max(0, end - BLOCKS) : end] for feature in block)
        for end in range(1, len(blocks) + 1)
    ]
    # A text's first windows are short only because it has just begun.
    return made[min(BLOCKS, len(made)) - 1 :] if made else []


def alike(rows: Sequence[Row], others: Sequence[Row]) -> set[int]:
    """`id` of the ``rows`` that are near-duplicates of one of the ``others``, by their runs of three words."""
    runs = [_runs(row["text"]) for row in others]
    by_run: dict[int, list[int]] = defaultdict(list)
    for at, some in enumerate(runs):
        for run in some:
            by_run[run].append(at)
    found = set()
    for row in rows:
        own = _runs(row["text"])
        shared = Counter(at for run in own for at in by_run.get(run, ()))
        for at, both in shared.items():
            either = len(own) + len(runs[at]) - both
            fewest = min(len(own), len(runs[at]))
            if both > SETTINGS["likeness"] * either or (fewest >= 8 and both > 0.7 * fewest):
                found.add(id(row))
                break
    return found


def _runs(text: str) -> set[int]:
    words = re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|\w+", fold(text)[0].lower())
    return {zlib.crc32(" ".join(run).encode()) for run in zip(words, words[1:], words[2:], strict=False)}


class Examples:
    """Windows as rows of a matrix, each with its label, its text and its weight."""

    def __init__(self, rows: Sequence[Row]) -> None:
        import numpy as np  # noqa: PLC0415 - only who trains has it
        from scipy import sparse  # noqa: PLC0415

        values: list[float] = []
        columns: list[int] = []
        ends = [0]
        self.texts: list[int] = []
        for at, row in enumerate(rows):
            for window in windows_of(row["text"]):
                scale = 1.0 / (sum(window.values()) + FEW) ** 0.5
                columns += window.keys()
                values += [count * scale for count in window.values()]
                ends.append(len(columns))
                self.texts.append(at)
        self.rows = rows
        self.matrix = sparse.csr_matrix(
            (np.array(values, np.float32), np.array(columns), np.array(ends)), shape=(len(ends) - 1, 1 << BITS)
        )

    def weights(self, kept: Sequence[bool]) -> list[float]:
        """What each window counts for: sources alike up to a size, both labels alike, a long text little more."""
        per_source = Counter(row["source"] for row, keep in zip(self.rows, kept, strict=True) if keep)
        windows = Counter(self.texts)
        totals: Counter[int] = Counter()
        of_text: list[float] = []
        for row, keep in zip(self.rows, kept, strict=True):
            size = per_source[row["source"]]
            weight = min(size, SETTINGS["texts_of_a_source"]) / size if keep else 0.0
            if row["source"] == "pyrit_advbench":
                weight *= SETTINGS["harmful"]
            if row["points"] >= SETTINGS["hit"] and not row["label"]:
                weight *= SETTINGS["hit_benign"]
            elif SETTINGS["hit"] <= row["points"] < injection.THRESHOLD:
                weight *= SETTINGS["hit_attack"]
            of_text.append(weight)
            totals[row["label"]] += weight  # type: ignore[assignment]
        return [of_text[at] / max(1e-9, totals[self.rows[at]["label"]]) / windows[at] ** 0.5 for at in self.texts]


def fit(examples: Examples, kept: Sequence[bool]) -> Model:
    """A model of the examples of the texts that are kept."""
    import numpy as np  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    weights = np.array(examples.weights(kept))
    use = np.flatnonzero(weights)
    labels = np.array([examples.rows[at]["label"] for at in examples.texts])
    learner = LogisticRegression(C=SETTINGS["C"], solver="liblinear", random_state=SETTINGS["seed"])
    learner.fit(examples.matrix[use], labels[use], sample_weight=weights[use] / weights[use].mean())
    found = learner.coef_.ravel()
    step = float(np.quantile(np.abs(found[found != 0]), 0.9999)) / 127 or 1.0
    whole = np.clip(np.rint(found / step), -127, 127).astype(np.int8)
    return Model(
        weights=memoryview(whole.tobytes()).cast("b"),
        step=round(step, 9),
        bias=round(float(learner.intercept_[0]), 6),
    )
