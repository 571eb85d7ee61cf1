"""From settings to the policy that every door is run with."""

from __future__ import annotations

from typing import Any

from .config import Settings
from .exchange import Policy
from .guard.protocol import bind

__all__ = ["guard_of", "policy_of"]


def policy_of(settings: Settings) -> Policy:
    """How calls are guarded, with the guard made or bound."""
    guard = guard_of(settings)
    return Policy(
        guard=bind(guard) if guard is not None else None,
        mode=settings.mode,
        fail_open=settings.fail_open,
        deadline=settings.deadline,
        stream=settings.stream,
        races=settings.guard_timing == "parallel",
        on_decision=settings.on_decision,
    )


def guard_of(settings: Settings) -> Any:
    """The guard itself, made where it is only named; for doors that are to share one."""
    guard = settings.guard
    if guard == "embedded":
        from .engine import EmbeddedGuard  # noqa: PLC0415 - its patterns are only read where it is used

        return EmbeddedGuard()
    if guard == "shield":
        from .shield.guard import ShieldGuard  # noqa: PLC0415 - nor is its client

        return ShieldGuard.of(settings)
    return guard
