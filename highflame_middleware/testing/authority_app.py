"""The test authority over HTTP: ZeroID's paths, as far as those who verify tokens and delegate them need them."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..asgi_types import Receive, Scope, Send
from ..identity.keys import read_key
from ..identity.tokens import opened, verified
from .authority import ADMIN, Agent, Authority, Credential, OAuthError

__all__ = ["respond"]

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_MOST = 256 * 1024
_Answer = tuple[int, Any]


async def respond(authority: Authority, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    request: Any = scope
    if request["type"] == "lifespan":
        await _live(receive, send)
        return
    if request["type"] != "http":
        raise TypeError(f"this authority speaks HTTP, not {request['type']}")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request["headers"]}
    path = request["path"]
    body = await _read(receive)
    authority.seen.append((request["method"], path))
    if authority.delay:
        import anyio  # noqa: PLC0415 - there with httpx

        await anyio.sleep(authority.delay)
    status: int = 503
    answer: Any = {"title": "broken off by the test"}
    if not authority.broken:
        try:
            status, answer = _answer(authority, request["method"], path, headers, body)
        except OAuthError as error:
            status, answer = error.status, {"error": error.code, "error_description": error.description}
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    length = str(len(content)).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read(receive: Receive) -> bytes:
    body = b""
    while len(body) <= _MOST:
        message: Any = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body[:_MOST]


def _answer(authority: Authority, method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
    if method == "GET" and path == "/.well-known/jwks.json":
        return 200, authority.document if authority.document is not None else {"keys": authority.keys()}
    if method == "GET" and path == "/.well-known/oauth-authorization-server" and authority.describes_itself:
        return 200, _metadata(authority.issuer)
    if method == "GET" and path.startswith("/delegations/by-jti/"):
        return _lineage(authority, headers, unquote(path.removeprefix("/delegations/by-jti/")))
    if method == "POST" and path == "/oauth2/token":
        return 200, _token(authority, headers, _fields(headers, body))
    if method == "POST" and path == "/oauth2/token/introspect":
        fields = _fields(headers, body)
        _client(authority, fields)
        return 200, _introspected(authority, fields.get("token", ""))
    if method == "POST" and path == "/oauth2/token/revoke":
        fields = _fields(headers, body)
        _client(authority, fields)
        credential = authority.standing(fields.get("token", ""))
        if credential is not None:
            authority.revoke(credential.jti)
        return 200, {}
    return 404, {"title": "Not Found", "status": 404}


def _metadata(issuer: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "token_endpoint": f"{issuer}/oauth2/token",
        "introspection_endpoint": f"{issuer}/oauth2/token/introspect",
        "revocation_endpoint": f"{issuer}/oauth2/token/revoke",
        "grant_types_supported": ["api_key", "client_credentials", _EXCHANGE],
        "dpop_signing_alg_values_supported": ["ES256", "RS256"],
    }


def _fields(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    if "json" in headers.get("content-type", ""):
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise OAuthError("invalid_request", "the body is no JSON object")
        return {name: value for name, value in found.items() if isinstance(value, str)}
    return dict(parse_qsl(body.decode("latin-1")))


def _client(authority: Authority, fields: Mapping[str, str]) -> None:
    expected = authority.clients.get(fields.get("client_id", ""))
    if expected is None or not hmac.compare_digest(expected.encode(), fields.get("client_secret", "").encode()):
        raise OAuthError("invalid_client", "the client is not known", 401)


def _token(authority: Authority, headers: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, Any]:
    grant, jkt = fields.get("grant_type"), _proven(authority, headers)
    if grant == "api_key":
        agent = _agent(authority, fields.get("api_key", ""))
        asked = fields.get("scope", "").split()
        granted = [name for name in asked if name in agent.scopes] if asked else agent.scopes
        if asked and not granted:
            raise OAuthError("invalid_scope", "the identity may have none of these scopes")
        token = authority.issue(agent, scopes=granted, jkt=jkt)
    elif grant == _EXCHANGE:
        token = authority.delegate(
            fields.get("subject_token", ""), fields.get("actor_token", ""), scope=fields.get("scope", ""), jkt=jkt
        )
    else:
        raise OAuthError("unsupported_grant_type", "api_key and token-exchange are")
    claims = authority.claims_of(token)
    return {
        "access_token": token,
        "token_type": "DPoP" if jkt else "Bearer",
        "expires_in": int(claims["exp"] - claims["iat"]),
        "scope": " ".join(claims["scopes"]),
        "jti": claims["jti"],
        "iat": claims["iat"],
        "account_id": claims["account_id"],
        "project_id": claims["project_id"],
        "external_id": claims.get("external_id", ""),
        "user_id": "",
    }


def _agent(authority: Authority, key: str) -> Agent:
    for agent in list(authority.agents.values()):
        if hmac.compare_digest(agent.api_key.encode(), key.encode()) and agent.status == "active":
            return agent
    raise OAuthError("invalid_grant", "the key is not known")


def _proven(authority: Authority, headers: Mapping[str, str]) -> str | None:
    """The thumbprint of the key whose possession is proven, if that is."""
    proof = headers.get("dpop")
    if proof is None:
        return None
    from ..errors import TokenError  # noqa: PLC0415 - what a proof that does not hold raises

    try:
        header = opened(proof, ("ES256", "RS256"), types=frozenset({"dpop+jwt"}), what="proof")
        key = read_key(header.get("jwk"), (header["alg"],))
        said = verified(proof, key, what="proof") if key is not None else {}
    except TokenError:
        key, said = None, {}
    url = f"{authority.issuer}/oauth2/token"
    if key is None or said.get("htm") != "POST" or said.get("htu") != url or not said.get("jti"):
        raise OAuthError("invalid_dpop_proof", "the proof does not hold")
    return key.thumbprint


def _introspected(authority: Authority, token: str) -> dict[str, Any]:
    credential = authority.standing(token)
    agent = authority.agents[credential.agent] if credential is not None else None
    if credential is None or agent is None or agent.status != "active":
        return {"active": False}
    claims = dict(credential.claims)
    return {"active": True, **claims, "scope": " ".join(claims.pop("scopes")), "status": agent.status}


def _lineage(authority: Authority, headers: Mapping[str, str], jti: str) -> _Answer:
    asker = authority.standing(headers.get("authorization", "").removeprefix("Bearer "))
    if asker is None:
        return 401, {"title": "Unauthorized", "status": 401}
    if not set(ADMIN) & set(asker.claims["scopes"]):
        return 403, {"title": "Forbidden", "status": 403, "detail": "needs nhi:manage"}
    chain = authority.chain(jti)
    own = headers.get("x-account-id", asker.claims["account_id"]), asker.claims["project_id"]
    # What belongs to another tenant is not shown to be there at all.
    if not chain or (chain[-1].claims["account_id"], chain[-1].claims["project_id"]) != own:
        return 404, {"title": "Not Found", "status": 404}
    agents = [authority.agents[uri] for uri in dict.fromkeys(found.agent for found in chain)]
    nodes = [
        {
            "id": agent.external_id,
            "wimse_uri": agent.uri,
            "name": agent.external_id,
            "identity_type": agent.identity_type,
            "trust_level": agent.trust_level,
            "status": agent.status,
        }
        for agent in agents
    ]
    return 200, {"nodes": nodes, "edges": [_edge(authority, found) for found in chain]}


def _edge(authority: Authority, found: Credential) -> dict[str, Any]:
    parent = authority.credentials.get(found.parent)
    given, taken = list(found.claims["scopes"]), list(parent.claims["scopes"]) if parent else []
    revoked: dict[str, Any] = {"is_revoked": False}
    if found.revoked_at is not None:
        revoked = {"is_revoked": True, "revoked_at": _written(found.revoked_at), "revoke_reason": found.reason}
    return {
        "jti": found.jti,
        "parent_jti": found.parent,
        "from": parent.agent if parent else "",
        "to": found.agent,
        "mission_id": str(found.claims.get("mission_id", "")),
        "issued_at": _written(found.claims["iat"]),
        "expires_at": _written(found.claims["exp"]),
        "grant_type": found.claims["grant_type"],
        "delegation_depth": found.claims["delegation_depth"],
        "scopes_in": taken,
        "scopes_out": given,
        "attenuated": [name for name in taken if name not in given],
        **revoked,
    }


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
