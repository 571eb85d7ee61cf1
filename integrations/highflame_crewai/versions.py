"""Which CrewAI can be guarded: where a hook's abort stops what it was asked about, at every point."""

from __future__ import annotations

from typing import Any

from highflame_middleware.extras import require

__all__ = ["FLOOR", "require_crewai"]

# Below it a hook that says no is swallowed: before 1.15.5 everywhere, before 1.15.19 about tools' results.
FLOOR = "1.15.19"


def require_crewai() -> Any:
    """CrewAI itself, or a `MissingExtraError` that names the version found and the one needed."""
    # A version that is too old has other modules: it is refused before any of them is looked for.
    return require("crewai", extra="crewai", needed=f"crewai>={FLOOR}")
