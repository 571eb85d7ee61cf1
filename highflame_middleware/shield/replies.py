"""What Shield answers beside verdicts: detections, its detectors, the loaded policies, recorded usage, events.

Read tolerantly, like verdicts: what has no name here is kept in ``extra``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidResponseError
from ..types import GuardResponse
from .fields import flag_of, list_of, load, number_of, table_of, text_of, texts_of, unknown, whole_of
from .messages import Incoming

__all__ = [
    "Detection",
    "Detector",
    "DetectorResult",
    "LoadedPolicies",
    "LoadedPolicy",
    "Recorded",
    "StreamEvent",
    "read_detection",
    "read_detectors",
    "read_policies",
    "read_recorded",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorResult:
    """What one detector made of a text: ``context`` by Shield's keys, ``latency_ms``, an error if it had one."""

    name: str
    status: str = ""
    tier: str = ""
    latency_ms: float = 0.0
    error: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What detectors made of a text, without policies; ``context`` is what all of them found, by Shield's keys."""

    context: Mapping[str, Any] = field(default_factory=dict, repr=False)
    detectors: tuple[DetectorResult, ...] = ()
    latency_ms: float = 0.0
    tiers_evaluated: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A detector that Shield has. ``context_keys`` are what it may say, for policies to read."""

    name: str
    tier: str = ""
    status: str = ""
    version: str = ""
    category: str | None = None
    description: str | None = None
    context_keys: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A policy that Shield has loaded; ``rule_ids`` are the ``@id`` of its rules."""

    policy_id: str
    policy_name: str = ""
    mode: str = ""
    category: str | None = None
    rule_ids: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicies:
    """The policies that a product's calls are judged by. With none, Shield lets everything pass."""

    product: str
    has_policies: bool = False
    policies: tuple[LoadedPolicy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Whether a model call was added to what has been spent, and its price in millionths of a US dollar."""

    recorded: bool
    priced: bool = False
    cost_micros: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event while Shield judges: ``detector_result``, ``decision``, or a type not known here.

    ``verdict`` is there with the decision, ``data`` as it came.
    """

    type: str
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    verdict: GuardResponse | None = None


def read_detection(reply: Incoming) -> Detection:
    """The detection in an answer."""
    payload = _object(reply, "context")
    return Detection(
        context=table_of(payload.get("context")),
        detectors=tuple(_result(item) for item in list_of(payload.get("detectors"))),
        latency_ms=number_of(payload.get("latency_ms")) or 0.0,
        tiers_evaluated=texts_of(payload.get("tiers_evaluated")),
        extra=unknown(payload, ("context", "detectors", "latency_ms", "tiers_evaluated")),
    )


def read_detectors(reply: Incoming) -> tuple[Detector, ...]:
    """The detectors in an answer."""
    named = ("name", "tier", "status", "version", "category", "description", "context_keys")
    return tuple(
        Detector(
            **{name: text_of(item.get(name)) or "" for name in ("name", "tier", "status", "version")},
            category=text_of(item.get("category")),
            description=text_of(item.get("description")),
            context_keys=_keys(item.get("context_keys")),
            extra=unknown(item, named),
        )
        for item in list_of(_object(reply, "detectors").get("detectors"))
    )


def read_policies(reply: Incoming, product: str) -> LoadedPolicies:
    """The policies in an answer."""
    payload = _object(reply, "policies")
    named = ("policy_id", "policy_name", "mode", "category", "rule_ids")
    policies = tuple(
        LoadedPolicy(
            **{name: text_of(item.get(name)) or "" for name in ("policy_id", "policy_name", "mode")},
            category=text_of(item.get("category")),
            rule_ids=texts_of(item.get("rule_ids")),
            extra=unknown(item, named),
        )
        for item in list_of(payload.get("policies"))
    )
    return LoadedPolicies(
        product=text_of(payload.get("product")) or product,
        has_policies=flag_of(payload.get("has_policies")) or bool(policies),
        policies=policies,
    )


def read_recorded(reply: Incoming) -> Recorded:
    """What became of a report of usage."""
    payload = _object(reply, "recorded")
    return Recorded(
        recorded=flag_of(payload.get("recorded")),
        priced=flag_of(payload.get("priced")),
        cost_micros=whole_of(payload.get("cost_micros")) or 0,
    )


def _object(reply: Incoming, needed: str) -> dict[str, Any]:
    payload = table_of(load(reply.content))
    if needed not in payload:
        raise InvalidResponseError(f"Shield's answer has no {needed!r}")
    return payload


def _result(item: dict[str, Any]) -> DetectorResult:
    return DetectorResult(
        **{name: text_of(item.get(name)) or "" for name in ("name", "status", "tier")},
        latency_ms=number_of(item.get("latency_ms")) or 0.0,
        error=text_of(item.get("error")),
        context=table_of(item.get("context")),
    )


def _keys(found: Any) -> tuple[str, ...]:
    """The names of context keys, which are told with what they mean, or without."""
    return texts_of(found) or tuple(key for item in list_of(found) if (key := text_of(item.get("key"))))
