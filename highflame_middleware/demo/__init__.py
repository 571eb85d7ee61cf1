"""The demo: everything on this machine, no account, no key, no network; a table, and some of its traces."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence

from ..extras import require

__all__ = ["run_demo"]

_WIDTH = 112
_COLUMNS = (("case", 25), ("what came of it", 46), ("on record", 35))


def run_demo() -> int:
    """Show the product in the terminal; returns the exit status."""
    for module, needed in (("openai", "openai>=1.40"), ("fastapi", "fastapi>=0.115"), ("uvicorn", "uvicorn>=0.30")):
        require(module, extra="demo", needed=needed)
    from .scene import MODES, Scene  # noqa: PLC0415 - after the friendly error

    logging.getLogger("highflame_middleware").setLevel(logging.CRITICAL)
    print(
        "A FastAPI app with HighflameMiddleware calls the real OpenAI SDK, which is instrumented and routed to\n"
        "an embedded gateway, whose provider answers from a script. Everything runs on this machine.\n"
    )
    with Scene() as scene:
        for mode in MODES:
            print(f"mode {mode}")
            _print_table([(row.case, row.outcome, row.record) for row in scene.play(mode)])
        print("Two of the traces, from the inbound request through the SDK to the gateway:\n")
        print(textwrap.indent(scene.traces(), "  "))
    return 0


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    rule = "─".join("─" * (width + 2) for _, width in _COLUMNS)
    print(f"┌{rule}┐")
    _print_row([name for name, _ in _COLUMNS])
    print(f"├{rule}┤")
    for number, row in enumerate(rows):
        if number:
            _print_row(["" for _ in _COLUMNS])
        _print_row(row)
    print(f"└{rule}┘\n")


def _print_row(cells: Sequence[str]) -> None:
    wrapped = [
        [line for part in cell.split("\n") for line in textwrap.wrap(part, width) or [""]]
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    ]
    for index in range(max(map(len, wrapped))):
        line = " │ ".join(
            f"{lines[index] if index < len(lines) else '':<{width}}"
            for lines, (_, width) in zip(wrapped, _COLUMNS, strict=True)
        )
        print(f"│ {line} │")
