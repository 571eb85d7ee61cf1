"""Signed tokens (JWS, compact) as they come from anybody: taken apart within bounds, verified by one key. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..errors import TokenError
from .keys import MAX_KID, PublicKey, pyjwt

__all__ = ["MAX_TOKEN", "opened", "unopened", "verified"]

MAX_TOKEN = 16_384  # characters
# What JSON can write and no encoding of text can: halves of characters.
_HALVES = re.compile("[\ud800-\udfff]")
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def opened(
    token: str, algorithms: tuple[str, ...], *, types: frozenset[str], what: str = "token"
) -> dict[str, Any]:
    """The header of a token, unverified: its algorithm is one of those allowed, its type one of ``types``."""
    if not _COMPACT.fullmatch(token):
        raise TokenError(f"the {what} is no signed JWT")
    header = _read(token.partition(".")[0], what)
    if header.get("alg") not in algorithms:
        raise TokenError(
            f"the {what} is signed by an algorithm other than {' or '.join(algorithms)}",
            code="unsupported_algorithm",
        )
    # An extension that changes what is signed, or how it is to be read, is one that is not known here.
    if "crit" in header or "b64" in header:
        raise TokenError(f"the {what} makes use of an extension that is not supported here")
    kid, kind = header.get("kid", ""), header.get("typ", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID:
        raise TokenError(f"the {what} names its key by what is no name")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise TokenError(f"the {what} is of another type")
    return header


def unopened(token: str) -> dict[str, Any]:
    """What a token says of itself, unverified: good for refusing it, and for nothing else."""
    return _read(token.split(".")[1], "token")


def verified(token: str, key: PublicKey, *, what: str = "token") -> dict[str, Any]:
    """The payload of a token that was signed with the key, by the key's own algorithm."""
    jwt = pyjwt()
    try:
        _verifying().decode_complete(token, key.key, algorithms=[key.algorithm])
    except jwt.PyJWTError:
        raise TokenError(f"the {what}'s signature is not good", code="invalid_signature") from None
    return _read(token.split(".")[1], what)


@cache
def _verifying() -> Any:
    return pyjwt().PyJWS()


def _read(part: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TokenError(f"the {what} is no signed JWT")
    return found


def text_in(payload: Mapping[str, Any], name: str, *, longest: int = MAX_KID, what: str = "token") -> str:
    """A claim that has to be there, in words."""
    value = payload.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or _HALVES.search(value):
        raise TokenError(f"the {what} lacks a claim {name!r} that can be used")
    return value
