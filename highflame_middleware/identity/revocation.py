"""Asking ZeroID for a token's lineage: one that was delegated falls with any that it was delegated from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, TypeGuard
from urllib.parse import quote

from ..errors import ConfigError, GuardError, IdentityUnavailableError, RevokedError, TokenError
from ..flow import Flow
from ..shield.attempts import Clock
from ..shield.circuit import Circuit
from ..shield.credentials import Bearer, ServiceKey, is_service_key
from ..shield.fields import text_of
from ..shield.messages import Incoming, Outgoing
from ..types import Secret
from .addresses import below, safe_url
from .authority import Line, forgiven, object_in
from .claims import REFUSED_STATUSES, AgentClaims
from .remembered import Remembered

__all__ = ["DelegationChain", "fall_of"]


class DelegationChain:
    """A `TokenVerifier`'s ``revocation`` by ZeroID's delegation chains.

    ``url`` is ZeroID's address, ``key`` a service key, which is exchanged for tokens at ``/oauth2/token``, or a
    token; it must be of the tenant whose tokens are checked, for others' are not shown to it. ``scope`` is what
    the key's tokens are asked for with; ZeroID shows chains to those that manage.

    A token does not stand when it, or any above it, was revoked, when an agent of the chain is deactivated, expired
    or suspended, or when its chain is not to be had whole. Caches and ``fail_open`` are those of `Introspection`.

    >>> DelegationChain("https://auth.example.com", key="zid_sk_1")
    DelegationChain('https://auth.example.com')
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | Secret,
        scope: str = "nhi:manage credentials:manage",
        account_id: str | None = None,
        project_id: str | None = None,
        ttl: float = 15.0,
        refused_ttl: float = 60.0,
        most: int = 10_000,
        fail_open: bool = False,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self._line = Line(safe_url(url, "url"))
        secret = key if isinstance(key, Secret) else Secret(key)
        if not secret.reveal():
            raise ConfigError("key must be given: chains are shown to nobody who is not known")
        token_url = below(url, "/oauth2/token")
        self._credentials: Bearer | ServiceKey = (
            ServiceKey(secret, token_url=token_url, circuit=Circuit(token_url), attempts=2, scope=scope)
            if is_service_key(secret.reveal())
            else Bearer(secret)
        )
        self._account_id, self._project_id = account_id, project_id
        self._ttl, self._refused_ttl, self._fail_open = ttl, refused_ttl, fail_open
        self._stands: Remembered[bool] = Remembered(most, timer=timer)
        self._fallen: Remembered[TokenError] = Remembered(most, timer=timer)

    def confirm(self, claims: AgentClaims, token: Secret, clock: Clock) -> Flow[None]:  # noqa: ARG002
        """Return where nothing in the token's chain has fallen."""
        name = (claims.iss, claims.jti)
        if (fallen := self._fallen.get(name)) is not None:
            raise _again(fallen)
        if self._stands.get(name):
            return
        try:
            reply = yield from self._ask(claims, clock)
            fall = self._read(claims, reply)
        except IdentityUnavailableError as error:
            forgiven(error, fail_open=self._fail_open)
            return
        if fall is not None:
            self._fallen.put(name, fall, seconds=self._refused_ttl)
            raise _again(fall)
        self._stands.put(name, True, seconds=self._ttl)

    def _ask(self, claims: AgentClaims, clock: Clock) -> Flow[Incoming]:
        """The answer about a token; our own is renewed once where it is not taken."""
        url = below(self._line.url, f"/delegations/by-jti/{quote(claims.jti, safe='')}")
        renewed = False
        while True:
            try:
                ticket = yield from self._credentials.ticket(clock)
            except GuardError as error:
                raise IdentityUnavailableError(f"the token's standing cannot be had: {error}") from error
            tenant = {
                "x-account-id": self._account_id or ticket.account_id,
                "x-project-id": self._project_id or ticket.project_id,
            }
            headers = {
                "accept": "application/json",
                "authorization": f"Bearer {ticket.token.reveal()}",
                **{name: value for name, value in tenant.items() if value},
            }
            reply = yield from self._line.ask(Outgoing(method="GET", url=url, headers=headers), clock)
            if reply.status != 401 or renewed or not self._credentials.refuse(ticket):
                return reply
            renewed = True

    def _read(self, claims: AgentClaims, reply: Incoming) -> TokenError | None:
        if reply.status == 404:
            return TokenError(
                "the authority does not know this token: it is another tenant's, or none of its own",
                code="credential_not_found",
            )
        if not reply.is_success:
            raise IdentityUnavailableError(
                f"the token's standing cannot be had: the authority answered {reply.status}; check the key",
                code="configuration_error",
            )
        return fall_of(object_in(reply, "the authority"), claims.jti)

    def __repr__(self) -> str:
        return f"DelegationChain({self._line.url!r})"


def fall_of(chain: Mapping[str, Any], jti: str) -> TokenError | None:
    """What in a chain, root first, makes the token at its end fall; nothing where it stands.

    >>> root = {"jti": "a", "is_revoked": True, "revoke_reason": "key_lost"}
    >>> fall_of({"edges": [root, {"jti": "b", "parent_jti": "a"}]}, "b").revoked_jti
    'a'
    """
    edges, nodes = chain.get("edges"), chain.get("nodes") or []
    if not _are_objects(edges) or not _are_objects(nodes):
        return TokenError("the token's chain cannot be read", code="credential_not_found")
    for edge in edges:
        # Anything but a plain no: what cannot be read has not been shown to stand.
        if edge.get("is_revoked") not in (None, False) or edge.get("revoked_at"):
            found, reason = text_of(edge.get("jti")), text_of(edge.get("revoke_reason"))
            which = "the token" if found == jti else "a token that it was delegated from"
            return RevokedError(f"{which} was revoked: get a new one", revoked_jti=found, reason=reason)
    for node in nodes:
        status = text_of(node.get("status"))
        if status in REFUSED_STATUSES:
            who = text_of(node.get("wimse_uri")) or text_of(node.get("id"))
            return RevokedError(f"an agent in the token's chain is {status}", identity=who, status=status)
    known = [edge.get("jti") for edge in edges]
    # The authority walks so many levels and no more: what is above might have been revoked.
    if jti not in known or any(edge.get("parent_jti") and edge["parent_jti"] not in known for edge in edges):
        return TokenError("the token's chain cannot be seen whole", code="credential_not_found")
    return None


def _are_objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _again(error: TokenError) -> TokenError:
    """The same error, anew: one that is kept must not gather the tracebacks of all who hear of it."""
    again = type(error)(str(error), code=error.code)
    again.__dict__.update(error.__dict__)
    return again
