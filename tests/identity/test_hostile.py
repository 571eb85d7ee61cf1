"""Whatever comes as headers, token, proof, key set or chain: somebody is let in, or there is an `IdentityError`."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from highflame_middleware.errors import IdentityError
from highflame_middleware.identity import Authenticator, Identity
from highflame_middleware.identity.keys import read_keys
from highflame_middleware.identity.revocation import fall_of
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.identity.kit import RESOURCE, URL, verifier_of

VALUES: list[Any] = [
    None, True, False, 0, -1, 1e308, float("nan"), float("inf"), 10**400, "", "x", "é\ud800", "\x00", "a" * 5000,
    [], {}, [[]], ["x", 1, None], {"sub": {}}, {"jkt": []}, {"jkt": "x"}, {"act": {"sub": 1}}, {"kty": "EC"},
]  # fmt: skip
CLAIMS = ["iss", "sub", "aud", "resource", "exp", "iat", "nbf", "jti", "act", "scopes", "scope", "cnf", "status",
          "principal_type", "trust_level", "delegation_depth", "role", "session_id"]  # fmt: skip
HEADERS = ["alg", "kid", "typ", "jwk", "crit", "b64", "x5c", "jku", "zip"]


def encoded(value: Any) -> str:
    content = json.dumps(value).encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def spoiled(draw: random.Random, text: str) -> str:
    """A text with some of its characters replaced, dropped or doubled."""
    characters = list(text)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(characters) + 1)
        characters[place : place + draw.randint(0, 2)] = draw.choice(
            ["", ".", "=", "\x00", "é", " ", "A", "\r\n", "{"]
        )
    return "".join(characters)


@pytest.mark.parametrize("seed", range(12))
def test_headers_tokens_and_proofs(authority: Authority, agent: Agent, seed: int) -> None:
    draw, holder = random.Random(seed), Holder()
    door = Authenticator(verifier_of(authority))
    good = authority.claims_of(authority.issue(agent, user="u", resource=RESOURCE, jkt=holder.jkt))
    let_in = 0
    for place in range(40):
        odds = 0.0 if place % 8 == 0 else 1.0
        claims = dict(good)
        for name in draw.sample(CLAIMS, draw.randint(0, 2) if odds else 0):
            claims[name] = draw.choice(VALUES)
        token = authority.sign(claims)
        if draw.random() < 0.3 * odds:
            header = {"alg": "ES256", "kid": authority.kid, draw.choice(HEADERS): draw.choice(VALUES)}
            token = ".".join([encoded(header), *token.split(".")[1:]])
        changes = {
            name: draw.choice(VALUES)
            for name in draw.sample(["htm", "htu", "ath", "iat", "jti"], draw.randint(0, 1) if odds else 0)
        }
        proof = holder.proof(token, "POST", URL, **changes)
        if draw.random() < 0.2 * odds:
            token = spoiled(draw, token)
        if draw.random() < 0.2 * odds:
            proof = spoiled(draw, proof)
        schemes = ["DPoP", "DPoP", "DPoP", "Bearer", "dpop", "Basic", "", "DPoP DPoP"] if odds else ["DPoP"]
        scheme = draw.choice(schemes)
        headers = [("Authorization", f"{scheme} {token}"), ("DPoP", proof)]
        if draw.random() < 0.1 * odds:
            headers.append(draw.choice(headers))
        raw = [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers]
        try:
            found = door.authenticate(raw if draw.random() < 0.5 else headers, "POST", URL)
        except IdentityError as error:
            refusal = door.refuse(error)
            assert refusal.status in (400, 401)
            assert all(value.isascii() and value.isprintable() for _, value in refusal.headers)
            json.loads(refusal.body)
        else:
            let_in += 1
            assert isinstance(found, Identity)
            assert found.claims.iss == authority.issuer
            assert RESOURCE in found.claims.resource
            assert found.claims.jkt == holder.jkt
            found.context()
    assert 5 <= let_in < 40


@pytest.mark.parametrize("seed", range(20))
def test_key_sets_and_chains(seed: int) -> None:
    draw, holder = random.Random(seed), Holder()
    for _ in range(40):
        jwk: dict[str, Any] = {**holder.jwk, "kid": "k", "use": "sig"}
        for name in draw.sample([*jwk, "alg", "d", "key_ops", "n", "e"], 2):
            jwk[name] = draw.choice(VALUES)
        document = draw.choice(
            [{"keys": [jwk, draw.choice(VALUES)]}, {"keys": draw.choice(VALUES)}, draw.choice(VALUES)]
        )
        try:
            keys = read_keys(json.dumps(document).encode(), ("ES256", "RS256"))
        except ValueError:
            pass
        else:
            assert all(isinstance(kid, str) and kid for kid, _ in keys)
        edge = {"jti": "t", draw.choice(["jti", "parent_jti", "is_revoked", "revoked_at"]): draw.choice(VALUES)}
        chain = {"edges": draw.choice([[edge], draw.choice(VALUES)]), "nodes": draw.choice(VALUES)}
        fall = fall_of(chain, "t")
        if chain["edges"] != [edge]:
            assert fall is not None
