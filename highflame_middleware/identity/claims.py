"""What a verified token says: who presents it, on whose behalf, from which tenant, and how far it reaches. Pure.

ZeroID writes tokens in two profiles. In the *legacy* one (no ``principal_type``) the subject presents the token,
and ``act`` names who delegated to it or made its key: neither is acting. In *rfc8693* the subject is where the
chain began, a person or a workload; the outermost ``act`` presents the token, and those inside it did so before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import ConfigError

__all__ = ["MAX_ACTORS", "REFUSED_STATUSES", "TRUST_LEVELS", "Actor", "AgentClaims", "read_claims", "trust_of"]

MAX_ACTORS = 16  # of a chain; a token with more is none of ZeroID's
TRUST_LEVELS = ("unverified", "verified_third_party", "first_party")
REFUSED_STATUSES = frozenset({"deactivated", "expired", "suspended"})
_TEXTS = (
    "iss", "sub", "jti", "account_id", "project_id", "user_id", "owner_user_id", "external_id", "identity_type",
    "sub_type", "trust_level", "status", "name", "grant_type", "principal_type", "mission_id", "session_id",
    "task_id", "task_type", "application_id", "user_email", "role", "workspace", "environment", "framework",
    "version", "publisher",
)  # fmt: skip


def trust_of(level: str) -> int:
    """Where a level stands in the order of trust; one that is unknown, or absent, below all.

    >>> trust_of("first_party") > trust_of("unverified") > trust_of("")
    True
    """
    return TRUST_LEVELS.index(level) if level in TRUST_LEVELS else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One level of an ``act`` chain. Only the outermost one of an rfc8693 token has more than ``sub``."""

    sub: str
    iss: str = ""
    identity_type: str = ""
    trust_level: str = ""
    external_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentClaims:
    """A verified token's claims; what it does not say is empty.

    ``external_id``, ``identity_type`` and ``trust_level`` are the current actor's, in either profile. ``actors``
    are the levels of ``act``, outermost first: to be read through `current_actor`, `prior_actors` and `human`.
    ``issued_at``, ``expires_at`` and ``not_before`` are seconds since 1970. ``raw`` is the payload as it came.

    >>> legacy = read_claims({"sub": "spiffe://d/a/p/agent/writer", "act": {"sub": "user-1"}, "scopes": ["x"]})
    >>> legacy.current_actor, legacy.human, legacy.prior_actors, legacy.scopes
    ('spiffe://d/a/p/agent/writer', None, (), ('x',))
    >>> chain = {"sub": "spiffe://d/a/p/agent/writer", "act": {"sub": "spiffe://d/a/p/agent/editor"}}
    >>> delegated = read_claims({"sub": "user-1", "principal_type": "user", "act": chain})
    >>> delegated.current_actor, delegated.human, delegated.prior_actors
    ('spiffe://d/a/p/agent/writer', 'user-1', ('spiffe://d/a/p/agent/editor',))
    """

    sub: str
    iss: str = ""
    aud: tuple[str, ...] = ()
    jti: str = ""
    issued_at: float = 0.0
    expires_at: float = math.inf
    not_before: float = 0.0
    resource: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    account_id: str = ""
    project_id: str = ""
    user_id: str = ""
    owner_user_id: str = ""
    user_email: str = ""
    external_id: str = ""
    identity_type: str = ""
    sub_type: str = ""
    trust_level: str = ""
    status: str = ""
    name: str = ""
    framework: str = ""
    version: str = ""
    publisher: str = ""
    role: str = ""
    grant_type: str = ""
    principal_type: str = ""
    delegation_depth: int = 0
    actors: tuple[Actor, ...] = ()
    mission_id: str = ""
    session_id: str = ""
    task_id: str = ""
    task_type: str = ""
    application_id: str = ""
    workspace: str = ""
    environment: str = ""
    capabilities: tuple[str, ...] = ()
    allowed_tools: tuple[str, ...] = ()
    jkt: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_legacy(self) -> bool:
        """Whether the token is of the profile in which ``act`` is no chain of actors."""
        return not self.principal_type

    @property
    def current_actor(self) -> str:
        """Who presents the token: whom to authorize."""
        if not self.is_legacy and self.actors and self.actors[0].sub:
            return self.actors[0].sub
        return self.sub

    @property
    def prior_actors(self) -> tuple[str, ...]:
        """Who presented it before, latest first: for the record, not to be authorized."""
        return () if self.is_legacy else tuple(actor.sub for actor in self.actors[1:])

    @property
    def human(self) -> str | None:
        """The person behind the call, where there is one: never an actor, and never from a legacy ``act``."""
        return self.sub if self.principal_type == "user" and self.sub else None

    @property
    def tenant(self) -> tuple[str, str]:
        """Account and project."""
        return self.account_id, self.project_id

    @property
    def is_delegated(self) -> bool:
        """Whether it was delegated by another agent."""
        return self.delegation_depth > 0

    def lacks(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """Those of the scopes that it does not have.

        >>> read_claims({"sub": "a", "scope": "tools:read tools:write"}).lacks(["tools:read", "tools:execute"])
        ('tools:execute',)
        """
        return tuple(scope for scope in scopes if scope not in self.scopes)

    def is_trusted(self, minimum: str) -> bool:
        """Whether the current actor is trusted at least so much; a `ConfigError` for a level that there is not."""
        if minimum not in TRUST_LEVELS:
            raise ConfigError(f"trust level {minimum!r} is unknown: use one of {', '.join(TRUST_LEVELS)}")
        return trust_of(self.trust_level) >= trust_of(minimum)


def read_claims(payload: Mapping[str, Any]) -> AgentClaims:
    """The claims of a payload whose signature was verified; what is of the wrong type is as if absent.

    A chain of more than `MAX_ACTORS`, or with a level that names nobody, is a `ValueError`: what it leaves out
    might be who is acting. So is a token that is bound to its holder in a way that cannot be checked here.
    """
    texts = {name: value for name in _TEXTS if isinstance(value := payload.get(name), str)}
    actors = _actors(payload.get("act"))
    if texts.get("principal_type") and actors:
        # Beside an actor the top level describes the principal: an attribute that the actor lacks is nobody's.
        first = actors[0]
        texts |= {
            "external_id": first.external_id,
            "identity_type": first.identity_type,
            "trust_level": first.trust_level,
        }
    texts.setdefault("sub", "")
    return AgentClaims(
        **texts,
        aud=_listed(payload.get("aud")),
        resource=_listed(payload.get("resource")),
        scopes=_scopes(payload),
        capabilities=_strings(payload.get("capabilities")),
        allowed_tools=_strings(payload.get("allowed_tools")),
        issued_at=_moment(payload.get("iat"), 0.0),
        expires_at=_moment(payload.get("exp"), math.inf),
        not_before=_moment(payload.get("nbf"), 0.0),
        delegation_depth=int(_moment(payload.get("delegation_depth"), 0.0)),
        actors=actors,
        jkt=_bound(payload.get("cnf")),
        raw=MappingProxyType(dict(payload)),
    )


def _scopes(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """ZeroID's array, or the words of the string that other issuers write; not both, which might disagree."""
    listed, written = payload.get("scopes"), payload.get("scope")
    if isinstance(listed, list):
        return _strings(listed)
    return tuple(written.split()) if isinstance(written, str) else _strings(written)


def _actors(found: Any) -> tuple[Actor, ...]:
    actors: list[Actor] = []
    while found is not None:
        if not isinstance(found, Mapping) or not isinstance(found.get("sub"), str) or not found["sub"]:
            raise ValueError("a level of its act chain names nobody")
        if len(actors) == MAX_ACTORS:
            raise ValueError(f"its act chain has more than {MAX_ACTORS} levels")
        texts = ("sub", "iss", "identity_type", "trust_level", "external_id")
        actors.append(Actor(**{name: found[name] for name in texts if isinstance(found.get(name), str)}))
        found = found.get("act")
    return tuple(actors)


def _bound(confirmation: Any) -> str:
    """The thumbprint of the key that a token is for, if it is for one."""
    if confirmation is None:
        return ""
    jkt = confirmation.get("jkt") if isinstance(confirmation, Mapping) else None
    if not isinstance(jkt, str) or not jkt or not jkt.isascii():
        raise ValueError("it is bound to its holder by something else than a key's thumbprint (cnf)")
    return jkt


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _listed(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else _strings(value)


def _moment(value: Any, absent: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return absent
    try:
        return float(value) if math.isfinite(value) else absent
    except OverflowError:
        return absent
