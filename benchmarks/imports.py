"""What importing costs, in CPU time of fresh processes, interleaved; aim: at most 1.2 times its two dependencies.

Prints medians and the ratio of each case to ``import wrapt, opentelemetry.trace``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

CASES = {
    "wrapt + opentelemetry.trace": "import wrapt, opentelemetry.trace",
    "import highflame_middleware": "import highflame_middleware",
    "instrument()": "from highflame_middleware import instrument; instrument()",
    "instrument() and a first call's code": (
        "from highflame_middleware import instrument; instrument()\n"
        "import highflame_middleware.instrumentation.stainless, highflame_middleware.engine"
    ),
    "httpx": "import httpx",
}
ROUNDS = 15
TIMER = "import time; began = time.process_time()\n{}\nprint(time.process_time() - began)"


def main() -> None:
    """Run every case in turn, round after round."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for number in range(ROUNDS + 1):
        for name, script in CASES.items():
            done = subprocess.run(
                [sys.executable, "-c", TIMER.format(script)], capture_output=True, text=True, check=True
            )
            if number:  # the first round warms the caches
                times[name].append(float(done.stdout))
    base = statistics.median(times["wrapt + opentelemetry.trace"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:40} {median * 1000:7.1f} ms   {median / base:5.2f} x")


if __name__ == "__main__":
    main()
