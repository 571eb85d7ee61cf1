"""What an engine has been told to do: the options, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import ConfigError
from ..guard.rules import Rules
from .allowance import Allow, Allowance, allowance_of
from .disguise import Disguise, disguise_of
from .kinds import resolve
from .readers.actions import Seen
from .readers.definitions import Firsts
from .readers.keywords import Listed, list_keywords
from .readers.tools import CATEGORIES
from .ruleset import BuiltInRules

# Taking things out is what the option ``redact`` is for.
_LEFT_TO_REDACT = ("data-protection", "privacy")
# A jailbreak is an injection here, and is stopped as one or, with a higher ``injection_threshold``, passes as one.
_LEFT_TO_THRESHOLD = ("security.jailbreak", "security.injection-and-jailbreak")

__all__ = ["Policy", "policy_of"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Policy:
    """Options in the form that the engine works with."""

    redacted: frozenset[str]
    deny_tools: tuple[str, ...]
    allow: Allowance
    injection_threshold: int
    max_chars: int
    rules: Rules
    disguise: Disguise
    seen: Seen
    keywords: Listed | None = None
    allow_hosts: tuple[str, ...] = ()  # patterns of hosts whose images may be shown
    tools: Mapping[str, str] = field(default_factory=dict)  # the category of tools, by patterns of their names
    vaulted: frozenset[str] = frozenset()  # types that a vault keeps: they are taken out as well


def policy_of(
    *,
    redact: Iterable[str],
    deny_tools: Iterable[str],
    allow: Allow,
    injection_threshold: int,
    max_chars: int,
    rules: Rules | None,
    disguise: Disguise | None = None,
    keywords: Mapping[str, Iterable[str]] | None = None,
    allow_hosts: Iterable[str] = (),
    tools: Mapping[str, str] | None = None,
    seen: Seen | None = None,
    without: Iterable[str] = (),
) -> Policy:
    """The policy for these options; what cannot be used is a `ConfigError`."""
    threshold = _whole("injection_threshold", injection_threshold, 1, 100)
    if rules is not None and not isinstance(rules, Rules):
        raise ConfigError(f"rules={type(rules).__name__} cannot decide: give an object with decide(facts, action=)")
    return Policy(
        redacted=resolve(_strings("redact", redact)),
        deny_tools=_strings("deny_tools", deny_tools),
        allow=allowance_of(allow),
        injection_threshold=threshold,
        max_chars=_whole("max_chars", max_chars, 1, None),
        rules=rules
        or BuiltInRules(
            thresholds={"security.injection": threshold}, without=(*_LEFT_TO_REDACT, *_LEFT_TO_THRESHOLD, *without)
        ),
        disguise=disguise or disguise_of("redact", None, None),
        seen=seen or Firsts(),
        keywords=list_keywords(keywords or {}),
        allow_hosts=tuple(host.lower() for host in _strings("allow_hosts", allow_hosts)),
        tools=_categories(tools or {}),
    )


def _strings(option: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str | bytes):
        raise ConfigError(f"{option} is {values!r}, one string: give a tuple of strings, such as {option}=('…',)")
    strings = tuple(values)
    for value in strings:
        if not isinstance(value, str) or not value:
            given = type(value).__name__ if value != "" else "an empty string"
            raise ConfigError(f"{option} holds {given}: every item has to be a string that is not empty")
    return strings


def _categories(tools: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(tools, Mapping):
        raise ConfigError(
            f"tools={type(tools).__name__} cannot be used: give a mapping, such as {{'wipe_*': 'dangerous'}}"
        )
    for pattern, category in tools.items():
        if not isinstance(pattern, str) or not pattern or category not in CATEGORIES:
            raise ConfigError(
                f"tools[{pattern!r}]={category!r} cannot be used: give one of {', '.join(CATEGORIES)}"
            )
    return dict(tools)


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
