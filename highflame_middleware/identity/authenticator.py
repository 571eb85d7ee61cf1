"""What a door asks: who makes this request, or why it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ..errors import ConfigError, IdentityError, TokenError
from ..flow import Flow
from ..types import Secret
from .challenge import Refusal, refuse
from .claims import AgentClaims
from .dpop import Proofs
from .verifier import TokenVerifier

__all__ = ["Authenticator", "Headers", "Identity"]

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

_CREDENTIALS = re.compile(r"([A-Za-z]+) +([\x21-\x7e]+) *")
# The path of an address, whatever its host is.
_PATH = re.compile(r"[^/?#]*//[^/?#]*([^?#]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who makes a request. ``token`` is what they presented, for calls that go on with it."""

    claims: AgentClaims
    token: Secret = field(repr=False)
    scheme: str = "Bearer"

    @property
    def current_actor(self) -> str:
        """Who presents the token: whom to authorize."""
        return self.claims.current_actor

    @property
    def prior_actors(self) -> tuple[str, ...]:
        """Who presented it before, latest first: for the record."""
        return self.claims.prior_actors

    @property
    def human(self) -> str | None:
        """The person behind the call, where there is one."""
        return self.claims.human

    def context(self) -> dict[str, Any]:
        """Keyword arguments for `highflame_middleware.context`: for whom the calls inside are made.

        The user is the person behind the call, or else the agent that makes it.

        >>> from highflame_middleware.identity import read_claims
        >>> claims = read_claims({"sub": "user-1", "principal_type": "user", "act": {"sub": "agent-1"}})
        >>> Identity(claims=claims, token=Secret("t")).context()
        {'user': 'user-1', 'metadata': {'actor': 'agent-1', 'human': 'user-1'}}
        """
        claims = self.claims
        fields: dict[str, Any] = {
            "user": claims.human or claims.current_actor,
            "role": claims.role,
            "session": claims.session_id,
            "account": claims.account_id,
            "application": claims.application_id,
        }
        metadata: dict[str, Any] = {
            "actor": claims.current_actor,
            "prior_actors": list(claims.prior_actors),
            "human": claims.human,
            "agent": claims.external_id,
            "identity_type": claims.identity_type,
            "trust_level": claims.trust_level,
            "project_id": claims.project_id,
            "mission_id": claims.mission_id,
            "task_id": claims.task_id,
        }
        found = {name: value for name, value in fields.items() if value}
        return {**found, "metadata": {name: value for name, value in metadata.items() if value}}


