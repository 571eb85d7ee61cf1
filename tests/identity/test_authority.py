"""The test authority does as ZeroID does: narrowing, depth, cascades, proofs. ZeroID's own client works with it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from highflame_middleware.testing.authority import ADMIN, Agent, Authority, Holder
from tests.identity.kit import RESOURCE, refused, verifier_of

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.fixture
def editor(authority: Authority) -> Agent:
    return authority.register("editor", scopes=["tools:read", "tools:execute"])


def post(
    authority: Authority, path: str, *, headers: Any = None, form: bool = False, **fields: Any
) -> httpx.Response:
    body: dict[str, Any] = {"data": fields} if form else {"json": fields}
    return httpx.post(authority.issuer + path, headers=headers, **body)


@pytest.mark.parametrize("form", [False, True])
def test_a_key_is_exchanged(authority: Authority, agent: Agent, form: bool) -> None:
    answer = post(authority, "/oauth2/token", form=form, grant_type="api_key", api_key=agent.api_key).json()
    claims = verifier_of(authority, resource=None, audience=authority.issuer).verify(answer["access_token"])
    assert (claims.current_actor, claims.jti, claims.scopes) == (agent.uri, answer["jti"], agent.scopes)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"grant_type": "api_key", "api_key": "zid_sk_made_up"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
    ],
)
def test_what_is_not_exchanged(authority: Authority, fields: dict[str, str], error: str) -> None:
    answer = post(authority, "/oauth2/token", **fields)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


class TestDelegation:
    def exchange(self, authority: Authority, subject: str, actor: str, scope: str, **more: Any) -> httpx.Response:
        fields = {"grant_type": EXCHANGE, "subject_token": subject, "actor_token": actor, "scope": scope}
        return post(authority, "/oauth2/token", **fields, **more)

    @pytest.mark.parametrize(
        ("asked", "granted"),
        [
            ("tools:read", ("tools:read",)),
            ("tools:read tools:write tools:execute", ("tools:read",)),
            ("tools:write", None),
            ("tools:execute", None),
            ("", None),
        ],
    )
    def test_it_only_narrows(
        self, authority: Authority, agent: Agent, editor: Agent, asked: str, granted: tuple[str, ...] | None
    ) -> None:
        subject = authority.issue(agent, user="user-1", resource=RESOURCE)
        answer = self.exchange(authority, subject, editor.assertion(authority.issuer), asked)
        if granted is None:
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
            return
        claims = verifier_of(authority).verify(answer.json()["access_token"])
        assert (claims.scopes, claims.delegation_depth, claims.human) == (granted, 1, "user-1")
        assert (claims.current_actor, claims.prior_actors) == (editor.uri, (agent.uri,))

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": "https://evil.example"},
            {"exp": 1},
            {"sub": "another"},
            {"iss": "another"},
            {"exp": 9_999_999_999},
        ],
    )
    def test_an_assertion_that_does_not_hold(
        self, authority: Authority, agent: Agent, editor: Agent, changes: dict[str, Any]
    ) -> None:
        assertion = editor.assertion(authority.issuer, **changes)
        answer = self.exchange(authority, authority.issue(agent), assertion, "tools:read")
        assert answer.json()["error"] == "invalid_grant"

    def test_a_chain_in_the_legacy_profile_has_no_prior_actors(
        self, authority: Authority, agent: Agent, editor: Agent
    ) -> None:
        subject = authority.issue(agent, profile="legacy", resource=RESOURCE)
        answer = self.exchange(authority, subject, editor.assertion(authority.issuer), "tools:read")
        claims = verifier_of(authority).verify(answer.json()["access_token"])
        assert (claims.current_actor, claims.prior_actors, claims.human) == (editor.uri, (), None)
        assert claims.actors[0].sub == agent.uri

    def test_it_goes_so_deep(self, authority: Authority) -> None:
        agents = [authority.register(f"a{place}", scopes=["x"]) for place in range(7)]
        token = authority.issue(agents[0], user="user-1", resource=RESOURCE)
        for agent in agents[1:6]:
            token = self.exchange(authority, token, agent.assertion(authority.issuer), "x").json()["access_token"]
        claims = verifier_of(authority).verify(token)
        assert claims.prior_actors == tuple(agent.uri for agent in reversed(agents[:5]))
        last = self.exchange(authority, token, agents[6].assertion(authority.issuer), "x")
        assert last.json()["error"] == "invalid_grant"

    def test_what_was_taken_back_delegates_no_more(self, authority: Authority, agent: Agent, editor: Agent) -> None:
        subject = authority.issue(agent)
        answer = post(
            authority, "/oauth2/token/revoke", token=subject, client_id="resource-server", client_secret="s3cret"
        )
        assert answer.status_code == 200
        assert (
            self.exchange(authority, subject, editor.assertion(authority.issuer), "tools:read").status_code == 400
        )

    def test_a_token_is_bound_to_a_proven_key(self, authority: Authority, agent: Agent) -> None:
        holder = Holder()
        url = f"{authority.issuer}/oauth2/token"
        answer = post(
            authority,
            "/oauth2/token",
            headers={"dpop": holder.proof("", "POST", url, ath=None)},
            grant_type="api_key",
            api_key=agent.api_key,
        ).json()
        assert answer["token_type"] == "DPoP"
        assert authority.claims_of(answer["access_token"])["cnf"] == {"jkt": holder.jkt}
        wrong = post(
            authority, "/oauth2/token", headers={"dpop": "a.b.c"}, grant_type="api_key", api_key=agent.api_key
        )
        assert wrong.json()["error"] == "invalid_dpop_proof"


def test_paths_that_there_are_not_and_clients_that_are_not_known(authority: Authority) -> None:
    assert httpx.get(f"{authority.issuer}/oauth2/nothing").status_code == 404
    for path in ("/oauth2/token/introspect", "/oauth2/token/revoke"):
        assert post(authority, path, token="x").json()["error"] == "invalid_client"
    assert httpx.get(f"{authority.issuer}/delegations/by-jti/x").status_code == 401
    reader = authority.issue(authority.register("reader"))
    answer = httpx.get(f"{authority.issuer}/delegations/by-jti/x", headers={"authorization": f"Bearer {reader}"})
    assert answer.status_code == 403


class TestZeroIDsOwnClient:
    """The official client, unmodified, against this authority; where it errs (P, Q, R), we do not."""

    @pytest.fixture
    def client(self, authority: Authority) -> Any:
        zeroid = pytest.importorskip("highflame.zeroid")
        service = authority.register("orchestrator", scopes=["tools:read", *ADMIN])
        tenant = {"account_id": authority.account_id, "project_id": authority.project_id}
        with zeroid.ZeroIDClient(base_url=authority.issuer, api_key=service.api_key, **tenant) as client:
            yield client

    def test_it_reads_what_we_read(self, authority: Authority, agent: Agent, client: Any) -> None:
        for profile in ("legacy", "rfc8693"):
            authority.profile = profile  # type: ignore[assignment]
            token = authority.issue(agent, user="user-1", resource=RESOURCE)
            theirs, ours = client.tokens.verify(token), verifier_of(authority).verify(token)
            assert theirs.current_actor() == ours.current_actor
            assert theirs.human() == ours.human
            assert theirs.prior_actors() == ours.prior_actors
            assert (theirs.external_id, theirs.trust_level, theirs.scopes) == (
                ours.external_id, ours.trust_level, ours.scopes,
            )  # fmt: skip

    def test_it_delegates_and_sees_revocations(self, authority: Authority, agent: Agent, client: Any) -> None:
        issued = client.tokens.delegate(actor_token=agent.assertion(authority.issuer), scope="tools:read")
        assert client.tokens.verify_active(issued.access_token).current_actor() == agent.uri
        session = client.tokens.session(issued.access_token, client_id="resource-server", client_secret="s3cret")
        assert session.active
        authority.revoke(issued.jti, reason="key_lost")
        with pytest.raises(Exception, match="key_lost"):
            client.tokens.verify_active(issued.access_token)

    def test_defect_p(self, authority: Authority, agent: Agent, client: Any) -> None:
        """It takes another issuer's name and a token without one; and no clock that is ahead of its own."""
        for changes in ({"iss": "https://evil.example"}, {"jti": None}):
            token = authority.issue(agent, **{"resource": RESOURCE, **changes})
            client.tokens.verify(token)
            assert refused(lambda token=token: verifier_of(authority).verify(token)).code.startswith("invalid_")
        ahead = authority.issue(agent, resource=RESOURCE, iat=authority.clock() + 3)
        with pytest.raises(Exception, match="iat"):
            client.tokens.verify(ahead)
        assert verifier_of(authority).verify(ahead).sub == agent.uri
