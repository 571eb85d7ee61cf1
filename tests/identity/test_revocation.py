"""Tokens that were taken back: by introspection, by their chain; what is kept in mind, and what an outage means."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from highflame_middleware.errors import ConfigError, IdentityUnavailableError, RevokedError, TokenError
from highflame_middleware.identity import DelegationChain, Introspection
from highflame_middleware.identity.revocation import fall_of
from highflame_middleware.testing.authority import ADMIN, Agent, Authority
from tests.identity.kit import RESOURCE, Clock, each_colour, refused, verifier_of, verify
from tests.servers import Answer, Server, json_answer

INTROSPECT, CHAIN = "/oauth2/token/introspect", "/delegations/by-jti"
MODES = ("introspect", "chain")
each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def editor(authority: Authority) -> Agent:
    return authority.register("editor", scopes=["tools:read"])


def standing(authority: Authority, mode: str, **options: Any) -> Any:
    if mode == "introspect":
        given = {"client_id": "resource-server", "client_secret": "s3cret", **options}
        return Introspection(authority.issuer + INTROSPECT, **given)
    service = authority.register("resource-server", scopes=ADMIN, identity_type="service")
    return DelegationChain(authority.issuer, **{"key": service.api_key, **options})


def path_of(mode: str) -> str:
    return INTROSPECT if mode == "introspect" else CHAIN


def delegated(authority: Authority, agent: Agent, editor: Agent) -> tuple[str, str]:
    """An editor's token for a person, and the one that a writer got from it."""
    first = authority.issue(editor, user="user-1", resource=RESOURCE)
    return first, authority.delegate(first, agent.assertion(authority.issuer), scope="tools:read")


@each_colour
@each_mode
def test_what_stands_and_what_was_taken_back(authority: Authority, agent: Agent, mode: str, colour: str) -> None:
    verifier = verifier_of(authority, revocation=standing(authority, mode))
    token, other = (authority.issue(agent, resource=RESOURCE) for _ in range(2))
    authority.revoke(authority.claims_of(other)["jti"], reason="key_lost")
    assert verify(colour, verifier, token).sub == agent.uri
    error = refused(lambda: verify(colour, verifier, other), quoting=other)
    assert isinstance(error, RevokedError)
    assert error.code == "token_revoked"
    if mode == "chain":
        assert (error.revoked_jti, error.reason) == (authority.claims_of(other)["jti"], "key_lost")


@each_mode
@pytest.mark.parametrize("profile", ["legacy", "rfc8693"])
def test_what_was_delegated_falls_with_what_it_came_from(
    authority: Authority, agent: Agent, editor: Agent, mode: str, profile: Any
) -> None:
    authority.profile = profile
    verifier = verifier_of(authority, revocation=standing(authority, mode, ttl=0))
    first, second = delegated(authority, agent, editor)
    claims = verifier.verify(second)
    assert (claims.current_actor, claims.is_delegated, claims.scopes) == (agent.uri, True, ("tools:read",))
    authority.deactivate(editor)
    error = refused(lambda: verifier.verify(second))
    assert isinstance(error, RevokedError)
    if mode == "chain":
        assert (error.revoked_jti, error.reason) == (authority.claims_of(first)["jti"], "identity_deactivated")


def test_a_suspended_ancestor_revokes_nothing_and_is_seen_all_the_same(
    authority: Authority, agent: Agent, editor: Agent
) -> None:
    verifier = verifier_of(authority, revocation=standing(authority, "chain", ttl=0))
    _, second = delegated(authority, agent, editor)
    verifier.verify(second)
    authority.suspend(editor)
    error = refused(lambda: verifier.verify(second))
    assert isinstance(error, RevokedError)
    assert (error.identity, error.status, error.revoked_jti) == (editor.uri, "suspended", None)


