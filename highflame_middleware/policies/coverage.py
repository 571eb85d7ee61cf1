"""What policies read, and what of that nobody ever tells them: a policy that reads such a fact never speaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .reading import Policy
from .schema import OURS, Schema

__all__ = ["Coverage", "coverage_of"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one policy reads, and what of that is never told: no detector makes it, or no action takes it."""

    policy: str
    keys: frozenset[str]
    missing: frozenset[str]


def coverage_of(policies: Iterable[Policy], schema: Schema, makes: frozenset[str] | None) -> tuple[Coverage, ...]:
    """The coverage of each policy, where detectors make these facts; None: all that the schema has."""
    tellable = {
        action: frozenset(
            key
            for key, kind in kinds.items()
            if kind.type is not None and (makes is None or key in makes or key in OURS)
        )
        for action, kinds in schema.facts.items()
    }
    told = {policy: frozenset[str]().union(*(tellable[action] for action in policy.actions)) for policy in policies}
    return tuple(Coverage(policy.id, policy.keys, policy.keys - keys) for policy, keys in told.items())
