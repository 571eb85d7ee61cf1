"""Makes the small model of injections from the data beside the checkout.

Run it from a checkout, with numpy, scipy and scikit-learn installed (nothing else needs them)::

    python -m benchmarks.train_injection

Without data (`benchmarks.guard.learning`) there is nothing to learn from and the script says so. It writes
`injection_model.bin` and `injection_model.json` into the package. How well models made so do on what they have not
seen is measured by `benchmarks.guard.injection`, and noted in the latter.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.guard.injection import figures, parts
from benchmarks.guard.learning import DATA, SETTINGS, Examples, Row, fit, labelled
from highflame_middleware.engine.wording.model import BITS, Model

MADE = Path(__file__).resolve().parents[1] / "highflame_middleware/engine/wording"


def write(model: Model, facts: Mapping[str, Any], folder: Path = MADE) -> None:
    """Leave the weights and what is to be known of them."""
    packed = zlib.compress(bytes(model.weights), 9)
    (folder / "injection_model.bin").write_bytes(packed)
    known = {
        "model": {"bits": BITS, "step": model.step, "bias": model.bias},
        "sha256": hashlib.sha256(packed).hexdigest(),
        "bytes": len(packed),
        **facts,
    }
    (folder / "injection_model.json").write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


def facts_of(rows: Sequence[Row], folder: Path = DATA) -> dict[str, Any]:
    """What a model was made of: settings, data by hash, texts by source, licences."""
    return {
        "settings": dict(SETTINGS),
        "data": {
            f"{name}.jsonl.gz": hashlib.sha256((folder / f"{name}.jsonl.gz").read_bytes()).hexdigest()
            for name in ("attacks", "benign", "harmful")
        },
        "texts": {label: dict(sorted(_count(rows, label).items())) for label in (0, 1)},
        "licences": sorted({row["licence"] for row in rows}),
    }


def _count(rows: Iterable[Row], label: int) -> Counter[str]:
    return Counter(row["source"] for row in rows if row["label"] == label)


def train(folder: Path = DATA) -> tuple[Model, dict[str, Any]]:
    """The model of all the data, and what it was made of."""
    rows = labelled(folder)
    examples = Examples(rows)
    return fit(examples, [True] * len(rows)), facts_of(rows, folder)


def main() -> int:
    if not (DATA / "attacks.jsonl.gz").exists():
        print(f"no data in {DATA}: set GUARD_DATA to the folder with attacks.jsonl.gz to train the model")
        return 0
    model, facts = train()
    write(model, facts | {"figures": figures(parts(labelled()))})
    used = sum(1 for weight in model.weights if weight)
    print(f"{used} weights, {(MADE / 'injection_model.bin').stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
