"""One policy as it was written: whom and what it is about, what it reads, what its annotations make of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from ..types import Decision, DeterminingPolicy
from .schema import NAMESPACE, Action, cedar
from .statements import Statement

__all__ = ["STRATEGIES", "Policy", "policy_of"]

#: How a forbid with ``@redaction_strategy`` may have a text changed.
STRATEGIES = frozenset({"redact", "mask", "anonymize", "replace"})

_ROLES = {
    **{role: role for role in ("owner", "admin", "member", "self")},
    # What older policies call them.
    "customer_admin": "admin",
    "superadmin": "owner",
    "viewer": "member",
}
_FIELD = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ACTIONS = frozenset(Action)
_PRINCIPALS = frozenset({"User", "Agent"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """A policy, apart from its conditions, which only Cedar reads.

    ``calls_for`` is what it asks for when it matches: a forbid deny, modify or
    step_up, a permit allow or step_up. Where a score that it reads is below
    ``defer_below``, or the fact ``defer_until`` is not there, it asks for a defer.
    """

    id: str
    place: str
    file: str
    text: str = field(repr=False)
    effect: str
    calls_for: Decision
    mode: str
    category: str | None
    severity: str | None
    tags: tuple[str, ...]
    annotations: Mapping[str, str] = field(repr=False)
    actions: frozenset[Action]
    principals: frozenset[str]
    keys: frozenset[str]
    redaction: str = ""
    role: str = ""
    defer_below: int = 0
    defer_until: str = ""
    single_use: bool = False

    @property
    def reason(self) -> str:
        """What is said to whom it stops."""
        return self.annotations.get("reject_message") or self.annotations.get("name") or self.id

    @property
    def shown(self) -> DeterminingPolicy:
        """The policy as a verdict shows it."""
        return DeterminingPolicy(
            rule_id=self.id,
            policy_id=self.file,
            policy_name=self.annotations.get("name") or self.id,
            effect=self.effect,
            mode=self.mode,
            category=self.category,
            severity=self.severity,
            tags=self.tags,
            annotations=self.annotations,
        )


def policy_of(statement: Statement, *, redact: frozenset[str]) -> Policy:
    """Read one policy; what cannot be parsed, or would not do what it says, is a `ConfigError` with its place."""

    def refuse(why: str) -> ConfigError:
        return ConfigError(f"{statement.place}: {why}")

    body = _parsed(statement)
    effect = body["effect"]
    # An annotation without a value is there all the same.
    annotations = {key: value or "" for key, value in (body.get("annotations") or {}).items()}
    id_ = annotations.get("id") or f"{statement.file}#{statement.number}"
    tags = tuple(tag.strip() for tag in annotations.get("tags", "").split(",") if tag.strip())
    category = next((tag[9:] for tag in tags if tag.startswith("category:")), id_.partition(".")[0])
    mode = annotations.get("mode", "enforce")
    if mode not in ("enforce", "monitor", "alert") or (effect == "permit" and mode != "enforce"):
        raise refuse(f"@mode({mode!r}): a forbid may have enforce, monitor or alert, a permit only enforce")
    redaction = annotations.get("redaction_strategy", "")
    if redaction and (redaction not in STRATEGIES or effect == "permit"):
        raise refuse(f"@redaction_strategy({redaction!r}): on a forbid, one of {', '.join(sorted(STRATEGIES))}")
    if effect == "forbid" and not redaction and not redact.isdisjoint((id_, category)):
        redaction = "redact"
    if "single_use" in annotations and effect == "forbid":
        raise refuse("@single_use on a forbid: it belongs on a permit")
    role = _role(annotations, refuse)
    calls_for = Decision.DENY if effect == "forbid" else Decision.ALLOW
    if redaction:
        calls_for = Decision.MODIFY
    if role:
        calls_for = Decision.STEP_UP
    until = annotations.get("defer_until_context", "")
    if "defer_until_context" in annotations and not _FIELD.fullmatch(until):
        raise refuse(f"@defer_until_context({until!r}): give the name of one fact")
    return Policy(
        id=id_,
        place=statement.place,
        file=statement.file,
        text=statement.text,
        effect=effect,
        calls_for=calls_for,
        mode=mode,
        category=category or None,
        severity=annotations.get("severity"),
        tags=tags,
        annotations=annotations,
        actions=_actions(body["action"]),
        principals=_principals(body["principal"]),
        keys=frozenset(_keys(body["conditions"])),
        redaction=redaction if calls_for is Decision.MODIFY else "",
        role=role,
        defer_below=_threshold(annotations, refuse),
        defer_until=until,
        single_use="single_use" in annotations,
    )


def _parsed(statement: Statement) -> dict[str, Any]:
    try:
        parsed = json.loads(cedar().policies_to_json_str(statement.text))
    except RecursionError:
        raise ConfigError(f"{statement.place}: the policy is nested too deeply: make several of it") from None
    except ValueError as error:  # also what cannot be encoded
        raise ConfigError(f"{statement.place}: not a Cedar policy: {str(error)[:300]}") from None
    if parsed["templates"]:
        raise ConfigError(f"{statement.place}: a template (?principal, ?resource) is about nobody")
    bodies = list(parsed["staticPolicies"].values())
    if len(bodies) != 1:
        raise ConfigError(f"{statement.place}: {len(bodies)} policies where there should be one")
    body: dict[str, Any] = bodies[0]
    return body


def _role(annotations: Mapping[str, str], refuse: Any) -> str:
    """Who has to approve, of ``@step_up_required("admin")`` or ``("role=admin,timeout_seconds=3600")``."""
    if "step_up_required" not in annotations:
        return ""
    written = annotations["step_up_required"]
    given = dict(part.strip().partition("=")[::2] for part in written.split(",")) if "=" in written else {}
    role = _ROLES.get(given.pop("role", "") if "=" in written else written, "")
    timeout = given.pop("timeout_seconds", "86400")
    if not role or given or not timeout.isdecimal() or not 60 <= int(timeout[:9]) <= 604_800:
        raise refuse(
            f"@step_up_required({written!r}): give the role owner, admin, member or self, "
            "and if need be timeout_seconds from 60 to 604800"
        )
    return role


def _threshold(annotations: Mapping[str, str], refuse: Any) -> int:
    """The score, from 0 to 100, below which ``@defer_below_confidence("0.85")`` waits."""
    if "defer_below_confidence" not in annotations:
        return 0
    written = annotations["defer_below_confidence"].removeprefix("threshold=")
    if not re.fullmatch(r"[01](\.\d{1,6})?", written) or float(written) > 1:
        raise refuse(f"@defer_below_confidence({written!r}): give a number from 0.0 to 1.0")
    return -(-round(float(written) * 1_000_000) // 10_000)  # a score is below it if it is below the next whole one


def _actions(scope: Mapping[str, Any]) -> frozenset[Action]:
    """The actions that a policy's head lets through; all of them where it does not say so plainly."""
    named = scope.get("entities") or ([scope["entity"]] if "entity" in scope else [])
    if scope.get("op") not in ("==", "in") or not named:
        return _ACTIONS
    names = {entity["id"] for entity in named if entity["type"] == f"{NAMESPACE}::Action"}
    return frozenset(action for action in Action if action.value in names)


def _principals(scope: Mapping[str, Any]) -> frozenset[str]:
    kind = scope.get("entity_type") if scope.get("op") == "is" else None
    return _PRINCIPALS if kind is None else frozenset({kind.removeprefix(f"{NAMESPACE}::")})


def _keys(conditions: Any) -> Iterator[str]:
    """Every attribute of the context that is read or asked for; without calling itself, for it may be deep."""
    waiting: list[Any] = [conditions]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            if node.get("left") == {"Var": "context"} and isinstance(node.get("attr"), str):
                yield node["attr"]
            waiting += node.values()
