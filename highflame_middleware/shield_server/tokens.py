"""Who asks: keys that are configured, and the short-lived tokens (JWT, HMAC-SHA256) that stand for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigError
from ..types import Secret

__all__ = ["Caller", "Issuer", "Key"]

_ISSUER = "highflame-middleware"
_AUDIENCE = "shield"
_HEADER = {"alg": "HS256", "typ": "JWT"}
_LONGEST = 4_096  # characters of a token or key
_LEAST = 32  # characters of what tokens are signed with


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A service key, and for whom it speaks. Clients exchange those that begin with ``zid_sk`` or ``hf_sk``.

    >>> Key(secret="zid_sk_1", account_id="acme")
    Key(secret=Secret(***), name='', account_id='acme', project_id='', gateway_id='')
    """

    secret: str | Secret
    name: str = ""
    account_id: str = ""
    project_id: str = ""
    gateway_id: str = ""

    def __post_init__(self) -> None:
        value = self.secret.reveal() if isinstance(self.secret, Secret) else self.secret
        if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
            raise ConfigError("a key of the Shield server must be a string that is not empty")
        object.__setattr__(self, "secret", Secret(value.strip()))

    @property
    def octets(self) -> bytes:
        """The key as it is compared."""
        return self.secret.reveal().encode("utf-8", "surrogateescape")  # type: ignore[union-attr] # made one above


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a question comes from.

    ``mark`` stands for the key, ``approval`` for what a person has approved for this token, if anything.
    """

    name: str = ""
    account_id: str = ""
    project_id: str = ""
    gateway_id: str = ""
    approval: str = ""
    mark: str = field(default="", compare=False, repr=False)

    @property
    def tenant(self) -> str:
        """Whose state (sessions, answers, approvals) a question may touch. Two keys of one name are one, so that
        a key can be exchanged for another."""
        return json.dumps([self.name, self.account_id, self.project_id, self.gateway_id])


class Issuer:
    """Exchanges keys for tokens and knows its own again. It keeps nothing, so replicas with one secret agree.

    Without keys everybody is let in, as nobody in particular: the door sees to it that only this machine comes.

    >>> issuer = Issuer([Key(secret="zid_sk_1", project_id="p")])
    >>> token = issuer.issue(issuer.admit("zid_sk_1"))["access_token"]
    >>> issuer.admit(token).project_id, issuer.admit("zid_sk_2")
    ('p', None)
    """

    def __init__(
        self,
        keys: Iterable[Key],
        *,
        secret: str | Secret | None = None,
        lifetime: float = 900.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        given = secret.reveal() if isinstance(secret, Secret) else secret
        if given is not None and len(given) < _LEAST:
            raise ConfigError(f"token_secret has fewer than {_LEAST} characters: give a long random string")
        self._secret = given.encode("utf-8", "surrogateescape") if given is not None else secrets.token_bytes(32)
        self._lifetime, self._clock = lifetime, clock
        self._keys: dict[str, tuple[Key, Caller]] = {}
        for place, key in enumerate(keys):
            mark = self._mark(key.octets)
            if mark in self._keys:
                raise ConfigError("one of the keys is there twice")
            self._keys[mark] = key, replace(_caller_of(key, place), mark=mark)

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must present a key or a token."""
        return bool(self._keys)

    def admit(self, credential: str) -> Caller | None:
        """Who presents a key or a token; nobody where it is neither, or a token whose time is up."""
        given = credential.encode("utf-8", "surrogateescape")
        if len(given) <= _LONGEST:
            # Compared with every key, so that the time taken tells nothing about any of them.
            found = [caller for key, caller in self._keys.values() if hmac.compare_digest(given, key.octets)]
            if found:
                return found[0]
            if (claims := self._claims(credential)) is not None:
                return self._bearer(claims)
        return None if self._keys else Caller()

    def exchange(self, credential: str) -> Caller | None:
        """Who presents a key; tokens are not exchanged for further tokens."""
        caller = self.admit(credential)
        return None if caller is None or self._claims(credential) is not None else caller

    def issue(self, caller: Caller, *, approval: str = "") -> dict[str, Any]:
        """A token, as the token endpoint answers it."""
        now, life = int(self._clock()), int(self._lifetime)
        token_id = secrets.token_hex(16)
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": caller.name,
            "iat": now,
            "exp": now + life,
            "jti": token_id,
            "key": caller.mark,
            "account_id": caller.account_id,
            "project_id": caller.project_id,
            **({"acr": "urn:highflame:aarm:step_up", "approval": approval} if approval else {}),
        }
        return {
            "access_token": self._sign(claims),
            "token_type": "Bearer",
            "expires_in": life,
            "account_id": caller.account_id,
            "project_id": caller.project_id,
            "gateway_id": caller.gateway_id,
            "user_id": caller.name,
            "scope": "",
            "jti": token_id,
        }

    def _bearer(self, claims: Mapping[str, Any]) -> Caller | None:
        """Whom a token was given to, if their key is still one of ours."""
        known = self._keys.get(claims["key"], (None, None))[1] if self._keys else Caller()
        if known is None:
            return None
        # What a key leaves open, whoever it was exchanged for may have settled.
        return replace(
            known,
            account_id=known.account_id or claims["account_id"],
            project_id=known.project_id or claims["project_id"],
            approval=claims.get("approval", ""),
        )

    def _sign(self, claims: Mapping[str, Any]) -> str:
        signed = f"{_encoded(json.dumps(_HEADER).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.digest(self._secret, b"token:" + signed.encode("ascii"), "sha256"))

    def _claims(self, token: str) -> dict[str, Any] | None:
        """What a token of ours says; nothing for any other, or one whose time is up."""
        signed, dot, signature = token.rpartition(".")
        if not dot or not token.isascii() or not hmac.compare_digest(self._signature(signed), signature):
            return None
        # Signed here, so it is as it was made: the algorithm is not read from it.
        claims: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
        return claims if claims["aud"] == _AUDIENCE and self._clock() < claims["exp"] else None

    def _mark(self, key: bytes) -> str:
        """A name for a key that tells nothing of it; the same for all who share the secret."""
        return hmac.new(self._secret, b"key:" + key, hashlib.sha256).hexdigest()[:32]

    def __repr__(self) -> str:
        return f"Issuer({len(self._keys)} keys)"


def _caller_of(key: Key, place: int) -> Caller:
    return Caller(key.name or f"key-{place + 1}", key.account_id, key.project_id, key.gateway_id)


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
