"""From settings to the policy that every door is run with."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from .config import Settings
from .errors import ConfigError
from .exchange import Policy
from .guard.protocol import bind

__all__ = ["guard_of", "policy_of"]

# What highflame-policy has no template for: stopped beside its defaults all the same.
_BESIDE_DEFAULTS = ("security.command-injection", "security.encoded-secret", "security.data-in-address")


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
        named=(
            guard if settings.guard == "embedded" else settings.guard,
            settings.shield_url,
            settings.key_for_shield,
            settings.account_id,
            settings.project_id,
        ),
    )


def guard_of(settings: Settings) -> Any:
    """The guard itself, made where it is only named; for doors that are to share one."""
    guard = settings.guard
    if guard == "embedded":
        return _embedded_of(settings)
    if settings.guard_options or settings.policies:
        raise ConfigError("guard_options and policies are for guard='embedded': leave them out with another guard")
    if guard == "shield":
        from .shield.client import Highflame  # noqa: PLC0415 - it is only loaded where it is asked

        return Highflame(settings=settings, timeout=settings.deadline).as_guard()
    return guard


def _embedded_of(settings: Settings) -> Any:
    if not settings.guard_options and not settings.policies:
        return _embedded()
    from .engine import EmbeddedGuard  # noqa: PLC0415 - its patterns are only read where it is used

    options = dict(settings.guard_options)
    known = inspect.signature(EmbeddedGuard).parameters
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(f"guard_options holds {unknown[0]!r}: the embedded guard has {', '.join(known)}")
    if str(url := options.get("sessions")).startswith(("redis://", "rediss://", "unix://")):
        from .sessions import RedisSessions  # noqa: PLC0415 - an extra

        options["sessions"] = RedisSessions(url)
    if settings.policies:
        if "rules" in options:
            raise ConfigError("guard_options.rules and policies both decide: give one of them")
        options["rules"] = _rules_of(settings.policies)
    return EmbeddedGuard(**options)


@functools.cache
def _embedded() -> Any:
    """The embedded guard as it comes: one for all doors of a process, so that they know the same sessions."""
    from .engine import EmbeddedGuard  # noqa: PLC0415 - its patterns are only read where it is used

    return EmbeddedGuard()


def _rules_of(policies: tuple[str, ...]) -> Any:
    """Policies in Cedar, each of which may stop a text."""
    from .engine import FACTS  # noqa: PLC0415
    from .engine.ruleset import BuiltInRules  # noqa: PLC0415
    from .guard.rules import Together  # noqa: PLC0415
    from .policies import PolicySet  # noqa: PLC0415 - an extra

    files = [item for item in policies if item != "default"]
    own = [PolicySet.from_files(*files, makes=FACTS)] if files else []
    if "default" not in policies:
        return own[0]
    beside = BuiltInRules(only=_BESIDE_DEFAULTS)
    return Together(PolicySet.default(redact=["data-protection", "privacy"], makes=FACTS), beside, *own)
