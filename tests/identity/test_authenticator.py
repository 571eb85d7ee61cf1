"""The door's questions: who it is, in whatever shape headers come; and what somebody who is refused is told."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from highflame_middleware import context, current_context
from highflame_middleware.errors import (
    ConfigError,
    IdentityError,
    IdentityUnavailableError,
    InsufficientError,
    RevokedError,
    TokenError,
)
from highflame_middleware.identity import (
    Authenticator,
    protected_resource,
    protected_resource_url,
    refuse,
    step_up_challenge,
)
from highflame_middleware.testing.authority import Agent, Authority
from tests.identity.kit import RESOURCE, URL, authenticate, each_colour, refused, verifier_of


@each_colour
@pytest.mark.parametrize(
    "shape",
    [
        lambda value: [(b"Authorization", value.encode())],
        lambda value: [("authorization", value)],
        lambda value: {"Authorization": value},
        lambda value: iter([(b"accept", b"*/*"), (b"authorization", b"  " + value.encode() + b" ")]),
    ],
)
def test_headers_in_any_shape(authority: Authority, agent: Agent, shape: Any, colour: str) -> None:
    token = authority.issue(agent, resource=RESOURCE)
    door = Authenticator(verifier_of(authority))
    for scheme in ("Bearer", "bearer", "BEARER"):
        found = authenticate(colour, door, shape(f"{scheme} {token}"), scopes=["tools:read"])
        assert (found.current_actor, found.scheme) == (agent.uri, "Bearer")
    assert token not in repr(found)


@pytest.mark.parametrize(
    ("headers", "code", "status"),
    [
        ({}, "missing_token", 401),
        ({"authorization": ""}, "missing_token", 401),
        ({"authorization": "Basic dXNlcjpwdw=="}, "missing_token", 401),
        ({"authorization": "a.b.c"}, "missing_token", 401),
        ({"dpop": "a.b.c"}, "missing_token", 401),
        ({"authorization": "Bearer"}, "invalid_request", 400),
        ({"authorization": "Bearer a.b.c d.e.f"}, "invalid_request", 400),
        ({"authorization": "Bearer é.b.c"}, "invalid_request", 400),
        ([("authorization", "Bearer a.b.c"), ("Authorization", "Bearer a.b.c")], "invalid_request", 400),
        ({"authorization": "Bearer " + "a" * 20_000}, "invalid_request", 400),
        ({"authorization": "Bearer a.b.c"}, "invalid_token", 401),
        ({"authorization": "DPoP a.b.c"}, "invalid_token", 401),
        ([(b"authorization", b"Bearer \xff.b.c")], "invalid_request", 400),
    ],
)
def test_what_presents_nothing(headers: Any, code: str, status: int) -> None:
    authority = Authority()
    door = Authenticator(verifier_of(authority))
    error = refused(lambda: door.authenticate(headers, "GET", URL))
    assert (error.code, door.refuse(error).status) == (code, status)


def test_who_it_is_becomes_the_context(authority: Authority, agent: Agent) -> None:
    editor = authority.register("editor", scopes=["tools:read"])
    first = authority.issue(
        editor, user="user-1", scopes=["tools:read"], resource=RESOURCE, session_id="s-1", mission_id="m-1"
    )
    token = authority.delegate(first, agent.assertion(authority.issuer), scope="tools:read")
    door = Authenticator(verifier_of(authority))
    identity = door.authenticate({"authorization": f"Bearer {token}"}, "POST", URL)
    with context(**identity.context()):
        here = current_context()
    assert (here.user, here.account, here.session) == ("user-1", "acc-1", "s-1")
    assert here.metadata == {
        "actor": agent.uri,
        "prior_actors": [editor.uri],
        "human": "user-1",
        "agent": "writer",
        "identity_type": "agent",
        "trust_level": "first_party",
        "project_id": "pro-1",
        "mission_id": "m-1",
    }
    alone = door.authenticate({"authorization": f"Bearer {authority.issue(agent, resource=RESOURCE)}"}, "POST", URL)
    assert (alone.human, alone.prior_actors, alone.context()["user"]) == (None, (), agent.uri)


# --- what is answered --------------------------------------------------------------------------------------------

ERRORS: list[tuple[IdentityError, int, str | None]] = [
    (TokenError(code="missing_token"), 401, None),
    (TokenError(code="invalid_request"), 400, "invalid_request"),
    (TokenError(code="token_expired"), 401, "invalid_token"),
    (TokenError(code="token_inactive"), 401, "invalid_token"),
    (TokenError(code="credential_not_found"), 401, "invalid_token"),
    (RevokedError(), 401, "invalid_token"),
    (InsufficientError(scopes=("a", "b")), 403, "insufficient_scope"),
    (InsufficientError(code="insufficient_trust"), 403, "insufficient_scope"),
]


@pytest.mark.parametrize(("error", "status", "named"), ERRORS)
def test_what_is_answered(error: IdentityError, status: int, named: str | None) -> None:
    where = f"{RESOURCE}/.well-known/oauth-protected-resource"
    refusal = refuse(error, schemes=("Bearer", "DPoP"), realm="api", resource_metadata=where)
    challenges = [value for name, value in refusal.headers if name == "www-authenticate"]
    assert (refusal.status, len(challenges)) == (status, 2)
    assert [line.split(" ")[0] for line in challenges] == ["Bearer", "DPoP"]
    for line in challenges:
        assert f'resource_metadata="{where}"' in line
        assert 'realm="api"' in line
        assert (f'error="{named}"' in line) if named else ("error" not in line)
    assert ('scope="a b"' in challenges[0]) is (error.code == "insufficient_scope")
    assert json.loads(refusal.body)["error"] == error.code
    headers = dict(refusal.headers)
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")
    assert int(headers["content-length"]) == len(refusal.body)


def test_without_anything_a_challenge_is_bare() -> None:
    """RFC 6750, 3.1: nothing was wrong with what did not come."""
    headers = dict(refuse(TokenError(code="missing_token")).headers)
    assert headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("seconds", "told"), [(0.1, "1"), (7.2, "8"), (1e9, "3600")])
def test_an_outage_is_no_refusal(seconds: float, told: str) -> None:
    refusal = refuse(IdentityUnavailableError(retry_after=seconds))
    headers = dict(refusal.headers)
    assert (refusal.status, headers["retry-after"], "www-authenticate" in headers) == (503, told, False)


@pytest.mark.parametrize("said", ['x" injected="1', "a\r\nset-cookie: b=c", "back\\slash", "été"])
def test_nothing_breaks_out_of_a_challenge(said: str) -> None:
    error = InsufficientError(said, scopes=(said,))
    for _, value in refuse(error, realm=said, resource_metadata=said).headers:
        assert value.isascii()
        assert value.isprintable()
        assert 'injected="' not in value
        assert value.count('"') % 2 == 0


def test_a_stronger_login_is_asked_for() -> None:
    line = step_up_challenge(acr_values=["a", "b"], max_age=60, resource_metadata="https://x.test/m")
    assert line.startswith('Bearer error="insufficient_user_authentication", ')
    assert 'acr_values="a b", max_age="60", resource_metadata="https://x.test/m"' in line


def test_where_to_get_a_token() -> None:
    document = protected_resource(
        RESOURCE,
        authorization_servers=["https://auth.example.test"],
        scopes=["tools:read"],
        requires_dpop=True,
        resource_name="Example",
    )
    assert dict(document) == {
        "resource": RESOURCE,
        "authorization_servers": ["https://auth.example.test"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256", "RS256"],
        "scopes_supported": ["tools:read"],
        "dpop_bound_access_tokens_required": True,
        "resource_name": "Example",
    }
    json.dumps(dict(document))
    assert protected_resource_url(f"{RESOURCE}/a/b/") == f"{RESOURCE}/.well-known/oauth-protected-resource/a/b"
    for wrong in ("api.example.test", "https://x.test/?q", "https://x.test/#f", ""):
        with pytest.raises(ConfigError):
            protected_resource(wrong, authorization_servers=[])


@pytest.mark.parametrize("origin", ["api.example.test", "https://", "https://x.test/path", "ftp://x.test"])
def test_an_origin_that_is_none(origin: str) -> None:
    with pytest.raises(ConfigError, match="origin"):
        Authenticator(verifier_of(Authority()), origin=origin)


@pytest.mark.parametrize(
    "error",
    [*(found for found, _, _ in ERRORS), IdentityUnavailableError(code="overloaded"), TokenError(nonce="n")],
    ids=lambda error: error.code,
)
def test_errors_survive_another_process(error: IdentityError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
