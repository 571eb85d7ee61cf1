"""Getting tokens: with a key, or by delegation, where an agent goes on with another's call (RFC 8693)."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, IdentityError, IdentityUnavailableError
from ..flow import Flow, arun, run
from ..shield.attempts import Clock
from ..shield.fields import dump, number_of, text_of
from ..shield.messages import Incoming, Outgoing
from ..shield.transport import Transport
from ..types import Secret
from .addresses import below, safe_url
from .authority import Line, object_in
from .keys import pyjwt

__all__ = ["AccessToken", "TokenClient", "actor_assertion"]

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_CODE = re.compile("[a-z_]{3,64}")
_WHAT = "a token"
_UNSAID = 60.0  # seconds that a token is taken to be good for where nothing is said of it
_LIFE = 120  # seconds that an assertion is good for


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token that was given out; ``expires_in`` is in seconds, ``scopes`` may be fewer than were asked for."""

    token: Secret
    token_type: str = "Bearer"  # noqa: S105 - a scheme
    expires_in: float = _UNSAID
    scopes: tuple[str, ...] = ()
    jti: str = ""


class TokenClient:
    """Asks ZeroID's token endpoint, below the issuer's address ``url``.

    What it refuses is an `IdentityError` whose ``code`` is OAuth's (``invalid_grant``, ``invalid_scope``…).
    ``proof`` makes a DPoP proof for a method and an address, where tokens are to be bound to a key.

    >>> TokenClient("https://auth.example.com")
    TokenClient('https://auth.example.com/oauth2/token')
    """

    def __init__(
        self,
        url: str,
        *,
        proof: Callable[[str, str], str] | None = None,
        timeout: float = 10.0,
        http_client: Any = None,
        async_http_client: Any = None,
    ) -> None:
        self._line = Line(below(safe_url(url, "url"), "/oauth2/token"), what=_WHAT)
        self._proof, self._timeout = proof, timeout
        self._transport = Transport(blocking=http_client, asynchronous=async_http_client)

    def for_key(self, key: str | Secret, *, scopes: Iterable[str] = ()) -> AccessToken:
        """A token for a service key, with all its scopes where none are named."""
        return run(self._for_key(key, scopes), self._transport.perform)

    async def afor_key(self, key: str | Secret, *, scopes: Iterable[str] = ()) -> AccessToken:
        """The same without blocking the event loop."""
        return await arun(self._for_key(key, scopes), self._transport.aperform)

    def delegate(
        self, subject_token: str | Secret, actor_token: str | Secret, *, scopes: Iterable[str]
    ) -> AccessToken:
        """A token with which the actor goes on with the subject's call, and with those scopes that both may have.

        ``actor_token`` is what the actor signs of itself: `actor_assertion`.
        """
        return run(self._delegate(subject_token, actor_token, scopes), self._transport.perform)

    async def adelegate(
        self, subject_token: str | Secret, actor_token: str | Secret, *, scopes: Iterable[str]
    ) -> AccessToken:
        """The same without blocking the event loop."""
        return await arun(self._delegate(subject_token, actor_token, scopes), self._transport.aperform)

    def close(self) -> None:
        """Close the connections of blocking callers."""
        self._transport.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._transport.aclose()

    def _for_key(self, key: str | Secret, scopes: Iterable[str]) -> Flow[AccessToken]:
        fields = {"grant_type": "api_key", "api_key": _revealed(key), "scope": " ".join(scopes)}
        return (yield from self._ask({name: value for name, value in fields.items() if value}))

    def _delegate(
        self, subject_token: str | Secret, actor_token: str | Secret, scopes: Iterable[str]
    ) -> Flow[AccessToken]:
        named = " ".join(scopes)
        if not named:
            raise ConfigError("scopes must be named: a delegation without any would be for nothing")
        fields = {
            "grant_type": _EXCHANGE,
            "subject_token": _revealed(subject_token),
            "actor_token": _revealed(actor_token),
            "scope": named,
        }
        return (yield from self._ask(fields))

    def _ask(self, fields: Mapping[str, str]) -> Flow[AccessToken]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._proof is not None:
            headers["dpop"] = self._proof("POST", self._line.url)
        request = Outgoing(method="POST", url=self._line.url, headers=headers, body=dump(fields))
        reply = yield from self._line.ask(request, Clock(self._timeout))
        return _read(reply, request.host)

    def __repr__(self) -> str:
        return f"TokenClient({self._line.url!r})"


def _read(reply: Incoming, host: str) -> AccessToken:
    said = object_in(reply, host, what=_WHAT)
    if not reply.is_success:
        given = text_of(said.get("error")) or ""
        code = given if _CODE.fullmatch(given) else f"http_{reply.status}"
        raise IdentityError(f"{host} gives no token: {code}", code=code)
    token, scope = text_of(said.get("access_token")), text_of(said.get("scope"))
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise IdentityUnavailableError(f"{host} answered with no token that a header could carry")
    life = number_of(said.get("expires_in"))
    return AccessToken(
        token=Secret(token),
        token_type="DPoP" if (text_of(said.get("token_type")) or "").lower() == "dpop" else "Bearer",
        expires_in=_UNSAID if life is None else max(0.0, life),
        scopes=tuple((scope or "").split()),
        jti=text_of(said.get("jti")) or "",
    )


def actor_assertion(uri: str, private_key: str | Secret, *, issuer: str, now: float | None = None) -> Secret:
    """What an agent signs of itself to act on another's token: good for two minutes, at one issuer (RFC 7523).

    ``uri`` is its WIMSE URI, ``private_key`` the ES256 key that it is registered with, as PEM, and ``issuer`` the
    authority's issuer, to the letter: not the address of its token endpoint.
    """
    jwt = pyjwt()
    if not uri or not issuer:
        raise ConfigError("uri and issuer must be given: the assertion is by the one, for the other")
    made = int(time.time() if now is None else now)
    claims = {"iss": uri, "sub": uri, "aud": issuer, "iat": made, "exp": made + _LIFE, "jti": secrets.token_hex(16)}
    try:
        return Secret(jwt.encode(claims, _revealed(private_key), algorithm="ES256"))
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ConfigError("private_key cannot be used: give an unencrypted P-256 key as PEM") from None


def _revealed(secret: str | Secret) -> str:
    return secret.reveal() if isinstance(secret, Secret) else secret
