"""What each kind of finding means: its signal, how grave it is, and whether it is taken out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ConfigError
from ..types import Signal
from . import assignments, secrets

__all__ = ["DEFAULT_REDACTED", "GROUPS", "Kind", "replacement_of", "resolve", "signal_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A group of findings as Shield names it: the signal, its context key, and how grave it is."""

    signal: str
    context_key: str
    score: int
    severity: str


_SECRET = Kind("secrets", "secrets_detected", 100, "critical")
_LIKELY = Kind("secrets", "secrets_detected", 80, "high")  # told by its name or its place, not by its form

_PERSONAL: dict[str, Kind] = {
    "credit_card": Kind("pii", "pii_detected", 95, "critical"),
    "ssn": Kind("pii", "pii_detected", 95, "critical"),
    "iban": Kind("pii", "pii_detected", 90, "high"),
    "email": Kind("pii", "pii_detected", 40, "low"),
    "phone": Kind("pii", "pii_detected", 40, "low"),
    "ip_address": Kind("pii", "pii_detected", 30, "low"),
}
_SECRETS: dict[str, Kind] = {
    "private_key": _SECRET,
    **{name.type: _LIKELY for name in assignments.NAMES},
    **{form.type: _SECRET for form in secrets.FORMATS},
}
_KINDS: dict[str, Kind] = {
    **_SECRETS,
    **_PERSONAL,
    "invisible": Kind("security", "invisible_chars_score", 60, "medium"),
    "hidden_text": Kind("security", "invisible_chars_score", 100, "critical"),
    "injection": Kind("injection", "injection_score", 100, "high"),
    "command": Kind("command_injection", "command_injection_score", 100, "critical"),
    "denied_tool": Kind("tool_risk", "tool_risk_score", 100, "high"),
}

GROUPS: dict[str, frozenset[str]] = {
    "secrets": frozenset(_SECRETS),
    "pii": frozenset(_PERSONAL),
    "invisible": frozenset({"invisible"}),
}

#: What is taken out unless told otherwise. Mail addresses, phones and IP addresses stay: agents work with them.
DEFAULT_REDACTED: tuple[str, ...] = ("secrets", "credit_card", "iban", "ssn", "invisible")


def resolve(names: Iterable[str]) -> frozenset[str]:
    """The types that names of types and of groups stand for.

    >>> sorted(resolve(["pii"]))[:3]
    ['credit_card', 'email', 'iban']
    """
    types: set[str] = set()
    for name in names:
        found = GROUPS.get(name) or ({name} if any(name in group for group in GROUPS.values()) else None)
        if found is None:
            known = ", ".join(sorted({*GROUPS, *_SECRETS, *_PERSONAL}))
            raise ConfigError(
                f"redact holds {name!r}, which the embedded engine does not detect; it knows: {known}"
            )
        types.update(found)
    return frozenset(types)


def signal_of(type_: str, *, category: str = "", score: int | None = None, severity: str = "") -> Signal:
    """The signal for a type of finding; it holds names and numbers, never what was found.

    >>> signal_of("iban")
    Signal(name='pii', category='iban', score=90, severity='high', context_key='pii_detected')
    """
    kind = _KINDS[type_]
    return Signal(
        name=kind.signal,
        category=category or type_,
        score=kind.score if score is None else score,
        severity=severity or kind.severity,
        context_key=kind.context_key,
    )


def replacement_of(type_: str) -> str:
    """What is put in the place of a finding: safe inside a JSON string, and no finding itself."""
    return "" if type_ == "invisible" else f"[REDACTED:{type_}]"
