"""Getting tokens: with a key, by delegation; what is refused, and what an outage is."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.errors import ConfigError, IdentityError, IdentityUnavailableError
from highflame_middleware.identity import AccessToken, TokenClient, actor_assertion
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.identity.kit import RESOURCE, each_colour, refused, verifier_of
from tests.servers import Server, json_answer
from tests.shield.kit import run_in


def ask(colour: str, client: TokenClient, name: str, *args: Any, **given: Any) -> AccessToken:
    if colour == "blocking":
        found: AccessToken = getattr(client, name)(*args, **given)
        return found

    async def main() -> Any:
        try:
            return await getattr(client, f"a{name}")(*args, **given)
        finally:
            await client.aclose()

    return run_in(colour, main)  # type: ignore[no-any-return]


def pem(holder: Holder) -> str:
    from cryptography.hazmat.primitives import serialization as told

    form, plain = told.PrivateFormat.PKCS8, told.NoEncryption()
    written: bytes = holder.private.private_bytes(told.Encoding.PEM, form, plain)
    return written.decode()


@each_colour
def test_for_a_key(authority: Authority, agent: Agent, colour: str) -> None:
    client = TokenClient(authority.issuer)
    found = ask(colour, client, "for_key", agent.api_key)
    assert (found.scopes, found.token_type, found.expires_in) == (agent.scopes, "Bearer", 3600)
    assert found.jti == authority.claims_of(found.token.reveal())["jti"]
    assert ask(colour, client, "for_key", agent.api_key, scopes=["tools:read"]).scopes == ("tools:read",)
    assert found.token.reveal() not in repr(found)


@each_colour
def test_by_delegation(authority: Authority, agent: Agent, colour: str) -> None:
    editor = authority.register("editor", scopes=["tools:read"])
    subject = authority.issue(agent, user="user-1", resource=RESOURCE)
    assertion = actor_assertion(editor.uri, pem(editor.holder), issuer=authority.issuer)
    found = ask(
        colour, TokenClient(authority.issuer), "delegate", subject, assertion, scopes=["tools:read", "tools:write"]
    )
    assert found.scopes == ("tools:read",)
    claims = verifier_of(authority).verify(found.token.reveal())
    assert (claims.human, claims.current_actor, claims.prior_actors) == ("user-1", editor.uri, (agent.uri,))


def test_bound_to_a_key(authority: Authority, agent: Agent) -> None:
    holder = Holder()
    client = TokenClient(authority.issuer, proof=lambda method, url: holder.proof("", method, url, ath=None))
    found = client.for_key(agent.api_key)
    assert (found.token_type, authority.claims_of(found.token.reveal())["cnf"]) == ("DPoP", {"jkt": holder.jkt})
    client.close()


@pytest.mark.parametrize(
    ("key", "scopes", "code"),
    [("zid_sk_made_up_key", (), "invalid_grant"), (None, ("tools:all",), "invalid_scope")],
)
def test_what_is_refused(authority: Authority, agent: Agent, key: str | None, scopes: Any, code: str) -> None:
    given = key or agent.api_key
    error = refused(lambda: TokenClient(authority.issuer).for_key(given, scopes=scopes), quoting=given)
    assert (type(error), error.code) == (IdentityError, code)


@pytest.mark.parametrize("answer", [{}, [], {"access_token": ""}, {"access_token": "a b"}, {"access_token": "é"}])
def test_an_answer_without_a_token(provider: Server, answer: Any) -> None:
    provider.respond = json_answer(answer)
    assert isinstance(refused(lambda: TokenClient(provider.url).for_key("k")), IdentityUnavailableError)


@pytest.mark.parametrize(
    ("error", "code"), [("Invalid <b>", "http_400"), (7, "http_400"), ("access_denied", "access_denied")]
)
def test_only_codes_are_told(provider: Server, error: Any, code: str) -> None:
    provider.respond = json_answer({"error": error, "error_description": "quotes the key"}, 400)
    found = refused(lambda: TokenClient(provider.url).for_key("k"))
    assert found.code == code
    assert "quotes" not in str(found)


@each_colour
def test_an_outage(authority: Authority, agent: Agent, colour: str) -> None:
    authority.broken = True
    client = TokenClient(authority.issuer)
    error = refused(lambda: ask(colour, client, "for_key", agent.api_key), quoting=agent.api_key)
    assert isinstance(error, IdentityUnavailableError)


def test_what_cannot_be_used(authority: Authority) -> None:
    with pytest.raises(ConfigError, match="https"):
        TokenClient("http://auth.example.test")
    with pytest.raises(ConfigError, match="scopes"):
        TokenClient(authority.issuer).delegate("a", "b", scopes=[])
    for key in ("no key", pem(Holder("RS256"))):
        with pytest.raises(ConfigError, match="P-256") as caught:
            actor_assertion("spiffe://x", key, issuer="i")
        assert key not in str(caught.value)
    with pytest.raises(ConfigError, match="issuer"):
        actor_assertion("spiffe://x", "k", issuer="")