class Authenticator:
    """Finds out who makes a request, by the token in its ``Authorization``.

    ``require_dpop`` takes only tokens that come with a proof of possession; one that is bound to a key is never
    taken without. ``origin`` (``https://api.example.com``) is how callers know this service, where a proxy hides
    it. ``resource_metadata`` is the address of the service's RFC 9728 document, told in challenges with ``realm``.

    >>> verifier = TokenVerifier(issuer="https://auth.example.com", resource="https://api.example.com")
    >>> authenticator = Authenticator(verifier)
    >>> try:
    ...     authenticator.authenticate({}, "GET", "https://api.example.com/")
    ... except IdentityError as error:
    ...     refusal = authenticator.refuse(error)
    >>> refusal.status, [value for name, value in refusal.headers if name == "www-authenticate"]
    (401, ['Bearer', 'DPoP algs="ES256 RS256"'])
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        proofs: Proofs | None = None,
        require_dpop: bool = False,
        origin: str | None = None,
        realm: str | None = None,
        resource_metadata: str | None = None,
    ) -> None:
        self.verifier = verifier
        self.resource_metadata = resource_metadata
        self._proofs = Proofs() if proofs is None else proofs
        self._schemes = ("DPoP",) if require_dpop else ("Bearer", "DPoP")
        self._realm = realm
        self._origin = None
        if origin is not None:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
                raise ConfigError(f"origin={origin!r} cannot be used: give https:// and a host, without a path")
            self._origin = f"{parts.scheme}://{parts.netloc}"

    def authenticate(
        self,
        headers: Headers,
        method: str,
        url: str,
        *,
        scopes: Sequence[str] = (),
        min_trust: str | None = None,
    ) -> Identity:
        """Who makes the request; an `IdentityError` for one that is not let in."""
        found: Identity = self.verifier.run(self._identity(headers, method, url, scopes, min_trust))
        return found

    async def aauthenticate(
        self,
        headers: Headers,
        method: str,
        url: str,
        *,
        scopes: Sequence[str] = (),
        min_trust: str | None = None,
    ) -> Identity:
        """The same without blocking the event loop, asyncio's or trio's."""
        found: Identity = await self.verifier.arun(self._identity(headers, method, url, scopes, min_trust))
        return found

    async def aclose(self) -> None:
        """Close the running event loop's connections: the verifier's, and those to where used proofs are kept."""
        try:
            await self._proofs.aclose()
        finally:
            await self.verifier.aclose()

    def refuse(self, error: IdentityError) -> Refusal:
        """The answer for an error that `authenticate` raised."""
        return refuse(
            error,
            schemes=self._schemes,
            realm=self._realm,
            resource_metadata=self.resource_metadata,
            algorithms=self._proofs.algorithms,
        )

    def _identity(
        self, headers: Headers, method: str, url: str, scopes: Sequence[str], min_trust: str | None
    ) -> Flow[Identity]:
        scheme, token, proofs = _presented(headers)
        if scheme == "Bearer" and "Bearer" not in self._schemes:
            raise TokenError(
                "a token is only taken with a proof of possession here: send it as 'Authorization: DPoP …'",
                code="invalid_dpop_proof",
            )
        clock = self.verifier.clock()
        claims = yield from self.verifier.signed(token, clock)
        if scheme == "DPoP":
            yield from self._prove(claims, token, proofs, method, url)
        elif claims.jkt:
            raise TokenError(
                "the token is bound to a key: send it as 'Authorization: DPoP …', with a proof",
                code="invalid_dpop_proof",
            )
        yield from self.verifier.settled(claims, token, clock, scopes=scopes, min_trust=min_trust)
        return Identity(claims=claims, token=Secret(token), scheme=scheme)

    def _prove(self, claims: AgentClaims, token: str, proofs: list[str], method: str, url: str) -> Flow[None]:
        if not claims.jkt:
            raise TokenError("the token is bound to no key: send it as 'Authorization: Bearer …'")
        if len(proofs) != 1:
            raise TokenError("send one proof with the token, in the header DPoP", code="invalid_dpop_proof")
        if self._origin is not None:
            found = _PATH.match(url)
            url = self._origin + (found[1] if found is not None else "")
        yield from self._proofs.checked(
            proofs[0], token=token, jkt=claims.jkt, method=method, url=url, now=self.verifier.now()
        )

    def __repr__(self) -> str:
        return f"Authenticator({self.verifier!r})"


def _presented(headers: Headers) -> tuple[str, str, list[str]]:
    """Scheme and token, and the proofs, of a request's headers."""
    given: list[str] = []
    proofs: list[str] = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lowered = (name.decode("latin-1") if isinstance(name, bytes) else name).lower()
        if lowered in ("authorization", "dpop"):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            (given if lowered == "authorization" else proofs).append(text.strip())
    if len(given) > 1:
        raise TokenError("send one Authorization header, not several", code="invalid_request")
    found = _CREDENTIALS.fullmatch(given[0]) if given else None
    scheme = {"bearer": "Bearer", "dpop": "DPoP"}.get(found[1].lower()) if found is not None else None
    if found is not None and scheme is not None:
        return scheme, found[2], proofs
    word = given[0].partition(" ")[0].lower() if given else ""
    if word in ("bearer", "dpop"):
        raise TokenError(
            "the Authorization header cannot be read: send a scheme and one token", code="invalid_request"
        )
    raise TokenError("a token is required: send it as 'Authorization: Bearer …'", code="missing_token")
