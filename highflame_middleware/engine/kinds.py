"""What each kind of finding means: its signal, how grave it is, and whether it is taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..guard.rules import Fact
from ..types import Signal
from .values import assignments, secrets

__all__ = [
    "DEFAULT_REDACTED",
    "GROUPS",
    "Kind",
    "facts_of",
    "replacement_of",
    "resolve",
    "shield_types",
    "signal_of",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A group of findings as Shield names it: the signal, its context key, and how grave it is."""

    signal: str
    context_key: str
    score: int
    severity: str


_SECRET = Kind("secrets", "secrets_detected", 100, "critical")
_LIKELY = Kind("secrets", "secrets_detected", 80, "high")  # told by its name or its place, not by its form


def _personal(score: int) -> Kind:
    severity = "critical" if score >= 95 else "high" if score >= 80 else "medium" if score >= 50 else "low"
    return Kind("pii", "pii_detected", score, severity)


_PERSONAL: dict[str, Kind] = {
    "credit_card": _personal(95),
    "ssn": _personal(95),
    "itin": _personal(90),
    "national_id": _personal(90),
    "passport": _personal(90),
    "drivers_license": _personal(90),
    "iban": _personal(90),
    "bank_account": _personal(85),
    "medicare_beneficiary_id": _personal(90),
    "medical_record": _personal(80),
    "date_of_birth": _personal(60),
    "ptin": _personal(60),
    "tax_id": _personal(50),
    "ein": _personal(50),
    "medical_id": _personal(50),
    "npi": _personal(40),
    "aba_routing": _personal(40),
    "swift_bic": _personal(30),
    "bitcoin_address": _personal(40),
    "ethereum_address": _personal(40),
    "vin": _personal(40),
    "imei": _personal(40),
    "email": _personal(40),
    "phone": _personal(40),
    "ip_address": _personal(30),
    "mac_address": _personal(30),
}
_SECRETS: dict[str, Kind] = {
    **{name.type: _LIKELY for name in assignments.NAMES},
    **{form.type: _SECRET for form in secrets.FORMATS},
    "private_key": _SECRET,
    "bitcoin_private_key": _SECRET,
}
# What Shield's policies call a secret, beside our own name for it; an issuer's key that is not here is an api_key.
_SHIELDS: dict[str, tuple[str, ...]] = {
    "aws_access_key": (),
    "aws_secret_key": (),
    "aws_session_token": ("aws_secret_key",),
    "google_api_key": ("gcp_api_key", "api_key"),
    "google_oauth_token": ("oauth_token",),
    "google_oauth_secret": ("oauth_secret",),
    "google_signed_url": ("gcp_signed_policy",),
    "azure_client_secret": (),
    "azure_storage_key": ("azure_connection_string",),
    "azure_access_key": ("azure_connection_string",),
    "github_token": ("github_pat",),
    "private_key": ("ssh_private_key",),
    "url_password": ("database_url",),
    "generic_secret": ("generic_api_key", "api_key"),
    "jwt_token": (),
    "bearer_token": (),
    "http_basic_auth": (),
    "session_cookie": (),
    "password": (),
    "password_hash": (),
    "bitcoin_private_key": ("private_key",),
    "age_secret_key": ("encryption_key", "private_key"),
}
_KINDS: dict[str, Kind] = {
    **_SECRETS,
    **_PERSONAL,
    "invisible": Kind("security", "invisible_chars_score", 40, "medium"),
    "hidden_text": Kind("security", "invisible_chars_score", 100, "critical"),
    "injection": Kind("injection", "injection_score", 100, "high"),
    "command": Kind("command_injection", "command_injection_score", 100, "critical"),
    "denied_tool": Kind("tool_risk", "tool_risk_score", 100, "high"),
    "dangerous_tool": Kind("tool_risk", "tool_risk_score", 95, "critical"),
    "keyword": Kind("keyword", "keyword_matched", 50, "medium"),
    "encoded": Kind("encoded_injection", "encoded_score", 90, "high"),
    "exfiltration": Kind("exfiltration", "exfiltration_score", 90, "critical"),
    "sql_injection": Kind("sql_injection", "sql_injection_score", 80, "high"),
    "path_traversal": Kind("path_traversal", "path_traversal_detected", 80, "high"),
    "tool_poisoning": Kind("tool_poisoning", "tool_poisoning_score", 80, "high"),
    "cross_origin": Kind("cross_origin", "cross_origin_score", 75, "medium"),
    "rug_pull": Kind("rug_pull", "rug_pull_score", 90, "high"),
    "mcp_risk": Kind("mcp_risk", "mcp_risk_score", 75, "high"),
}