@each_mode
class TestWhatIsKeptInMind:
    def test_an_answer_is_good_for_a_while(
        self, authority: Authority, agent: Agent, clock: Clock, mode: str
    ) -> None:
        source = standing(authority, mode, ttl=15, timer=clock.timer)
        verifier, token = verifier_of(authority, revocation=source), authority.issue(agent, resource=RESOURCE)
        for _ in range(5):
            verifier.verify(token)
        assert authority.asked(path_of(mode)) == 1
        authority.revoke(authority.claims_of(token)["jti"])
        clock.ahead = 16
        assert refused(lambda: verifier.verify(token)).code == "token_revoked"
        assert authority.asked(path_of(mode)) == 2

    def test_so_is_a_refusal(self, authority: Authority, agent: Agent, clock: Clock, mode: str) -> None:
        source = standing(authority, mode, timer=clock.timer)
        verifier, token = verifier_of(authority, revocation=source), authority.issue(agent, resource=RESOURCE)
        authority.revoke(authority.claims_of(token)["jti"])
        errors = [refused(lambda: verifier.verify(token)) for _ in range(5)]
        assert authority.asked(path_of(mode)) == 1
        assert len(set(map(id, errors))) == 5
        assert len({str(error) for error in errors}) == 1

    def test_one_tokens_answer_is_not_anothers(self, authority: Authority, agent: Agent, mode: str) -> None:
        verifier = verifier_of(authority, revocation=standing(authority, mode))
        for _ in range(3):
            verifier.verify(authority.issue(agent, resource=RESOURCE))
        assert authority.asked(path_of(mode)) == 3

    def test_only_so_many(self, authority: Authority, agent: Agent, mode: str) -> None:
        source = standing(authority, mode, most=2)
        verifier = verifier_of(authority, revocation=source)
        first = authority.issue(agent, resource=RESOURCE)
        for token in (first, *(authority.issue(agent, resource=RESOURCE) for _ in range(2)), first):
            verifier.verify(token)
        assert authority.asked(path_of(mode)) == 4

    def test_what_does_not_verify_asks_nobody(self, authority: Authority, agent: Agent, mode: str) -> None:
        verifier = verifier_of(authority, revocation=standing(authority, mode))
        token = authority.issue(agent, resource="https://other.example")
        assert refused(lambda: verifier.verify(token)).code == "invalid_audience"
        assert authority.asked(path_of(mode)) == 0


