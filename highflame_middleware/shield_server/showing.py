"""Why a verdict is what it is, as far as that was asked for: rules, conditions, causes, detectors, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..engine.ruleset import BuiltInRules, Clause
from ..guard.rules import Listed, Rules
from ..types import Decision, DeterminingPolicy, GuardRequest, GuardResponse
from .detectors import Inventory, facts_of
from .tokens import Caller

__all__ = ["Shown"]

_PRODUCT = "guardrails"
_NAMESPACE = "Guardrails"
_GRAVITY = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_RESOURCES = {
    "call_tool": "Tool",
    "read_file": "FilePath",
    "write_file": "FilePath",
    "connect_server": "Server",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What can be shown of a guard: its detectors, and its rules where it has any that can be listed."""

    inventory: Inventory
    rules: Rules | None

    @property
    def policies(self) -> tuple[DeterminingPolicy, ...]:
        """The rules in force, as far as they are known."""
        return self.rules.policies if isinstance(self.rules, Listed) else ()

    def told(self, request: GuardRequest, verdict: GuardResponse, caller: Caller) -> GuardResponse:
        """The verdict with what its request asks to be told, and without the rest."""
        facts = facts_of(verdict.context)
        extra: dict[str, Any] = dict(verdict.extra)
        if request.explain or request.debug:
            extra |= self._explained(verdict, facts)
        if request.debug:
            extra["detectors"] = self.inventory.results(
                verdict.context, verdict.latency_ms, asked=request.detectors
            )
            extra["debug_info"] = self._inputs(request, caller)
        if request.optimize:
            extra["optimization"] = self.plan()
        signals = sorted(verdict.signals, key=lambda signal: (_GRAVITY.get(signal.severity, 4), -signal.score))
        return replace(
            verdict, signals=tuple(signals), context=verdict.context if request.debug else {}, extra=extra
        )

    def plan(self) -> dict[str, Any]:
        """Which detectors the rules need, and which they could do without."""
        known = isinstance(self.rules, Listed)
        keys = self.rules.reads if isinstance(self.rules, Listed) else frozenset[str]()
        rows = self.inventory.rows
        needed = set(self.inventory.needed(keys)) if known else {row.name for row in rows}
        entries = [
            {
                "name": row.name,
                "tier": row.tier,
                "reason": "policy_required" if row.name in needed else "not_required",
            }
            for row in rows
        ]
        return {
            "active_policies": [policy.rule_id for policy in self.policies],
            "required_context_keys": sorted(keys),
            "required_detectors": [entry for entry in entries if entry["name"] in needed],
            "skipped_detectors": [entry for entry in entries if entry["name"] not in needed],
            "fallback_to_all": not known,
            "reason": "what the rules read" if known else "what the guard reads is not known, so all of it runs",
        }

    def needed(self) -> tuple[str, ...]:
        """The detectors that run where only those are wanted that the rules need."""
        return tuple(entry["name"] for entry in self.plan()["required_detectors"])

    def listed(self, product: str) -> dict[str, Any]:
        """The rules in force, as Shield answers it: what belongs together under one name and mode."""
        by_policy: dict[tuple[str, str], list[DeterminingPolicy]] = {}
        for policy in self.policies:
            by_policy.setdefault((policy.policy_id or policy.rule_id, policy.mode or "enforce"), []).append(policy)
        summaries = [
            {
                "policy_id": id_,
                "policy_name": members[0].policy_name if len(members) == 1 else id_,
                "mode": mode,
                "rule_ids": [policy.rule_id for policy in members],
                "labels": {"source": id_},
                **({"category": category} if (category := _common(members)) is not None else {}),
            }
            for (id_, mode), members in by_policy.items()
        ]
        return {
            "product": product,
            "has_policies": self.rules is not None and (bool(summaries) or not isinstance(self.rules, Listed)),
            "policy_count": len(summaries),
            "policies": summaries,
        }

    def _explained(self, verdict: GuardResponse, facts: Mapping[str, Any]) -> dict[str, Any]:
        explanations = [self._explanation(policy, facts) for policy in verdict.determining_policies]
        unknown = {policy.rule_id for policy in verdict.determining_policies} - {
            policy.rule_id for policy in self.policies
        }
        actual = verdict.actual_decision or verdict.decision
        return {
            "explanation": {
                "effect": "Allow" if actual in (Decision.ALLOW, Decision.MODIFY) else "Deny",
                "explanations": explanations,
                "unmatched_policies": sorted(unknown),
            },
            "root_causes": self._causes(verdict, facts),
            "projected_context": dict(facts),
            "eval_latency_ms": 0,  # the rules are asked while the detectors read: there is no time of their own
            "tiers_evaluated": self.inventory.tiers,
            "tiers_skipped": [],
        }

    def _explanation(self, policy: DeterminingPolicy, facts: Mapping[str, Any]) -> dict[str, Any]:
        conditions: list[dict[str, Any]] = []
        if isinstance(self.rules, BuiltInRules):
            rows = [row for row in self.rules.rows if row.id == policy.rule_id]
            matching = [row for row in rows if all(clause.holds(facts) for clause in row.clauses)]
            conditions = [self._condition(clause, facts) for row in matching or rows for clause in row.clauses]
        return {
            "policy_id": policy.rule_id,
            "effect": "permit" if policy.effect == "permit" else "forbid",
            "summary": policy.policy_name or policy.rule_id,
            "condition_results": conditions,
        }

    def _condition(self, clause: Clause, facts: Mapping[str, Any]) -> dict[str, Any]:
        expected: Any
        if clause.at_least is not None:
            operator, expected = ">=", clause.at_least
        elif clause.among:
            operator, expected = "in", sorted(clause.among)
        else:
            operator, expected = "==", True
        return {
            "field": clause.key,
            "operator": operator,
            "expected": expected,
            "actual": facts.get(clause.key),
            "matched": clause.holds(facts),
            "source": {"detector": self.inventory.owner(clause.key)},
        }

    def _causes(self, verdict: GuardResponse, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each detector that signalled something has brought about."""
        ids = [policy.rule_id for policy in verdict.determining_policies]
        reads: dict[str, set[str]] = {}
        if isinstance(self.rules, BuiltInRules):
            for row in self.rules.rows:
                reads.setdefault(row.id, set()).update(clause.key for clause in row.clauses)
        causes: dict[str, dict[str, Any]] = {}
        for signal in verdict.signals:
            detector = self.inventory.owner(signal.context_key)
            own = {key: fact for key, fact in facts.items() if self.inventory.owner(key) == detector}
            cause = causes.setdefault(
                detector,
                {
                    "detector": detector,
                    "summary": "",
                    "triggered_policies": [
                        id_ for id_ in ids if id_ not in reads or not reads[id_].isdisjoint(own)
                    ],
                    "triggering_context": own,
                    "labels": {},
                    "evidence": {},
                },
            )
            named = f"{signal.name}: {signal.category} ({signal.severity}, {signal.score})"
            cause["summary"] = f"{cause['summary']}; {named}" if cause["summary"] else named
        return list(causes.values())

    def _inputs(self, request: GuardRequest, caller: Caller) -> dict[str, Any]:
        resource = _RESOURCES.get(request.action, "Session")
        return {
            "action": request.action,
            "entities": [],
            "loaded_policy_count": len(self.policies),
            "namespace": _NAMESPACE,
            "principal_id": caller.name,
            "principal_type": "User",
            "product": _PRODUCT,
            "resource_id": request.tool.name if request.tool is not None else "",
            "resource_type": resource,
            "tenant": {
                "account_id": caller.account_id,
                "application_id": "",
                "project_id": caller.project_id,
            },
        }


def _common(members: list[DeterminingPolicy]) -> str | None:
    """The category of all of them, where they have the same."""
    categories = {policy.category for policy in members}
    return categories.pop() if len(categories) == 1 else None
