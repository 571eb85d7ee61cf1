"""Guards CrewAI: prompts, replies, calls of tools and their results, whichever way a crew, flow or agent is begun.

>>> import highflame_crewai
>>> sorted(highflame_crewai.__all__)[:2]
['CrewBlockedError', 'CrewGuardError']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highflame_middleware.checkpoint import StepUp

    from .crew import guard_crew, guarded
    from .errors import CrewBlockedError, CrewGuardError
    from .proof import self_test
    from .routing import highflame_llm

__all__ = [
    "CrewBlockedError",
    "CrewGuardError",
    "StepUp",
    "guard_crew",
    "guarded",
    "highflame_llm",
    "self_test",
]

_HOMES = {
    "CrewBlockedError": ".errors",
    "CrewGuardError": ".errors",
    "StepUp": "highflame_middleware.checkpoint",
    "guard_crew": ".crew",
    "guarded": ".crew",
    "highflame_llm": ".routing",
    "self_test": ".proof",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: CrewAI takes seconds to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] == ".errors":
        from .versions import require_crewai  # noqa: PLC0415

        require_crewai()
    return getattr(import_module(_HOMES[name], __name__), name)