@each_mode
class TestAnOutage:
    @each_colour
    def test_nobody_is_let_in_on_no_answer(
        self, authority: Authority, agent: Agent, mode: str, colour: str
    ) -> None:
        verifier = verifier_of(authority, revocation=standing(authority, mode), timeout=3)
        token = authority.issue(agent, resource=RESOURCE)
        verifier_of(authority).verify(token)
        verify(colour, verifier, token)
        authority.broken = True
        other = authority.issue(agent, resource=RESOURCE)
        error = refused(lambda: verify(colour, verifier, other), quoting=other)
        assert isinstance(error, IdentityUnavailableError)
        assert verify(colour, verifier, token).sub == agent.uri  # whose answer is kept in mind

    def test_unless_that_is_asked_for(
        self, authority: Authority, agent: Agent, mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        verifier = verifier_of(authority, revocation=standing(authority, mode, fail_open=True), timeout=3)
        verifier.verify(authority.issue(agent, resource=RESOURCE))
        authority.broken = True
        token = authority.issue(agent, resource=RESOURCE)
        with caplog.at_level(logging.WARNING, "highflame_middleware.identity"):
            assert verifier.verify(token).sub == agent.uri
        assert "fail_open" in caplog.text
        assert token not in caplog.text
        # An outage is forgiven, a revocation is not.
        authority.broken = False
        other = authority.issue(agent, resource=RESOURCE)
        authority.revoke(authority.claims_of(other)["jti"])
        assert refused(lambda: verifier.verify(other)).code == "token_revoked"

    @pytest.mark.parametrize("content", [b"<html>", b"[]", b"7", b"[" * 100_000, b"", b"\xff"])
    def test_nonsense_is_no_answer(
        self, authority: Authority, agent: Agent, provider: Server, mode: str, content: bytes
    ) -> None:
        provider.respond = lambda seen: Answer(200, chunks=[content], length=len(content))
        keys = {"jwks_url": f"{authority.issuer}/.well-known/jwks.json"}
        source: Any = DelegationChain(provider.url, key="a.given.token")
        if mode == "introspect":
            source = Introspection(provider.url, client_id="c", client_secret="s")
        verifier = verifier_of(authority, revocation=source, **keys)
        error = refused(lambda: verifier.verify(authority.issue(agent, resource=RESOURCE)))
        assert isinstance(error, IdentityUnavailableError)

    def test_our_own_credentials_are_not_taken(self, authority: Authority, agent: Agent, mode: str) -> None:
        """That is no fault of the caller's, who would get another token in vain."""
        wrong = {"client_secret": "wrong"} if mode == "introspect" else {"key": "a.made.up"}
        verifier = verifier_of(authority, revocation=standing(authority, mode, **wrong))
        error = refused(lambda: verifier.verify(authority.issue(agent, resource=RESOURCE)))
        assert isinstance(error, IdentityUnavailableError)
        assert error.code == "configuration_error"
        assert "wrong" not in str(error)


class TestIntrospection:
    @pytest.mark.parametrize("encoding", ["json", "form"])
    def test_it_is_asked_in_either_way(
        self, authority: Authority, agent: Agent, provider: Server, encoding: Any
    ) -> None:
        verifier_of(authority, revocation=standing(authority, "introspect", encoding=encoding)).verify(
            authority.issue(agent, resource=RESOURCE)
        )
        provider.respond = json_answer({"active": True})
        source = Introspection(provider.url, client_id="c", client_secret="s&=", encoding=encoding)
        token = authority.issue(agent, resource=RESOURCE)
        verifier_of(authority, revocation=source).verify(token)
        body = provider.log[0].body.decode()
        expected = f"token={token}&client_id=c&client_secret=s%26%3D"
        if encoding == "json":
            assert json.loads(body) == {"token": token, "client_id": "c", "client_secret": "s&="}
        else:
            assert body == expected
        assert token not in provider.log[0].path

    @pytest.mark.parametrize(
        ("said", "held"),
        [
            ({"active": True}, True),
            ({"active": True, "jti": "", "sub": None}, True),
            ({"active": False}, False),
            ({"active": "true"}, False),
            ({"active": 1}, False),
            ({}, False),
            ({"active": True, "jti": "another"}, False),
            ({"active": True, "sub": "another"}, False),
            ({"active": True, "iss": "https://evil.example"}, False),
        ],
    )
    def test_what_it_says(
        self, authority: Authority, agent: Agent, provider: Server, said: dict[str, Any], held: bool
    ) -> None:
        provider.respond = json_answer(said)
        source = Introspection(provider.url, client_id="c", client_secret="s")
        verifier = verifier_of(authority, revocation=source)
        token = authority.issue(agent, resource=RESOURCE)
        if held:
            verifier.verify(token)
        else:
            assert refused(lambda: verifier.verify(token)).code == "token_revoked"


class TestChain:
    def test_anothers_tenants_tokens_are_not_shown(self, authority: Authority) -> None:
        stranger = authority.register("stranger", account_id="acc-2")
        verifier = verifier_of(authority, revocation=standing(authority, "chain"))
        error = refused(lambda: verifier.verify(authority.issue(stranger, resource=RESOURCE)))
        assert (type(error), error.code) == (TokenError, "credential_not_found")

    def test_a_token_that_the_authority_never_gave_out(self, authority: Authority, agent: Agent) -> None:
        claims = authority.claims_of(authority.issue(agent, resource=RESOURCE))
        verifier = verifier_of(authority, revocation=standing(authority, "chain"))
        for jti in ("made-up", "../../oauth2/token", "a/b?c#d", "%2e%2e"):
            token = authority.sign({**claims, "jti": jti})
            assert refused(lambda token=token: verifier.verify(token)).code == "credential_not_found"

    def test_our_own_token_is_renewed_when_it_is_refused(self, authority: Authority, agent: Agent) -> None:
        verifier = verifier_of(authority, revocation=standing(authority, "chain"))
        verifier.verify(authority.issue(agent, resource=RESOURCE))
        own = [found.jti for found in authority.credentials.values() if "nhi:manage" in found.claims["scopes"]]
        authority.revoke(own[-1])
        verifier.verify(authority.issue(agent, resource=RESOURCE))
        assert authority.asked("/oauth2/token") == 2

    @pytest.mark.parametrize(
        ("chain", "code"),
        [
            ({"edges": [{"jti": "t"}]}, None),
            ({"edges": [{"jti": "a"}, {"jti": "t", "parent_jti": "a"}], "nodes": [{"status": "active"}]}, None),
            ({}, "credential_not_found"),
            ({"edges": []}, "credential_not_found"),
            ({"edges": "none"}, "credential_not_found"),
            ({"edges": [{"jti": "another"}]}, "credential_not_found"),
            # The authority walks ten levels: what is above is not seen.
            ({"edges": [{"jti": "b", "parent_jti": "a"}, {"jti": "t", "parent_jti": "b"}]}, "credential_not_found"),
            ({"edges": [{"jti": "t", "is_revoked": True}]}, "token_revoked"),
            ({"edges": [{"jti": "t", "revoked_at": "2026-01-01T00:00:00Z"}]}, "token_revoked"),
            ({"edges": [{"jti": "t"}], "nodes": [{"status": "deactivated"}]}, "token_revoked"),
            ({"edges": [{"jti": "t"}], "nodes": [{"status": "expired"}]}, "token_revoked"),
        ],
    )
    def test_what_a_chain_says(self, chain: dict[str, Any], code: str | None) -> None:
        fall = fall_of(chain, "t")
        assert (fall.code if fall else None) == code


@pytest.mark.parametrize("url", ["http://auth.example.test/x", "ftp://x.test", "", None])
def test_whom_secrets_are_not_sent_to(url: Any) -> None:
    with pytest.raises(ConfigError, match="https"):
        Introspection(url, client_id="c", client_secret="s")
    with pytest.raises(ConfigError, match="https"):
        DelegationChain(url, key="zid_sk_1")


def test_options_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match="encoding"):
        Introspection("https://x.test", client_id="c", client_secret="s", encoding="xml")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="key"):
        DelegationChain("https://x.test", key="")
    shown = repr(Introspection("https://x.test", client_id="c", client_secret="s3cret"))
    assert "s3cret" not in shown + repr(DelegationChain("https://x.test", key="zid_sk_s3cret"))
