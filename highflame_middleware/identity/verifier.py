"""Verifying an agent's token in this process: its signature, by whom, for whom, until when; then its standing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import ConfigError, InsufficientError, TokenError
from ..flow import Flow, arun, run
from ..shield.attempts import Clock
from ..shield.transport import Transport
from ..types import Secret
from .addresses import safe_url
from .claims import REFUSED_STATUSES, TRUST_LEVELS, AgentClaims, read_claims
from .dpop import Keep
from .keyring import Keyring, checked_algorithms
from .keys import ALGORITHMS, pyjwt
from .tokens import MAX_TOKEN, opened, text_in, unopened, verified

__all__ = ["Standing", "TokenVerifier"]

_TYPES = frozenset({"", "jwt", "at+jwt"})
_LONGEST_SUBJECT = 2_048
_LONGEST_LEEWAY = 600.0


class Standing(Protocol):
    """Whatever knows whether a token that verifies was taken back since: `Introspection`, `DelegationChain`."""

    def confirm(self, claims: AgentClaims, token: Secret, clock: Clock) -> Flow[None]:
        """Return where the token still stands; an `IdentityError` where it does not, or nobody can tell."""
        ...


class TokenVerifier:
    """Verifies tokens of one issuer.

    ``audience`` (any of several) has to be in ``aud``, ``resource`` in the claim of that name; one of the two must
    be given, for a token that was made for another service is not for this one. ``leeway`` is how many seconds
    clocks may differ. ``jwks_url`` is where the issuer's keys are; without it the issuer is asked (RFC 8414).
    ``scopes`` and ``min_trust`` are asked of every token, ``refused_statuses`` of none. ``revocation`` is asked
    whether a token was taken back; without it a token is good until its end. ``timeout`` bounds, in seconds, all
    waiting for one verification. What does not hold is an `IdentityError`, which quotes nothing of the token.

    A token bound to a key (``claims.jkt``) is only worth something with a proof: `Authenticator` asks for it.

    >>> verifier = TokenVerifier(issuer="https://auth.example.com", resource="https://api.example.com")
    >>> verifier.verify("not-a-token")
    Traceback (most recent call last):
    highflame_middleware.errors.TokenError: the token is no signed JWT
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Sequence[str] | None = None,
        resource: str | Sequence[str] | None = None,
        jwks_url: str | None = None,
        algorithms: Sequence[str] = ("ES256", "RS256"),
        leeway: float = 30.0,
        scopes: Sequence[str] = (),
        min_trust: str | None = None,
        refused_statuses: Iterable[str] = REFUSED_STATUSES,
        revocation: Standing | None = None,
        keys_ttl: float = 300.0,
        keys_grace: float = 300.0,
        timeout: float = 10.0,
        max_token: int = MAX_TOKEN,
        http_client: Any = None,
        async_http_client: Any = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        pyjwt()
        if not isinstance(issuer, str) or not issuer:
            raise ConfigError("issuer must be given: the exact string that is in the tokens' iss")
        self._audiences = _names(audience, "audience")
        self._resources = _names(resource, "resource")
        if not self._audiences and not self._resources:
            raise ConfigError(
                "give resource= or audience=: a token made for another service would be taken here too. "
                "ZeroID's tokens that are for nobody in particular have their issuer as audience"
            )
        if not 0 <= leeway <= _LONGEST_LEEWAY:
            raise ConfigError(f"leeway={leeway!r} cannot be used: give seconds, at most {_LONGEST_LEEWAY:g}")
        for name, value in (("keys_ttl", keys_ttl), ("timeout", timeout), ("max_token", max_token)):
            if not 0 < value < math.inf:
                raise ConfigError(f"{name}={value!r} cannot be used: give a number above zero")
        if not 0 <= keys_grace < math.inf:
            raise ConfigError(f"keys_grace={keys_grace!r} cannot be used: give seconds, or 0")
        self.issuer = issuer
        self.scopes = _names(scopes, "scopes")
        self.min_trust = checked_trust(min_trust)
        self._algorithms = checked_algorithms(algorithms, ALGORITHMS)
        self._leeway, self._clock, self._timeout, self._max_token = leeway, clock, timeout, max_token
        self._refused = frozenset(refused_statuses)
        self._revocation = revocation
        self._transport = Transport(blocking=http_client, asynchronous=async_http_client)
        if jwks_url is not None:
            safe_url(jwks_url, "jwks_url")
        elif not urlsplit(issuer).scheme:
            raise ConfigError("jwks_url must be given: the issuer is no address that could be asked for its keys")
        else:
            safe_url(issuer, "issuer")
        self._keys = Keyring(
            issuer=issuer,
            jwks_url=jwks_url,
            algorithms=self._algorithms,
            transport=self._transport,
            ttl=keys_ttl,
            grace=keys_grace,
            timeout=timeout,
            timer=timer,
        )

    def verify(self, token: str, *, scopes: Sequence[str] = (), min_trust: str | None = None) -> AgentClaims:
        """A token's claims; ``scopes`` and ``min_trust`` on top of the verifier's own."""
        claims: AgentClaims = self.run(self._whole(token, scopes, min_trust))
        return claims

    async def averify(self, token: str, *, scopes: Sequence[str] = (), min_trust: str | None = None) -> AgentClaims:
        """The same without blocking the event loop, asyncio's or trio's."""
        claims: AgentClaims = await self.arun(self._whole(token, scopes, min_trust))
        return claims

    def run(self, flow: Flow[Any]) -> Any:
        """Drive a flow of this verifier's."""
        return run(flow, lambda op: op.perform() if isinstance(op, Keep) else self._transport.perform(op))

    async def arun(self, flow: Flow[Any]) -> Any:
        """Drive a flow of this verifier's, asynchronously."""
        return await arun(flow, lambda op: op.aperform() if isinstance(op, Keep) else self._transport.aperform(op))

    def close(self) -> None:
        """Close the connections of blocking callers."""
        self._transport.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._transport.aclose()

    def _whole(self, token: str, scopes: Sequence[str], min_trust: str | None) -> Flow[AgentClaims]:
        clock = self.clock()
        claims = yield from self.signed(token, clock)
        yield from self.settled(claims, token, clock, scopes=scopes, min_trust=min_trust)
        return claims

    def clock(self) -> Clock:
        """The time that one verification may take."""
        return Clock(self._timeout)

    def now(self) -> float:
        """Seconds since 1970, as this verifier sees it."""
        return self._clock()

    def signed(self, token: str, clock: Clock) -> Flow[AgentClaims]:
        """The claims of a token that is the issuer's, for this service, and in its time."""
        if not token:
            raise TokenError("a token is required: send it as 'Authorization: Bearer …'", code="missing_token")
        if len(token) > self._max_token:
            raise TokenError(f"the token has more than {self._max_token} characters", code="invalid_request")
        header = opened(token, self._algorithms, types=_TYPES)
        kid = header.get("kid", "")
        if not kid:
            raise TokenError("the token does not name the key that it was signed with (kid)")
        # Another's token is refused before it can make anybody fetch keys; whether it is ours, the signature says.
        if unopened(token).get("iss") != self.issuer:
            raise TokenError("the token is another issuer's: get one from this service's", code="invalid_issuer")
        key = yield from self._keys.key(kid, header["alg"], clock)
        payload = verified(token, key)
        self._check_times(payload)
        text_in(payload, "sub", longest=_LONGEST_SUBJECT)
        text_in(payload, "jti")
        try:
            claims = read_claims(payload)
        except ValueError as error:
            raise TokenError(f"the token cannot be read: {error}") from None
        if self._audiences and self._audiences.isdisjoint(claims.aud):
            raise TokenError("the token is for another audience: get one for this service", code="invalid_audience")
        if self._resources and self._resources.isdisjoint(claims.resource):
            raise TokenError("the token is for another resource: get one for this service", code="invalid_audience")
        if claims.status in self._refused:
            raise TokenError(f"the token's agent is {claims.status}: it may not call", code="token_inactive")
        return claims

    def settled(
        self,
        claims: AgentClaims,
        token: str,
        clock: Clock,
        *,
        scopes: Sequence[str] = (),
        min_trust: str | None = None,
    ) -> Flow[None]:
        """See to it that a token was not taken back, and reaches as far as is asked for."""
        if self._revocation is not None:
            yield from self._revocation.confirm(claims, Secret(token), clock)
        for level in (self.min_trust, checked_trust(min_trust)):
            if level is not None and not claims.is_trusted(level):
                raise InsufficientError(f"the agent is trusted less than {level}", code="insufficient_trust")
        wanted = tuple(dict.fromkeys((*sorted(self.scopes), *scopes)))
        if claims.lacks(wanted):
            raise InsufficientError(f"the token lacks a scope: this needs {' '.join(wanted)}", scopes=wanted)

    def _check_times(self, payload: dict[str, Any]) -> None:
        now = self._clock()
        if _moment(payload, "exp") + self._leeway <= now:
            raise TokenError("the token has expired: get a new one", code="token_expired")
        begins = [_moment(payload, "iat"), *([_moment(payload, "nbf")] if payload.get("nbf") is not None else [])]
        if max(begins) - self._leeway > now:
            raise TokenError("the token's time has not come yet: check both clocks", code="token_not_yet_valid")

    def __repr__(self) -> str:
        return f"TokenVerifier(issuer={self.issuer!r})"


def _moment(payload: dict[str, Any], name: str) -> float:
    value = payload.get(name)
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise TokenError(f"the token lacks a claim {name!r} that can be used")


def _names(given: str | Sequence[str] | None, name: str) -> frozenset[str]:
    names = [given] if isinstance(given, str) else list(given or ())
    if not all(isinstance(item, str) and item for item in names):
        raise ConfigError(f"{name} cannot be used: give a string, or several, none of them empty")
    return frozenset(names)


def checked_trust(level: str | None) -> str | None:
    """A level of trust that there is; a `ConfigError` for any other."""
    if level is not None and level not in TRUST_LEVELS:
        raise ConfigError(f"min_trust={level!r} cannot be used: choose from {', '.join(TRUST_LEVELS)}")
    return level
