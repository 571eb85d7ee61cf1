"""Which tokens hold: signature, issuer, audience, time, standing. What is marked P is what defect P got wrong."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError, InsufficientError, TokenError
from highflame_middleware.identity import TokenVerifier
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.identity.kit import RESOURCE, Clock, each_colour, refused, verifier_of, verify

HEAD_OF = {"alg": "ES256", "kid": "k"}


def encoded(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


HEAD = encoded(HEAD_OF) + "."


@each_colour
@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
@pytest.mark.parametrize("profile", ["legacy", "rfc8693"])
def test_a_token_that_holds(authority: Authority, agent: Agent, profile: Any, algorithm: str, colour: str) -> None:
    authority.rotate(algorithm)
    token = authority.issue(agent, user="user-1", profile=profile, resource=RESOURCE)
    claims = verify(colour, verifier_of(authority), token, scopes=["tools:read"], min_trust="first_party")
    assert (claims.current_actor, claims.external_id) == (agent.uri, "writer")
    assert claims.human == ("user-1" if profile == "rfc8693" else None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        # P: the issuer is compared, exactly.
        ({"iss": "https://evil.example"}, "invalid_issuer"),
        ({"iss": None}, "invalid_issuer"),
        ({"iss": ["https://auth.zeroid.test"]}, "invalid_issuer"),
        # P: a token for another service is not for this one.
        ({"resource": None}, "invalid_audience"),
        ({"resource": "https://other.example"}, "invalid_audience"),
        ({"resource": RESOURCE + "/"}, "invalid_audience"),
        ({"resource": {"x": RESOURCE}}, "invalid_audience"),
        # P: a token without a name cannot be revoked.
        ({"jti": None}, "invalid_token"),
        ({"jti": ""}, "invalid_token"),
        ({"jti": 7}, "invalid_token"),
        ({"jti": "x" * 257}, "invalid_token"),
        ({"sub": None}, "invalid_token"),
        ({"sub": 7}, "invalid_token"),
        ({"exp": None}, "invalid_token"),
        ({"exp": "9999999999"}, "invalid_token"),
        ({"exp": True}, "invalid_token"),
        ({"exp": float("inf")}, "invalid_token"),
        ({"exp": 10**400}, "invalid_token"),
        ({"iat": None}, "invalid_token"),
        ({"nbf": "soon"}, "invalid_token"),
        ({"act": {"sub": ""}}, "invalid_token"),
        ({"act": "user-1"}, "invalid_token"),
        ({"status": "deactivated"}, "token_inactive"),
        ({"status": "suspended"}, "token_inactive"),
        ({"status": "expired"}, "token_inactive"),
    ],
)
def test_a_claim_that_does_not_hold(authority: Authority, agent: Agent, changes: dict[str, Any], code: str) -> None:
    token = authority.issue(agent, **{"resource": RESOURCE, **changes})
    error = refused(lambda: verifier_of(authority).verify(token), quoting=token)
    assert (type(error), error.code) == (TokenError, code)


@pytest.mark.parametrize(
    ("leeway", "changes", "code"),
    [
        # P: clocks that differ by a little do no harm; by more than the leeway they do.
        (30, {"iat": 3}, None),
        (30, {"iat": 25, "nbf": 25}, None),
        (30, {"iat": 40}, "token_not_yet_valid"),
        (30, {"nbf": 40}, "token_not_yet_valid"),
        (0, {"iat": 5}, "token_not_yet_valid"),
        (30, {"iat": -100, "exp": -20}, None),
        (30, {"iat": -100, "exp": -31}, "token_expired"),
        (0, {"iat": -100, "exp": -1}, "token_expired"),
        (0, {"iat": -100, "exp": 5}, None),
    ],
)
def test_the_clocks_may_differ_by_so_much(
    authority: Authority, agent: Agent, leeway: float, changes: dict[str, float], code: str | None
) -> None:
    now = time.time()
    token = authority.issue(agent, resource=RESOURCE, **{name: now + value for name, value in changes.items()})
    verifier = verifier_of(authority, leeway=leeway)
    if code is None:
        assert verifier.verify(token).sub == agent.uri
    else:
        assert refused(lambda: verifier.verify(token)).code == code


def test_a_token_ends_with_its_time(authority: Authority, agent: Agent, clock: Clock) -> None:
    verifier = verifier_of(authority, clock=clock.wall, leeway=10)
    token = authority.issue(agent, resource=RESOURCE, lifetime=60)
    for ahead, held in ((0, True), (65, True), (71, False)):
        clock.ahead = ahead
        if held:
            verifier.verify(token)
        else:
            assert refused(lambda: verifier.verify(token)).code == "token_expired"


@pytest.mark.parametrize(
    ("wanted", "said", "held"),
    [
        ({"audience": "me"}, {"aud": "me"}, True),
        ({"audience": "me"}, {"aud": ["you", "me"]}, True),
        ({"audience": ["you", "me"]}, {"aud": "me"}, True),
        ({"audience": "me"}, {"aud": "meme"}, False),
        ({"audience": "me"}, {"aud": []}, False),
        ({"audience": "me"}, {"aud": None}, False),
        ({"audience": "me"}, {"aud": None, "resource": "me"}, False),
        ({"resource": ["r1", "r2"]}, {"resource": ["r2"]}, True),
        ({"resource": "r1"}, {"aud": "r1"}, False),
        ({"resource": "r1", "audience": "me"}, {"aud": "me", "resource": "r1"}, True),
        ({"resource": "r1", "audience": "me"}, {"aud": "you", "resource": "r1"}, False),
    ],
)
def test_for_whom_it_is(
    authority: Authority, agent: Agent, wanted: dict[str, Any], said: dict[str, Any], held: bool
) -> None:
    verifier = verifier_of(authority, **{"resource": None, **wanted})
    token = authority.issue(agent, **said)
    if held:
        verifier.verify(token)
    else:
        assert refused(lambda: verifier.verify(token)).code == "invalid_audience"


class TestWhatIsSigned:
    def test_by_another_key_of_the_same_name(self, authority: Authority, agent: Agent) -> None:
        claims = authority.claims_of(authority.issue(agent, resource=RESOURCE))
        forged = authority.sign(claims, holder=Holder())
        assert refused(lambda: verifier_of(authority).verify(forged), quoting=forged).code == "invalid_signature"

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_changed_afterwards(self, authority: Authority, agent: Agent, part: int) -> None:
        verifier = verifier_of(authority)
        parts = authority.issue(agent, resource=RESOURCE).split(".")
        other = authority.issue(agent, resource=RESOURCE, scopes=["everything"]).split(".")
        other[0] = encoded({"alg": "ES256", "kid": authority.kid, "typ": "JWT", "more": 1})
        parts[part] = other[part]
        assert refused(lambda: verifier.verify(".".join(parts))).code == "invalid_signature"

    @pytest.mark.parametrize(
        "alg", ["none", "None", "HS256", "ES384", "RS512", "PS256", "EdDSA", "", None, 7, ["ES256"]]
    )
    def test_by_an_algorithm_that_is_not_allowed(self, authority: Authority, agent: Agent, alg: Any) -> None:
        _, payload, signature = authority.issue(agent, resource=RESOURCE).split(".")
        token = ".".join([encoded({"alg": alg, "kid": authority.kid, "typ": "JWT"}), payload, signature])
        assert refused(lambda: verifier_of(authority).verify(token)).code == "unsupported_algorithm"

    def test_by_one_that_this_verifier_leaves_out(self, authority: Authority, agent: Agent) -> None:
        token = authority.issue(agent, resource=RESOURCE)
        verifier = verifier_of(authority, algorithms=["RS256"])
        assert refused(lambda: verifier.verify(token)).code == "unsupported_algorithm"

    def test_with_the_public_key_as_a_shared_secret(self, authority: Authority, agent: Agent) -> None:
        """The key says which algorithm it verifies, not the token."""
        authority.rotate("RS256")
        payload = authority.issue(agent, resource=RESOURCE).split(".")[1]
        signed = f"{encoded({'alg': 'HS256', 'kid': authority.kid})}.{payload}"
        secret = json.dumps(authority.keys()[-1]).encode()
        token = f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"
        assert refused(lambda: verifier_of(authority).verify(token)).code == "unsupported_algorithm"
        # Nor is an RSA key one for ES256, whatever the header says.
        _, payload, signature = authority.issue(agent, resource=RESOURCE).split(".")
        swapped = ".".join([encoded({"alg": "ES256", "kid": authority.kid}), payload, signature])
        assert refused(lambda: verifier_of(authority).verify(swapped)).code == "invalid_signature"

    @pytest.mark.parametrize(
        "headers",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": []},
            {"b64": False},
            {"b64": True},
            {"typ": "dpop+jwt"},
            {"typ": "secevent+jwt"},
            {"typ": 7},
            {"kid": 7},
            {"kid": None},
            {"kid": ""},
            {"kid": "x" * 300},
        ],
    )
    def test_with_a_header_that_is_not_to_be_read(
        self, authority: Authority, agent: Agent, headers: dict[str, Any]
    ) -> None:
        _, payload, signature = authority.issue(agent, resource=RESOURCE).split(".")
        header = {"alg": "ES256", "kid": authority.kid, "typ": "JWT", **headers}
        token = ".".join([encoded(header), payload, signature])
        assert refused(lambda: verifier_of(authority).verify(token)).code == "invalid_token"
        assert authority.asked("/.well-known/jwks.json") == 0

    @pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT", None])
    def test_types_that_access_tokens_have(self, authority: Authority, agent: Agent, kind: str | None) -> None:
        claims = authority.claims_of(authority.issue(agent, resource=RESOURCE))
        assert verifier_of(authority).verify(authority.sign(claims, typ=kind)).sub == agent.uri


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "...",
        "a.b",
        "a.b.c.d",
        "é.b.c",
        "a.b.c\n",
        " a.b.c",
        f"{encoded([])}.{encoded({})}.x",
        f"{encoded(b'[' * 5000)}.{encoded({})}.x",
        f"{encoded(b'{' + bytes(20))}.{encoded({})}.x",
        HEAD + encoded(b"[" * 5000) + ".x",
        HEAD + encoded(b"7") + ".x",
        HEAD + encoded(b'{"exp":' + b"9" * 5000 + b"}") + ".x",
        HEAD + encoded(b"\xff\xfe") + ".x",
    ],
)
def test_what_is_no_token_is_refused_without_asking_anybody(authority: Authority, token: str) -> None:
    error = refused(lambda: verifier_of(authority).verify(token), quoting=token)
    assert (type(error), error.code) == (TokenError, "invalid_token")
    assert authority.seen == []


def test_no_token_and_one_too_long(authority: Authority, agent: Agent) -> None:
    verifier = verifier_of(authority, max_token=600)
    assert refused(lambda: verifier.verify("")).code == "missing_token"
    assert refused(lambda: verifier.verify(authority.issue(agent, name="n" * 600))).code == "invalid_request"


class TestHowFarItReaches:
    @each_colour
    def test_scopes(self, authority: Authority, agent: Agent, colour: str) -> None:
        verifier = verifier_of(authority, scopes=["tools:read"])
        token = authority.issue(agent, resource=RESOURCE, scopes=["tools:read"])
        verify(colour, verifier, token)
        error = refused(lambda: verify(colour, verifier, token, scopes=["tools:execute"]), quoting=token)
        assert isinstance(error, InsufficientError)
        assert (error.code, error.scopes) == ("insufficient_scope", ("tools:read", "tools:execute"))
        none = authority.issue(agent, resource=RESOURCE, scopes=[])
        assert refused(lambda: verify(colour, verifier, none)).code == "insufficient_scope"

    def test_trust(self, authority: Authority) -> None:
        partner = authority.register("partner", trust_level="verified_third_party")
        token = authority.issue(partner, resource=RESOURCE)
        verifier = verifier_of(authority, min_trust="verified_third_party")
        verifier.verify(token)
        error = refused(lambda: verifier.verify(token, min_trust="first_party"))
        assert (type(error), error.code) == (InsufficientError, "insufficient_trust")
        # What one path asks for does not lower what all do.
        stranger = authority.issue(authority.register("s", trust_level="unverified"), resource=RESOURCE)
        assert refused(lambda: verifier.verify(stranger, min_trust="unverified")).code == "insufficient_trust"

    def test_the_trust_is_the_actors(self, authority: Authority) -> None:
        """A person's token, presented by an agent that is trusted less than its principal's claims would say."""
        stranger = authority.register("stranger", trust_level="unverified")
        token = authority.issue(stranger, user="user-1", resource=RESOURCE, trust_level="first_party")
        verifier = verifier_of(authority, min_trust="first_party")
        assert refused(lambda: verifier.verify(token)).code == "insufficient_trust"

    def test_statuses_may_be_chosen(self, authority: Authority, agent: Agent) -> None:
        token = authority.issue(agent, resource=RESOURCE, status="on_leave")
        verifier_of(authority).verify(token)
        strict = verifier_of(authority, refused_statuses=["on_leave"])
        assert refused(lambda: strict.verify(token)).code == "token_inactive"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"resource": None}, "give resource= or audience="),
        ({"resource": ""}, "resource"),
        ({"resource": [""]}, "resource cannot be used"),
        ({"issuer": ""}, "issuer must be given"),
        ({"issuer": "zeroid"}, "jwks_url must be given"),
        ({"issuer": "http://auth.example.test"}, "https"),
        ({"jwks_url": "http://auth.example.test/keys"}, "jwks_url"),
        ({"jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({"jwks_url": "https://user:pw@auth.example.test/keys"}, "jwks_url"),
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"algorithms": ["none"]}, "none"),
        ({"algorithms": []}, "algorithms"),
        ({"leeway": -1}, "leeway"),
        ({"leeway": 3600}, "leeway"),
        ({"leeway": float("nan")}, "leeway"),
        ({"timeout": 0}, "timeout"),
        ({"min_trust": "high"}, "min_trust='high'"),
        ({"keys_ttl": 0}, "keys_ttl"),
        ({"keys_grace": -1}, "keys_grace"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TokenVerifier(**{"issuer": "https://auth.example.test", "resource": RESOURCE, **options})


def test_it_shows_nothing_in_its_repr(authority: Authority, agent: Agent) -> None:
    verifier = verifier_of(authority)
    token = authority.issue(agent, resource=RESOURCE)
    claims = verifier.verify(token)
    assert repr(verifier) == f"TokenVerifier(issuer={authority.issuer!r})"
    assert "raw" not in repr(claims)
    verifier.close()
