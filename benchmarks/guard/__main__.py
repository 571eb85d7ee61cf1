"""The engine's figures in one table, each beside its gate and its aim::

    python -m benchmarks.guard

Of the extras only ``fast`` makes a difference, to the cost, where it is installed. The split of each figure is
described where it is made: `injection` leaves out whole sources and whole families, with their near-duplicates, and
makes a model of the rest; `values`, `cost` and `streams` measure detectors that learn nothing.
"""

from __future__ import annotations

import sys

from benchmarks.guard import cost, data, injection, streams, values

if not data.is_there():
    print(f"no data in {data.DATA}: set GUARD_DATA to the folder with attacks.jsonl.gz to measure the engine")
    sys.exit(0)
figures = [*injection.report(), *values.report(), *cost.report(), *streams.report()]
print("\nthe table")
for figure in figures:
    print(f"  {figure}")
