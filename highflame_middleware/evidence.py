"""What a verdict rests on and what comes with it: signals, redactions, policies, the session, a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "AgentIdentity",
    "Challenge",
    "DeterminingPolicy",
    "Receipt",
    "RedactionEntry",
    "SessionDelta",
    "Signal",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing that a detector saw; never the text it saw it in. ``score`` runs from 0 to 100."""

    name: str
    category: str = ""
    score: int = 0
    severity: str = "low"
    context_key: str = ""
    vulnerability_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionEntry:
    """Replace ``content[start_pos:end_pos]``, in characters, by ``replacement``.

    ``original`` is there for guards that report it; it stays out of reprs and pickles. The replacement
    may be a part of what it replaces, or a value put back: it stays out of reprs.
    """

    type: str
    start_pos: int
    end_pos: int
    replacement: str = field(repr=False)
    original: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        check_field(self, "start_pos", int)
        check_field(self, "end_pos", int)
        check_field(self, "replacement", str)

    def __reduce__(self) -> tuple[Any, ...]:
        return _redaction_entry, (self.type, self.start_pos, self.end_pos, self.replacement)


def check_field(value: object, name: str, *types: type) -> None:
    """Refuse a field of another type where a guard makes its answer, so that it counts as the guard's fault."""
    found = getattr(value, name)
    if not isinstance(found, types):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
        raise TypeError(f"{type(value).__name__}.{name} is {type(found).__name__}: it must be {wanted}")


def _redaction_entry(type_: str, start: int, end: int, replacement: str) -> RedactionEntry:
    return RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement=replacement)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminingPolicy:
    """A rule that a decision rests on. ``rule_id`` is the rule's own ``@id``, ``policy_id`` where it is kept."""

    rule_id: str
    policy_id: str | None = None
    policy_name: str | None = None
    effect: str | None = None
    mode: str | None = None
    category: str | None = None
    severity: str | None = None
    tags: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDelta:
    """How its session stands after one evaluation; the risk adds up, and never falls."""

    turn_count: int
    cumulative_risk: float
    max_sensitivity: str | None = None
    new_action: str | None = None
    tokens_used_delta: int | None = None
    original_request_set: bool | None = None
    context_hash: str | None = None
    chain_turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """Whom the guard took the caller for."""

    auth_method: str
    external_id: str
    sub_type: str
    trust_level: str
    name: str | None = None
    identity_type: str | None = None
    framework: str | None = None
    publisher: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A signature (Ed25519, in base64) over the canonical form of a verdict."""

    algorithm: str
    canonical: str = field(repr=False)
    key_id: str
    signature: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How a step_up is answered: poll with ``auth_req_id`` every ``interval`` seconds until it expires."""

    auth_req_id: str | None = field(default=None, repr=False)
    interval: float = 5.0
    expires_in: float | None = None
    binding_message: str | None = None
    authorization_details: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    www_authenticate: str | None = None
