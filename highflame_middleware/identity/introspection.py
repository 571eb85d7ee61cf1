"""Asking the issuer about each token (RFC 7662), as a client of its own: what it says is good for a few seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from time import monotonic
from typing import Literal
from urllib.parse import urlencode

from ..errors import ConfigError, IdentityUnavailableError, RevokedError
from ..flow import Flow
from ..shield.attempts import Clock
from ..shield.fields import dump
from ..shield.messages import Outgoing
from ..types import Secret
from .addresses import safe_url
from .authority import Line, forgiven, object_in
from .claims import AgentClaims
from .remembered import Remembered

__all__ = ["Introspection"]


class Introspection:
    """A `TokenVerifier`'s ``revocation`` by introspection.

    ``url`` is the issuer's ``/oauth2/token/introspect``. An answer is kept for ``ttl`` seconds where the token
    stands, which is how long a revocation may go unnoticed, and ``refused_ttl`` where it does not; at most
    ``most`` answers are. ZeroID reads ``json``, and other issuers only a ``form``. Where the issuer gives no
    answer no token is taken, unless ``fail_open``.

    >>> Introspection("https://auth.example.com/oauth2/token/introspect", client_id="api", client_secret="s3cret")
    Introspection('https://auth.example.com/oauth2/token/introspect')
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str | Secret,
        encoding: Literal["json", "form"] = "json",
        ttl: float = 15.0,
        refused_ttl: float = 60.0,
        most: int = 10_000,
        fail_open: bool = False,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        if encoding not in ("json", "form"):
            raise ConfigError(f"encoding={encoding!r} cannot be used: choose json or form")
        self._line = Line(safe_url(url, "url"))
        self._client_id = client_id
        self._secret = client_secret if isinstance(client_secret, Secret) else Secret(client_secret)
        self._encoding, self._fail_open = encoding, fail_open
        self._ttl, self._refused_ttl = ttl, refused_ttl
        self._stands: Remembered[bool] = Remembered(most, timer=timer)
        self._fallen: Remembered[bool] = Remembered(most, timer=timer)

    def confirm(self, claims: AgentClaims, token: Secret, clock: Clock) -> Flow[None]:
        """Return where the issuer says that the token is active."""
        name = hashlib.sha256(token.reveal().encode()).digest()
        if self._fallen.get(name):
            raise _inactive()
        if self._stands.get(name):
            return
        try:
            active = yield from self._ask(claims, token, clock)
        except IdentityUnavailableError as error:
            forgiven(error, fail_open=self._fail_open)
            return
        if not active:
            self._fallen.put(name, True, seconds=self._refused_ttl)
            raise _inactive()
        self._stands.put(name, True, seconds=self._ttl)

    def _ask(self, claims: AgentClaims, token: Secret, clock: Clock) -> Flow[bool]:
        fields = {
            "token": token.reveal(),
            "client_id": self._client_id,
            "client_secret": self._secret.reveal(),
        }
        is_form = self._encoding == "form"
        request = Outgoing(
            method="POST",
            url=self._line.url,
            headers={
                "content-type": "application/x-www-form-urlencoded" if is_form else "application/json",
                "accept": "application/json",
            },
            body=urlencode(fields).encode() if is_form else dump(fields),
        )
        reply = yield from self._line.ask(request, clock)
        if not reply.is_success:
            # 401 is about this service's own credentials, not the caller's: its operator has to look.
            raise IdentityUnavailableError(
                f"the token's standing cannot be had: {request.host} answered {reply.status}; "
                "check this service's client_id and client_secret",
                code="configuration_error",
            )
        said = object_in(reply, request.host)
        named = ("jti", claims.jti), ("sub", claims.sub), ("iss", claims.iss)
        return said.get("active") is True and all(said.get(name) in (None, "", value) for name, value in named)

    def __repr__(self) -> str:
        return f"Introspection({self._line.url!r})"


def _inactive() -> RevokedError:
    return RevokedError("the token is well signed, but its issuer says that it is no longer active: get a new one")
