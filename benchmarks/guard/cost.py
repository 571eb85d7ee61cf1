"""What a text costs: CPU of this thread, the best of some runs, by kilobyte of text as UTF-8."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import thread_time

from benchmarks.guard.data import Figure, load
from highflame_middleware.engine import EmbeddedGuard, literals
from highflame_middleware.types import GuardRequest, Stage

__all__ = ["report"]

RUNS = 5


def cpu(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(RUNS):
        began = thread_time()
        call()
        best = min(best, thread_time() - began)
    return best


def report() -> list[Figure]:
    """Print the cost of benign texts by stage; give the median where all of the engine reads: at the prompt."""
    guard = EmbeddedGuard()
    texts = [row["text"] for row in load("benign") if 500 <= len(row["text"]) <= 4_000][:400]
    extras = "with [fast]" if literals.Literals(("a",)).within("") is not None else "without extras"
    print(f"\ncost of {len(texts)} benign texts of 0.5 to 4 thousand characters, {extras}: ms per KB")
    medians = {}
    gc.disable()
    try:
        for stage in Stage:
            spent = []
            for text in texts:
                request = GuardRequest.at(stage, text)
                took = cpu(lambda request=request: guard.evaluate(request))  # type: ignore[misc]
                spent.append(took * 1e3 / (len(text.encode("utf-8", "replace")) / 1_024))
            spent.sort()
            medians[stage] = spent[len(spent) // 2]
            print(f"  {stage.value:12} p50 {medians[stage]:.3f}   p95 {spent[int(len(spent) * 0.95)]:.3f}")
    finally:
        gc.enable()
    return [
        Figure("CPU at the prompt stage, all tiers, median", medians[Stage.PROMPT], 1.0, 0.3, "ms/KB", most=True)
    ]
