"""An authority for tests, as ZeroID is one: agents, their tokens in both profiles, keys that change, revocation.

It does what ZeroID does for those who verify, over real HTTP (`Authority.serve`), and whatever else a test wants of
it: sign anything, forget a key, break off. Needs the extra ``identity``.

>>> from highflame_middleware.identity import TokenVerifier
>>> authority = Authority()
>>> with authority.serve() as url:
...     agent = authority.register("writer", scopes=["tools:read"])
...     claims = TokenVerifier(issuer=url, audience=url).verify(authority.issue(agent))
>>> claims.current_actor == agent.uri, claims.scopes
(True, ('tools:read',))
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from ..asgi_types import Receive, Scope, Send
from ..extras import require
from ..identity.dpop import token_hash
from ..identity.keys import pyjwt, read_key
from .server import serve_on_thread

__all__ = ["Agent", "Authority", "Credential", "Holder", "OAuthError"]

Profile: TypeAlias = Literal["legacy", "rfc8693"]

ADMIN = ("nhi:manage", "credentials:manage")
MAX_DEPTH = 5
_ASSERTION = 300.0  # seconds that an actor's assertion may last


class OAuthError(Exception):
    """A refusal of the token endpoint."""

    def __init__(self, code: str, description: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.description, self.status = code, description, status


class Holder:
    """A key pair and what is signed with it: an actor's assertions, proofs of possession.

    >>> holder = Holder()
    >>> holder.jwk["kty"], len(holder.jkt)
    ('EC', 43)
    """

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.private = _generate(algorithm)
        self.jwk = _jwk(self.private, algorithm)
        key = read_key(self.jwk, (algorithm,))
        assert key is not None
        self.jkt = key.thumbprint

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
        """A JWT."""
        # As bytes: what is signed is whatever a test wants, sensible or not.
        content = json.dumps(dict(claims)).encode()
        token: str = pyjwt().PyJWS().encode(content, self.private, algorithm=self.algorithm, headers=dict(headers))
        return token

    def proof(self, token: str, method: str, url: str, *, now: float | None = None, **changes: Any) -> str:
        """A proof of possession for one request; ``changes`` replace its claims, or take out those set to None."""
        claims = {
            "htm": method,
            "htu": url,
            "iat": time.time() if now is None else now,
            "jti": secrets.token_hex(8),
            "ath": token_hash(token),
            **changes,
        }
        found = {name: value for name, value in claims.items() if value is not None}
        return self.sign(found, {"typ": "dpop+jwt", "jwk": self.jwk})


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One that is registered."""

    uri: str
    external_id: str
    scopes: tuple[str, ...]
    identity_type: str = "agent"
    sub_type: str = "autonomous"
    trust_level: str = "first_party"
    status: str = "active"
    account_id: str = ""
    project_id: str = ""
    api_key: str = field(default="", repr=False)
    holder: Holder = field(default_factory=Holder, repr=False, compare=False)

    def assertion(self, audience: str, **changes: Any) -> str:
        """What it signs of itself, to act on another's token; ``audience`` is the issuer."""
        now = time.time()
        claims = {"iss": self.uri, "sub": self.uri, "aud": audience, "iat": now, "exp": now + 120, "jti": _id()}
        return self.holder.sign({**claims, **changes}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A token that was given out."""

    jti: str
    agent: str
    claims: Mapping[str, Any] = field(repr=False)
    parent: str = ""
    revoked_at: float | None = None
    reason: str = ""


class Authority:
    """Gives out tokens, and answers for them. ``clock`` is seconds since 1970.

    ``seen`` lists the requests that it was asked, ``broken`` makes it answer 503 to all of them, ``document``
    replaces its set of keys by whatever bytes.
    """

    def __init__(
        self,
        *,
        issuer: str = "https://auth.zeroid.test",
        profile: Profile = "rfc8693",
        account_id: str = "acc-1",
        project_id: str = "pro-1",
        clients: Mapping[str, str] | None = None,
        describes_itself: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        pyjwt()
        self.issuer, self.profile, self.clock = issuer, profile, clock
        self.account_id, self.project_id = account_id, project_id
        self.clients = dict(clients or {"resource-server": "s3cret"})
        self.describes_itself = describes_itself
        self.seen: list[tuple[str, str]] = []
        self.broken = False
        self.delay = 0.0
        self.document: bytes | None = None
        self.agents: dict[str, Agent] = {}
        self.credentials: dict[str, Credential] = {}
        self._lock = threading.RLock()
        self._published: dict[str, Holder] = {}
        self._signing = ""
        self.rotate()

    # --- keys ----------------------------------------------------------------------------------------------------

    def rotate(self, algorithm: str = "ES256") -> str:
        """Sign with a new key from now on; gives its name. Those before it stay published."""
        kid = f"key-{_id()}"
        with self._lock:
            self._published = {**self._published, kid: Holder(algorithm)}
            self._signing = kid
        return kid

    def remove(self, kid: str) -> Holder:
        """Publish a key no more."""
        with self._lock:
            published = dict(self._published)
            holder = published.pop(kid)
            self._published = published
        return holder

    @property
    def kid(self) -> str:
        """The name of the key that signs."""
        return self._signing

    def keys(self) -> list[dict[str, Any]]:
        """The keys that are published."""
        return [
            {**holder.jwk, "kid": kid, "alg": holder.algorithm, "use": "sig"}
            for kid, holder in self._published.items()
        ]

    def sign(self, claims: Mapping[str, Any], *, holder: Holder | None = None, **headers: Any) -> str:
        """A token that says just this; ``headers`` replace its header, ``holder`` its key."""
        found = holder or self._published[self._signing]
        return found.sign(claims, {"kid": self._signing, **headers})

    # --- agents --------------------------------------------------------------------------------------------------

    def register(self, name: str, *, scopes: Iterable[str] = (), **fields: Any) -> Agent:
        """Make an agent known; ``scopes`` are those that it may ever have."""
        account, project = fields.pop("account_id", self.account_id), fields.pop("project_id", self.project_id)
        kind = fields.get("identity_type", "agent")
        agent = Agent(
            uri=f"spiffe://zeroid.test/{account}/{project}/{kind}/{name}",
            external_id=name,
            scopes=tuple(scopes),
            api_key=f"zid_sk_{_id()}",
            account_id=account,
            project_id=project,
            **fields,
        )
        with self._lock:
            self.agents[agent.uri] = agent
        return agent

    def deactivate(self, agent: Agent) -> None:
        """Take an agent out of service, and every token with it that it was given or that comes from one."""
        self._stand(agent, "deactivated")
        for credential in list(self.credentials.values()):
            if credential.agent == agent.uri:
                self.revoke(credential.jti, reason="identity_deactivated")

    def suspend(self, agent: Agent) -> None:
        """Put an agent out of service for a while: nothing is revoked."""
        self._stand(agent, "suspended")

    def _stand(self, agent: Agent, status: str) -> None:
        with self._lock:
            self.agents[agent.uri] = replace(self.agents[agent.uri], status=status)

    # --- tokens --------------------------------------------------------------------------------------------------

    def issue(
        self,
        agent: Agent,
        *,
        scopes: Iterable[str] | None = None,
        user: str | None = None,
        jkt: str | None = None,
        lifetime: float = 3600.0,
        profile: Profile | None = None,
        grant_type: str = "api_key",
        **claims: Any,
    ) -> str:
        """A token for an agent, on behalf of a ``user`` and bound to the key of ``jkt`` where those are given.

        ``claims`` replace its claims, or take out those that are None.
        """
        described = self._described(agent)
        base: dict[str, Any] = {"sub": agent.uri, **described}
        if (profile or self.profile) == "rfc8693":
            base["principal_type"] = "workload"
            if user is not None:
                actor = {name: described.pop(name) for name in ("identity_type", "trust_level", "external_id")}
                base = {"sub": user, **described, "principal_type": "user", "act": {"sub": agent.uri, **actor}}
        elif user is not None:
            base["act"] = {"sub": user}
        base |= {
            "scopes": list(agent.scopes if scopes is None else scopes),
            "grant_type": grant_type,
            "delegation_depth": 0,
            **({"cnf": {"jkt": jkt}} if jkt else {}),
            **claims,
        }
        return self._give(agent, base, lifetime=lifetime)

    def delegate(
        self,
        subject_token: str,
        actor_token: str,
        *,
        scope: str,
        jkt: str | None = None,
        lifetime: float = 3600.0,
    ) -> str:
        """A token for who signed ``actor_token``, from another's: narrower, never wider; an `OAuthError` else."""
        parent = self.standing(subject_token)
        agent = self._actor(actor_token)
        if parent is None:
            raise OAuthError("invalid_grant", "the subject token does not stand")
        depth = int(parent.claims["delegation_depth"]) + 1
        if depth > MAX_DEPTH:
            raise OAuthError("invalid_grant", "the chain is too deep")
        allowed = set(parent.claims["scopes"]) & set(agent.scopes)
        granted = [name for name in dict.fromkeys(scope.split()) if name in allowed]
        if not granted:
            raise OAuthError("invalid_scope", "nothing of what is asked for can be delegated")
        described = self._described(agent)
        base: dict[str, Any]
        if parent.claims.get("principal_type"):
            attributes = {name: described.pop(name) for name in ("identity_type", "trust_level", "external_id")}
            before = parent.claims.get("act") or {"sub": parent.claims["sub"]}
            # The principal is where the chain began: it is no actor of its own.
            prior = _subjects(before) if before["sub"] != parent.claims["sub"] else None
            base = {
                "sub": parent.claims["sub"],
                **described,
                "principal_type": parent.claims["principal_type"],
                "act": {"sub": agent.uri, **attributes, **({"act": prior} if prior else {})},
            }
        else:
            base = {"sub": agent.uri, **described, "act": {"sub": parent.claims["sub"]}}
        named = ("aud", "resource", "mission_id", "session_id")
        base |= {name: parent.claims[name] for name in named if name in parent.claims}
        base |= {
            "scopes": granted,
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "delegation_depth": depth,
            **({"cnf": {"jkt": jkt}} if jkt else {}),
        }
        left = float(parent.claims["exp"]) - self.clock()
        return self._give(agent, base, lifetime=min(lifetime, left), parent=parent.jti)

    def revoke(self, jti: str, *, reason: str = "revoked_by_admin") -> None:
        """Take a token back, and all that were delegated from it."""
        with self._lock:
            credential = self.credentials[jti]
            if credential.revoked_at is None:
                self.credentials[jti] = replace(credential, revoked_at=self.clock(), reason=reason)
            below = [found.jti for found in self.credentials.values() if found.parent == jti]
        for child in below:
            self.revoke(child, reason=reason)

    def claims_of(self, token: str) -> dict[str, Any]:
        """What a token says, unverified."""
        claims: dict[str, Any] = pyjwt().decode(token, options={"verify_signature": False})
        return claims

    def standing(self, token: str) -> Credential | None:
        """The credential of a token that is ours, in its time and not revoked."""
        jwt = pyjwt()
        try:
            holder = self._published[jwt.get_unverified_header(token)["kid"]]
            options = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
            public = jwt.PyJWK(holder.jwk, holder.algorithm).key
            claims = jwt.decode(token, public, algorithms=[holder.algorithm], options=options)
        except (jwt.PyJWTError, KeyError):
            return None
        found = self.credentials.get(claims.get("jti", ""))
        stands = found is not None and found.revoked_at is None and claims["exp"] > self.clock()
        return found if stands else None

    def chain(self, jti: str) -> list[Credential]:
        """A credential and all above it, root first."""
        chain: list[Credential] = []
        while jti and (found := self.credentials.get(jti)) is not None:
            chain.insert(0, found)
            jti = found.parent
        return chain

    def _described(self, agent: Agent) -> dict[str, Any]:
        current = self.agents[agent.uri]
        names = ("account_id", "project_id", "external_id", "identity_type", "sub_type", "trust_level", "status")
        return {name: getattr(current, name) for name in names}

    def _give(self, agent: Agent, base: dict[str, Any], *, lifetime: float, parent: str = "") -> str:
        now = int(self.clock())
        stamped = {"iss": self.issuer, "aud": [self.issuer], "iat": now, "exp": now + int(lifetime), "jti": _id()}
        claims = {name: value for name, value in {**stamped, **base}.items() if value is not None}
        jti = str(claims.get("jti", ""))
        with self._lock:
            self.credentials[jti] = Credential(jti=jti, agent=agent.uri, claims=claims, parent=parent)
        return self.sign(claims)

    def _actor(self, assertion: str) -> Agent:
        jwt = pyjwt()
        try:
            said = self.claims_of(assertion)
            agent = self.agents[str(said.get("iss"))]
            public = jwt.PyJWK(agent.holder.jwk, agent.holder.algorithm).key
            needed = {"require": ["exp", "iat", "sub", "jti"]}
            jwt.decode(assertion, public, algorithms=["ES256"], audience=self.issuer, options=needed, leeway=5)
        except (jwt.PyJWTError, KeyError):
            raise OAuthError("invalid_grant", "the actor token does not hold") from None
        if said["sub"] != agent.uri or said["exp"] - said["iat"] > _ASSERTION or agent.status != "active":
            raise OAuthError("invalid_grant", "the actor token does not hold")
        return agent

    # --- over HTTP -----------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        from .authority_app import respond  # noqa: PLC0415 - it is made of what stands here

        await respond(self, scope, receive, send)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve it on 127.0.0.1; gives its address, which is its issuer from then on."""
        with serve_on_thread(self) as url:
            self.issuer = url
            yield url

    def asked(self, path: str) -> int:
        """How many requests came for a path, or one below it."""
        return sum(1 for _, found in self.seen if found == path or found.startswith(path + "/"))


def _subjects(actor: Mapping[str, Any]) -> dict[str, Any]:
    """A chain as prior actors have it: subjects alone."""
    inner = actor.get("act")
    return {"sub": actor["sub"], **({"act": _subjects(inner)} if isinstance(inner, Mapping) else {})}


def _id() -> str:
    return secrets.token_hex(12)


def _generate(algorithm: str) -> Any:
    if algorithm == "ES256":
        ec = require("cryptography.hazmat.primitives.asymmetric.ec", extra="identity", needed="cryptography>=3.4")
        return ec.generate_private_key(ec.SECP256R1())
    rsa = require("cryptography.hazmat.primitives.asymmetric.rsa", extra="identity", needed="cryptography>=3.4")
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _jwk(private: Any, algorithm: str) -> dict[str, Any]:
    numbers = private.public_key().public_numbers()
    if algorithm == "ES256":
        # Each as long as the curve's field, as RFC 7518 wants it, which PyJWT 2.9 does not see to.
        return {"kty": "EC", "crv": "P-256", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}
    return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}


def _number(value: int, size: int = 0) -> str:
    octets = value.to_bytes(size or (value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
