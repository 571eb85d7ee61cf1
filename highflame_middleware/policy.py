"""From settings to the policy that every door is run with."""

from __future__ import annotations

from .config import Settings
from .exchange import Policy
from .guard.protocol import bind

__all__ = ["policy_of"]


def policy_of(settings: Settings) -> Policy:
    """How calls are guarded, with the guard made or bound."""
    guard = settings.guard
    if guard == "embedded":
        from .engine import EmbeddedGuard  # noqa: PLC0415 - its patterns are only read where it is used

        guard = EmbeddedGuard()
    return Policy(
        guard=bind(guard) if guard is not None else None,
        mode=settings.mode,
        fail_open=settings.fail_open,
        deadline=settings.deadline,
        stream=settings.stream,
        races=settings.guard_timing == "parallel",
    )
