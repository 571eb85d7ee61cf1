"""Public keys as a JWKS has them: only those that can verify what is asked for, each bound to one algorithm.

Which keys are held, since when, and what is to be done when one is wanted is a value and a pure function here;
`keyring` fetches.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any

from ..extras import require

__all__ = ["ALGORITHMS", "Held", "PublicKey", "Step", "failed", "fetched", "pyjwt", "read_key", "read_keys", "step"]

ALGORITHMS: Mapping[str, tuple[str, str]] = MappingProxyType({"ES256": ("EC", "P-256"), "RS256": ("RSA", "")})
_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("e", "n")}  # of a thumbprint, in its order; kty stands between them
_LONGEST = {"crv": 16, "x": 64, "y": 64, "n": 1500, "e": 12}  # characters; an RSA key of 8192 bits
_WEAKEST = 2048  # bits of an RSA key
MAX_KEYS = 64  # of a set
MAX_KID = 256  # characters
_RECENT = 30.0  # seconds after a failure in which the issuer is taken to be down still


@cache
def pyjwt() -> Any:
    """PyJWT, with what it verifies with."""
    require("cryptography", extra="identity", needed="cryptography>=3.4")
    return require("jwt", extra="identity", needed="pyjwt>=2.9")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, the one algorithm that it verifies, and its thumbprint (RFC 7638, SHA-256)."""

    kid: str
    algorithm: str
    key: Any = field(repr=False, compare=False)
    thumbprint: str = ""


def read_key(found: Any, algorithms: tuple[str, ...]) -> PublicKey | None:
    """The key in a JWK; nothing for one that may not, or cannot, verify by one of the algorithms.

    >>> read_key({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, ("ES256", "RS256")) is None
    True
    """
    if not isinstance(found, Mapping):
        return None
    kid, kty, named = found.get("kid", ""), found.get("kty"), found.get("alg")
    algorithm = next((name for name in algorithms if ALGORITHMS[name][0] == kty), None)
    if algorithm is None or named not in (None, algorithm) or not isinstance(kid, str) or len(kid) > MAX_KID:
        return None
    if found.get("use", "sig") != "sig" or "verify" not in _operations(found):
        return None
    members = {name: found.get(name) for name in _MEMBERS[str(kty)]}
    if not all(isinstance(value, str) and len(value) <= _LONGEST[name] for name, value in members.items()):
        return None
    if kty == "EC" and members["crv"] != ALGORITHMS[algorithm][1]:
        return None
    jwt = pyjwt()
    try:
        # Its public members alone: what else the set gives away is not touched.
        key = jwt.PyJWK({"kty": kty, **members}, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, binascii.Error):
        return None
    if kty == "RSA" and key.key_size < _WEAKEST:
        return None
    return PublicKey(kid, algorithm, key, _thumbprint(str(kty), members))


def _operations(found: Mapping[str, Any]) -> Any:
    given = found.get("key_ops", ["verify"])
    return given if isinstance(given, list) else ()


def _thumbprint(kty: str, members: Mapping[str, Any]) -> str:
    written = json.dumps({**members, "kty": kty}, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(written.encode()).digest()).rstrip(b"=").decode()


def read_keys(content: bytes, algorithms: tuple[str, ...]) -> dict[tuple[str, str], PublicKey]:
    """The usable keys of a JWKS by name and algorithm; a `ValueError` where it is no JWKS, or has none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("what was found there is no JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("what was found there is no set of keys")  # noqa: TRY004 - it is what came that is wrong
    if len(listed) > MAX_KEYS:
        raise ValueError(f"the set has more than {MAX_KEYS} keys")
    keys: dict[tuple[str, str], PublicKey] = {}
    for found in listed:
        key = read_key(found, algorithms)
        if key is not None and key.kid:
            keys.setdefault((key.kid, key.algorithm), key)
    if not keys:
        raise ValueError(f"the set has no named key for {' or '.join(algorithms)}")
    return keys


# --- which keys are held -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The keys and their history, in seconds of one clock.

    They are good until ``ttl`` after they were asked for; then only while the issuer cannot be reached, for at
    most ``grace`` more. From ``early`` on they are renewed in the background. Fetches begin ``apart`` at least.
    """

    ttl: float
    early: float
    grace: float
    apart: float
    keys: Mapping[tuple[str, str], PublicKey] = field(default_factory=dict)
    asked_at: float = -math.inf
    tried_at: float = -math.inf
    failed_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Step:
    """What to do for whoever wants a key: use it, know that there is none, fetch the set, wait, or give up.

    With a key, ``fetch`` is to go on in the background.
    """

    key: PublicKey | None = None
    is_unknown: bool = False
    fetch: bool = False
    wait: float = 0.0
    has_failed: bool = False


def step(held: Held, name: tuple[str, str], *, wanted_at: float, now: float, missing: bool = False) -> Step:
    """What to do now for a key, by name and algorithm, that somebody has wanted since ``wanted_at``.

    A set that was asked for since then is the last word on a name that it lacks; ``missing`` says that it was
    looked for in vain a moment ago. So a flood of made-up names costs one fetch per ``apart`` seconds, and keeps
    the bearer of a new key waiting no longer than that.

    >>> empty = Held(ttl=300, early=200, grace=300, apart=1)
    >>> step(empty, ("k1", "ES256"), wanted_at=5.0, now=5.0).fetch
    True
    >>> step(fetched(empty, {}, 6.0), ("k1", "ES256"), wanted_at=5.0, now=6.1).is_unknown
    True
    """
    age = now - held.asked_at
    is_down = held.failed_at >= held.asked_at and (held.failed_at >= wanted_at or now - held.failed_at < _RECENT)
    is_current = age < (held.ttl + held.grace if is_down else held.ttl)
    pause = max(0.0, held.tried_at + held.apart - now)
    if is_current:
        key = held.keys.get(name)
        if key is not None:
            return Step(key=key, fetch=age >= held.early and not pause)
        if held.asked_at >= wanted_at or missing:
            return Step(is_unknown=True)
    if held.failed_at >= wanted_at or (pause and is_down):
        return Step(has_failed=True)
    return Step(wait=pause) if pause else Step(fetch=True)


def fetched(held: Held, keys: Mapping[tuple[str, str], PublicKey], asked_at: float) -> Held:
    """The state after a set came that was asked for at ``asked_at``: a key that it lacks is trusted no more."""
    return replace(held, keys=keys, asked_at=asked_at, tried_at=asked_at)


def failed(held: Held, asked_at: float, now: float) -> Held:
    """The state after a fetch that was begun at ``asked_at`` brought nothing."""
    return replace(held, tried_at=asked_at, failed_at=now)