_MOST_COUNTED = 20

GROUPS: dict[str, frozenset[str]] = {
    "secrets": frozenset(_SECRETS),
    "pii": frozenset(_PERSONAL),
    "invisible": frozenset({"invisible"}),
}

#: What is taken out unless told otherwise: what opens a door, or proves who one is to an office or a bank.
#: Mail addresses, phones, dates, IP addresses and what firms print on their letters stay: agents work with them.
DEFAULT_REDACTED: tuple[str, ...] = (
    *("secrets", "credit_card", "iban", "bank_account", "ssn", "itin", "national_id", "passport"),
    *("drivers_license", "medicare_beneficiary_id", "invisible"),
)


def resolve(names: Iterable[str], *, option: str = "redact") -> frozenset[str]:
    """The types that names of types and of groups stand for.

    >>> sorted(resolve(["pii"]))[:3]
    ['aba_routing', 'bank_account', 'bitcoin_address']
    """
    types: set[str] = set()
    for name in names:
        found = GROUPS.get(name) or ({name} if any(name in group for group in GROUPS.values()) else None)
        if found is None:
            known = ", ".join(sorted({*GROUPS, *_SECRETS, *_PERSONAL}))
            raise ConfigError(
                f"{option} holds {name!r}, which the embedded engine does not detect; it knows: {known}"
            )
        types.update(found)
    return frozenset(types)


def signal_of(type_: str, *, category: str = "", score: int | None = None, severity: str = "") -> Signal:
    """The signal for a type of finding; it holds names and numbers, never what was found.

    >>> signal = signal_of("iban")
    >>> signal.name, signal.category, signal.score, signal.severity, signal.context_key
    ('pii', 'iban', 90, 'high', 'pii_detected')
    """
    kind = _KINDS[type_]
    return Signal(
        name=kind.signal,
        category=category or type_,
        score=kind.score if score is None else score,
        severity=severity or kind.severity,
        context_key=kind.context_key,
    )


def shield_types(type_: str) -> tuple[str, ...]:
    """The names under which Shield's policies may look for a type of value, our own first.

    >>> shield_types("github_token"), shield_types("stripe_key"), shield_types("iban")
    (('github_token', 'github_pat'), ('stripe_key', 'api_key'), ('iban',))
    """
    if type_ not in _SECRETS:
        return (type_,)
    return (type_, *_SHIELDS.get(type_, ("api_key",)))


def facts_of(types: Mapping[str, int]) -> dict[str, Fact]:
    """What types of values, and how often each was found, tell under Shield's context keys.

    Counts stop at 20: rules are asked anew whenever a fact changes.

    >>> facts_of({"email": 2, "iban": 1})
    {'pii_detected': True, 'pii_types': ('email', 'iban'), 'pii_count': 3}
    """
    facts: dict[str, Fact] = {}
    for signal, stem in (("secrets", "secret"), ("pii", "pii")):
        found = {type_: count for type_, count in types.items() if _KINDS[type_].signal == signal}
        if found:
            facts[f"{signal}_detected"] = True
            facts[f"{stem}_types"] = tuple(sorted({name for type_ in found for name in shield_types(type_)}))
            facts[f"{stem}_count"] = min(_MOST_COUNTED, sum(found.values()))
    return facts


def replacement_of(type_: str) -> str:
    """What is put in the place of a finding: safe inside a JSON string, and no finding itself."""
    return "" if type_ == "invisible" else f"[REDACTED:{type_}]"
