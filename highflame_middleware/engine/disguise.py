"""What is put in the place of a value: a mark, a mask, a fake of the same form, or a text of the user's.

None of it is taken for a value again when the text comes back, as part of a
conversation's history.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..sessions.pseudonyms import drawn, is_pseudonym, pseudonym
from .kinds import replacement_of, resolve

__all__ = ["STRATEGIES", "Disguise", "disguise_of", "is_disguised", "is_fake", "mask"]

STRATEGIES = ("redact", "mask", "anonymize", "replace")
_LONGEST = 512  # characters of a value: a longer one is only marked
_LONGEST_LITERAL = 200
_KEPT = frozenset(" -./:@+()_")  # signs that belong to the form of a value
_MOST_SHOWN = 4  # characters at the end of a masked value, and never more than a quarter of it
# The end of one tells too much of it: it is chosen by somebody, or there are few of them.
_HIDDEN = frozenset({"password", "ip_address", "mac_address", "date_of_birth"})


@dataclass(frozen=True, slots=True, repr=False)
class Disguise:
    """The strategy for each type, what is told to ``replace``, and the key of the fakes."""

    strategies: Mapping[str, str]
    literals: Mapping[str, str]
    key: bytes

    @property
    def invents(self) -> bool:
        """Whether fakes may be among the texts."""
        return "anonymize" in self.strategies.values()

    def of(self, type_: str, value: str | None, *, scope: str, asked: str = "") -> str:
        """What to put in the place of a value of a type; of a value without an end (None) only its type is known.

        ``asked`` is the strategy that a policy names, if it names one that can be followed.
        """
        strategy = self.strategies.get(type_, "redact")
        if asked in STRATEGIES and (asked != "replace" or type_ in self.literals):
            strategy = asked
        if strategy == "replace":
            return self.literals.get(type_, replacement_of(type_))
        if strategy == "redact" or value is None or len(value) > _LONGEST or "\\" in value:
            return replacement_of(type_)
        if strategy == "mask":
            return mask(type_, value)
        fake = _FAKES.get(type_)
        seed = drawn(self.key, scope, type_, value)
        return fake(value, seed) if fake is not None else pseudonym(self.key, scope, type_, value)


def disguise_of(
    strategy: str | Mapping[str, str], replacements: Mapping[str, str] | None, key: bytes | None
) -> Disguise:
    """The options, checked; what cannot be used is a `ConfigError`."""
    literals: dict[str, str] = {}
    for name, literal in dict(replacements or {}).items():
        for type_ in resolve([name]):
            literals[type_] = _literal(name, literal)
    given = {"secrets": strategy, "pii": strategy} if isinstance(strategy, str) else dict(strategy)
    strategies: dict[str, str] = {}
    # Groups first: what is said of one type counts more.
    for name, chosen in sorted(given.items(), key=lambda item: -len(resolve([item[0]]))):
        if chosen not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise ConfigError(f"strategy={chosen!r} for {name!r} cannot be used: it must be one of {known}")
        for type_ in resolve([name]):
            if chosen == "replace" and type_ not in literals and not isinstance(strategy, str):
                raise ConfigError(f"strategy says to replace {type_!r}: say by what, with replacements={{…}}")
            strategies[type_] = chosen
    if key is not None and (not isinstance(key, bytes) or len(key) < 16):
        raise ConfigError("anonymize_key cannot be used: give at least 16 bytes that nobody can guess")
    return Disguise(strategies, literals, key or os.urandom(32))


def mask(type_: str, value: str) -> str:
    """A value with all but its form, and at most its last four characters, taken out.

    >>> mask("credit_card", "4111 1111 1111 1234"), mask("email", "ada@example.org"), mask("password", "hunter22")
    ('**** **** **** 1234', 'a**@example.org', '********')
    """
    if type_ == "email" and "@" in value:
        local, _, domain = value.rpartition("@")
        shown = local[0] if len(local) > 2 and local[0].isalnum() else "*"
        return f"{shown}{'*' * max(2, len(local) - 1)}@{domain}"
    count = sum(character.isalnum() for character in value)
    left = count - (0 if type_ in _HIDDEN else min(_MOST_SHOWN, count // 4))
    out = []
    for character in value:
        if character.isalnum():
            out.append("*" if left > 0 else character)
            left -= 1
        else:
            out.append(character if character in _KEPT else "*")
    return "".join(out)


def is_disguised(type_: str, value: str) -> bool:  # noqa: ARG001 - the form is the same for all types
    """Whether what looks like a value is one that has been taken out already: a pseudonym, or a mask.

    >>> [is_disguised("password", value) for value in ("[EMAIL_kqzrtbnmwdfg]", "******22", "hunter22")]
    [True, True, False]
    """
    if value.startswith("["):
        return is_pseudonym(value)
    stars = value.count("*")
    return stars >= 3 and stars >= 3 * sum(character.isalnum() for character in value)


def is_fake(type_: str, value: str) -> bool:
    """Whether a value of a type has the form of a fake; none of these can be anybody's.

    >>> is_fake("email", "kqzrtbnmwd@anon.invalid"), is_fake("credit_card", "4111111111111111")
    (True, False)
    """
    form = _FORMS.get(type_)
    return form is not None and _compiled(form).fullmatch(value) is not None


# --- values that nobody has --------------------------------------------------------------------------------------

_LETTERS = "bcdfghjkmnpqrstvwxz"
_FORMS: Mapping[str, str] = {
    "email": rf"[{_LETTERS}]{{10}}@anon\.invalid",  # RFC 2606
    "phone": r"\+999 \d{3} \d{3} \d{3}",  # no country has this code
    "ip_address": r"2(?:4\d|5[0-5])(?:\.\d{1,3}){3}|2001:db8:[0-9a-f:]+",  # RFC 1112 and RFC 3849: never given out
    "credit_card": r"0000(?:[ -]?\d){8,15}",  # ISO/IEC 7812: no issuer
    "iban": r"[A-Za-z]{2}[ -]?00(?:[ -]?[A-Za-z0-9])+",  # check digits run from 02 to 98
    "ssn": r"000[- ]?\d\d[- ]?\d{4}",  # no area
}


def _digits(seed: int, count: int) -> str:
    return str(seed % 10**count).zfill(count)


def _spelled(seed: int, count: int) -> str:
    letters = []
    for _ in range(count):
        seed, place = divmod(seed, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)


def _email(value: str, seed: int) -> str:  # noqa: ARG001 - one shape for all
    return f"{_spelled(seed, 10)}@anon.invalid"


def _phone(value: str, seed: int) -> str:  # noqa: ARG001
    digits = _digits(seed, 9)
    return f"+999 {digits[:3]} {digits[3:6]} {digits[6:]}"


def _address(value: str, seed: int) -> str:
    if ":" in value:
        return "2001:db8:" + ":".join(f"{(seed >> 16 * place) & 0xFFFF:x}" for place in range(6))
    return ".".join(str(number) for number in (240 + seed % 16, *(seed >> shift & 0xFF for shift in (8, 16, 24))))


def _formed(value: str, seed: int, first: str) -> str:
    """A value of the same form that begins with ``first``: digits for digits, letters for letters."""
    out, left, begun = [], seed, iter(first)
    for character in value:
        if not character.isalnum():
            out.append(character)
        elif (given := next(begun, None)) is not None:
            out.append(given)
        else:
            left, number = divmod(left, 260)
            one = str(number % 10) if character.isdigit() else chr(ord("A") + number % 26)
            out.append(one.lower() if character.islower() else one)
    return "".join(out)


_FAKES: Mapping[str, Callable[[str, int], str]] = {
    "email": _email,
    "phone": _phone,
    "ip_address": _address,
    "credit_card": functools.partial(_formed, first="0000"),
    "ssn": functools.partial(_formed, first="000"),
    "iban": lambda value, seed: _formed(value, seed, value[:2] + "00"),
}


def _literal(name: str, literal: object) -> str:
    if not isinstance(literal, str) or len(literal) > _LONGEST_LITERAL:
        raise ConfigError(f"replacements[{name!r}] cannot be used: give at most {_LONGEST_LITERAL} characters")
    if re.search(r"[\x00-\x1f\"\\]", literal):
        raise ConfigError(f"replacements[{name!r}] holds a quote, a backslash or a line break: it would break JSON")
    from .values.scan import scan  # noqa: PLC0415 - only where a text is given

    if next(iter(scan(literal)), None) is not None:
        raise ConfigError(f"replacements[{name!r}] would be taken for a value itself: give words")
    return literal


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
