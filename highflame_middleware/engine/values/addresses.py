"""Mail and network addresses."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from .finding import Finding
from .secrets import starts_token

__all__ = ["find_coloned", "find_dashed", "find_emails", "find_ipv4_at"]

_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
_DOMAIN = r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
_FILE = r"(?i:png|jpe?g|gif|svg|webp|ico|css|js|ts|py|json|html?|pdf|md|txt)"  # logo@2x.png
_MAC = r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![A-Za-z0-9]|[:-][0-9A-Fa-f])"
_IPV4 = r"\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z0-9_]|[.-]\d|/\d)"
_IPV6 = r"[0-9A-Fa-f:]{2,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![0-9A-Za-z:_]|\.\d)"
_VERSION = r"version|release|[=~<>]=|\bv(?:er)?\b|package|build"
_NETWORK = r"\bip\b|ipv4|host|server|addr|login|\bfrom\b|ping|subnet|dns|client|remote"


def find_emails(text: str, start: int = 0) -> Iterator[Finding]:
    """Mail addresses; ``git@`` names a service, not a person."""
    at = text.find("@", start)
    while at >= 0:
        if domain := _compiled(_DOMAIN).match(text, at):
            ahead = text[max(0, at - 65) : at]
            local = ahead[len(ahead.rstrip(_LOCAL)) :].lstrip(".")
            begin = at - len(local)
            if local and not starts_token(text, begin):
                begin += 1  # the letter of an escape
            last = domain.group().rpartition(".")[2]
            if len(local) <= 64 and text[begin:at] not in {"", "git"} and not _compiled(_FILE).fullmatch(last):
                yield Finding(begin, domain.end(), "email")
        at = text.find("@", at + 1)


def find_ipv4_at(text: str, lowered: str, at: int) -> Iterator[Finding]:
    """The address in four numbers that begins at ``at``, if it is one of a host and not a version."""
    matched = _compiled(_IPV4).match(text, at)
    if matched is None or text[at - 1 : at] in {"-", "_", "/"}:
        return
    parts = matched.group().split(".")
    numbers = [int(part) for part in parts]
    if max(numbers) > 255 or any(part != str(number) for part, number in zip(parts, numbers, strict=True)):
        return
    if numbers[0] in {0, 127, 255}:
        return  # no host of anybody's
    before = lowered[max(0, at - 24) : at]
    if _compiled(_VERSION).search(before) or (max(numbers) < 32 and not _compiled(_NETWORK).search(before)):
        return
    yield Finding(at, matched.end(), "ip_address")


def find_dashed(text: str, start: int = 0) -> Iterator[Finding]:
    """Addresses of network cards with hyphens in them."""
    if not _compiled(r"-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-").search(text, start):
        return
    for found in _compiled(_MAC).finditer(text, start):
        if text[found.start() + 2] == "-" and text[found.start() - 1 : found.start()] != "-":
            yield from _mac(text, found)


def _mac(text: str, found: re.Match[str]) -> Iterator[Finding]:
    address = found.group()
    if starts_token(text, found.start()) and any(map(str.isdigit, address)) and len(set(address)) > 3:
        yield Finding(*found.span(), "mac_address")


def find_coloned(text: str, start: int = 0) -> Iterator[Finding]:
    """Addresses in groups of hexadecimal digits: of hosts (IPv6) and of network cards."""
    seen = -1
    for colon in _compiled(r":[0-9A-Fa-f]{0,4}:").finditer(text, start):
        ahead = text[max(0, colon.start() - 40) : colon.start()]
        begin = colon.start() - (len(ahead) - len(ahead.rstrip("0123456789abcdefABCDEF:")))
        if begin == seen or text[begin - 1 : begin] == ":" or not starts_token(text, begin):
            continue
        seen = begin
        if card := _compiled(_MAC).match(text, begin):
            yield from _mac(text, card)
            continue
        if (matched := _compiled(_IPV6).match(text, begin)) and _is_ipv6(matched.group()):
            yield Finding(begin, matched.end(), "ip_address")


def _is_ipv6(address: str) -> bool:
    head, gap, rest = address.partition("::")
    groups = [group for side in (head, rest) if side for group in side.split(":")]
    count = len(groups) + ("." in address)
    if any(not group or len(group) > 4 for group in groups if "." not in group):
        return False
    if not any(character.isdigit() for character in address):
        return False  # std::bad, dead::beef
    return 3 <= count <= 7 if gap else count == 8


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
