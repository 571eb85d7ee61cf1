"""What an engine has been told to do: the options, checked once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ConfigError
from ..guard.rules import Rules
from .normal import fold
from .rules import resolve
from .ruleset import BuiltInRules

# Taking things out is what the option ``redact`` is for.
_LEFT_TO_REDACT = ("data-protection", "privacy")

__all__ = ["Policy", "policy_of"]

_LONGEST_ALLOWED = 1_000  # characters: a longer value may reach a stream's reader in pieces


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Policy:
    """Options in the form that the engine works with; ``allow`` is folded like the texts it is compared with."""

    redacted: frozenset[str]
    deny_tools: tuple[str, ...]
    allow: frozenset[str]
    injection_threshold: int
    max_chars: int
    rules: Rules


def policy_of(
    *,
    redact: Iterable[str],
    deny_tools: Iterable[str],
    allow: Iterable[str],
    injection_threshold: int,
    max_chars: int,
    rules: Rules | None,
) -> Policy:
    """The policy for these options; what cannot be used is a `ConfigError`."""
    threshold = _whole("injection_threshold", injection_threshold, 1, 100)
    if rules is not None and not isinstance(rules, Rules):
        raise ConfigError(f"rules={type(rules).__name__} cannot decide: give an object with decide(facts, action=)")
    return Policy(
        redacted=resolve(_strings("redact", redact)),
        deny_tools=_strings("deny_tools", deny_tools),
        allow=frozenset(_allowed(value) for value in _strings("allow", allow, secret=True)),
        injection_threshold=threshold,
        max_chars=_whole("max_chars", max_chars, 1, None),
        rules=rules or BuiltInRules(thresholds={"security.injection": threshold}, without=_LEFT_TO_REDACT),
    )


def _strings(option: str, values: Iterable[str], *, secret: bool = False) -> tuple[str, ...]:
    if isinstance(values, str | bytes):
        given = "a single string" if secret else f"{values!r}, one string"
        raise ConfigError(f"{option} is {given}: give a tuple of strings, such as {option}=('…',)")
    strings = tuple(values)
    for value in strings:
        if not isinstance(value, str) or not value:
            given = type(value).__name__ if secret or value != "" else "an empty string"
            raise ConfigError(f"{option} holds {given}: every item has to be a string that is not empty")
    return strings


def _allowed(value: str) -> str:
    if len(value) > _LONGEST_ALLOWED or "-----BEGIN" in value:
        raise ConfigError(
            f"allow holds a private key or a value of more than {_LONGEST_ALLOWED} characters: "
            "give single, shorter values, such as the key of a documentation"
        )
    return fold(value)[0]


def _whole(option: str, value: int, least: int, most: int | None) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        limits = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise ConfigError(f"{option}={value!r} cannot be used: give a whole number {limits}")
    return value
