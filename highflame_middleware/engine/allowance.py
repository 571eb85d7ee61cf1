"""What is never reported: values that a user knows to be harmless, for everything or for one type of finding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ..errors import ConfigError
from .kinds import resolve
from .normal import fold

__all__ = ["Allow", "Allowance", "allowance_of"]

LONGEST = 1_000  # characters: a longer value may reach a stream's reader in pieces
_PATTERN = "re:"
_MOST = 10_000  # values and patterns

# As an option: values, or for names of types and of groups the values and patterns that are allowed there.
Allow: TypeAlias = Iterable[str] | Mapping[str, Iterable[str | re.Pattern[str]]]
_Test: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True, repr=False)
class Allowance:
    """Tells of a value whether it is allowed; values are folded, like the texts that they are compared with."""

    anywhere: frozenset[str] = frozenset()
    by_type: Mapping[str, tuple[frozenset[str], tuple[_Test, ...]]] = field(default_factory=dict)

    def covers(self, type_: str, value: str) -> bool:
        """Whether a value that was found to be of a type is to be passed over.

        >>> allowance_of({"email": ["@example.com"]}).covers("email", "Jo@Example.com")
        True
        """
        if value in self.anywhere:
            return True
        if type_ not in self.by_type or len(value) > LONGEST:
            return False
        values, tests = self.by_type[type_]
        return value in values or any(test(value) for test in tests)


def allowance_of(allow: Allow) -> Allowance:
    """The allowance for this option; what cannot be used is a `ConfigError`.

    In a mapping, ``"re:…"`` and compiled patterns have to match a value as a whole; an e-mail address may
    be allowed by its domain, ``"@example.com"``, an IP address by its network, ``"10.0.0.0/8"``.

    >>> allowance_of({"ip_address": ["10.0.0.0/8"], "secrets": ["re:sk-test-.*"]}).covers("ip_address", "10.1.2.3")
    True
    """
    if not isinstance(allow, Mapping):
        return Allowance(frozenset(map(_value, _items("allow", allow))))
    by_type: dict[str, tuple[frozenset[str], tuple[_Test, ...]]] = {}
    for name, items in allow.items():
        option = f"allow[{name!r}]"
        types = resolve([name], option="allow")
        given = _items(option, items)
        if name == "private_key" and given:
            raise ConfigError(
                "allow names private_key: a key of many lines cannot be compared while it is streamed"
            )
        for type_ in types - {"private_key"}:
            values, tests = by_type.get(type_, (frozenset(), ()))
            for item in given:
                test = _test(option, type_, item)
                if test is not None:
                    tests += (test,)
                elif isinstance(item, str):
                    values |= {_value(item)}
            by_type[type_] = values, tests
    return Allowance(by_type=by_type)


def _items(option: str, items: object) -> tuple[str | re.Pattern[str], ...]:
    if isinstance(items, str | bytes):
        raise ConfigError(f"{option} is a single string: give a tuple of strings, such as {option}=('…',)")
    if not isinstance(items, Iterable):
        raise ConfigError(f"{option} is {type(items).__name__}: give a tuple of strings")
    given = tuple(items)
    for item in given:
        compiled = isinstance(item, re.Pattern) and isinstance(item.pattern, str) and option != "allow"
        if not compiled and (not isinstance(item, str) or not item):
            raise ConfigError(
                f"{option} holds {type(item).__name__}: every item has to be a string that is not empty"
            )
    if len(given) > _MOST:
        raise ConfigError(f"{option} holds more than {_MOST:_} values: give a pattern instead")
    return given


def _test(option: str, type_: str, item: str | re.Pattern[str]) -> _Test | None:
    """What tells whether a value is allowed by an item; None when the item is the value itself."""
    if isinstance(item, re.Pattern):
        return _matching(item)
    if item.startswith(_PATTERN):
        try:
            return _matching(re.compile(item[len(_PATTERN) :]))
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(f"{option} holds a pattern that cannot be read: {error}") from None
    if type_ == "email" and item.startswith("@"):
        domain = fold(item)[0].lower()
        return lambda value: value.lower().endswith(domain)
    if type_ == "ip_address" and "/" in item:
        return _in_network(option, item)
    return None


def _matching(pattern: re.Pattern[str]) -> _Test:
    return lambda value: pattern.fullmatch(value) is not None


def _in_network(option: str, item: str) -> _Test:
    import ipaddress  # noqa: PLC0415 - few name a network

    try:
        network = ipaddress.ip_network(item, strict=False)
    except ValueError as error:
        raise ConfigError(f"{option} holds a network that cannot be read: {error}") from None

    def test(value: str) -> bool:
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return test


def _value(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST or "-----BEGIN" in value:
        raise ConfigError(
            f"allow holds a private key or a value of more than {LONGEST} characters: "
            "give single, shorter values, such as the key of a documentation"
        )
    return fold(value)[0]
