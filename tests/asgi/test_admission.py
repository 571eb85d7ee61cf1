"""Who is let in: tokens of a real authority, what each path asks of them, and what the context says afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from highflame_middleware import CallContext, HighflameMiddleware, TokenError, current_context
from highflame_middleware.identity import Authenticator, TokenVerifier, protected_resource
from highflame_middleware.testing import FakeGuard, serve_on_thread
from highflame_middleware.testing.authority import Agent, Authority, Holder
from tests.asgi.kit import Echo
from tests.gateway_kit import ASK, BACKENDS, Sent, body_of, scope_of, serve

RESOURCE = "https://api.example.test"
METADATA = f"{RESOURCE}/.well-known/oauth-protected-resource"


@pytest.fixture
def authority() -> Iterator[Authority]:
    found = Authority()
    with found.serve():
        yield found


@pytest.fixture
def agent(authority: Authority) -> Agent:
    return authority.register("writer", scopes=["tools:read", "tools:write"])


class Door:
    """A middleware that asks for tokens, and requests through it."""

    def __init__(self, authority: Authority, app: Any = None, **options: Any) -> None:
        self.app = Echo() if app is None else app
        self.verifier = TokenVerifier(issuer=authority.issuer, resource=RESOURCE)
        self.authenticator = Authenticator(self.verifier, resource_metadata=METADATA)
        given = {"guard": FakeGuard(deny=["SECRET"]), "authenticator": self.authenticator, **options}
        self.guarded = HighflameMiddleware(self.app, **given)

    def ask(self, token: str | None = None, *, backend: str = "asyncio", body: Any = None, **scope: Any) -> Sent:
        headers = [*scope.pop("headers", ()), ("host", "api.example.test")]
        if token is not None:
            headers.append(("authorization", token if " " in token else f"Bearer {token}"))
        made = scope_of(headers=headers, **{"scheme": "https", "path": "/chat", **scope})

        async def run() -> Sent:
            try:
                return await serve(self.guarded, made, [body_of(body) if body is not None else b""])
            finally:
                await self.verifier.aclose()

        return anyio.run(run, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_is_let_in(authority: Authority, agent: Agent, backend: str) -> None:
    door = Door(authority)
    token = authority.issue(agent, resource=RESOURCE)
    assert door.ask(token, backend=backend).status == 200
    (found,) = door.app.contexts
    assert found.user == agent.uri
    assert found.metadata["actor"] == agent.uri
    assert found.identity.claims.scopes == ("tools:read", "tools:write")
    assert token not in repr(found)
    assert current_context() == CallContext()


def test_the_chain_of_actors_is_there_for_the_application(authority: Authority, agent: Agent) -> None:
    door = Door(authority)
    claims = {
        "principal_type": "user",
        "sub": "user-1",
        "act": {"sub": agent.uri, "act": {"sub": "spiffe://d/a/p/agent/editor"}},
    }
    token = authority.issue(agent, resource=RESOURCE, **claims)
    assert door.ask(token).status == 200
    identity = door.app.contexts[0].identity
    assert (identity.human, identity.current_actor) == ("user-1", agent.uri)
    assert identity.prior_actors == ("spiffe://d/a/p/agent/editor",)
    assert door.app.contexts[0].user == "user-1"


@pytest.mark.parametrize(
    ("path", "token", "status", "error"),
    [
        ("/chat", None, 401, None),
        ("/chat", "a.b.c", 401, "invalid_token"),
        ("/chat", "Basic eA==", 401, None),
        ("/chat", "Bearer a b", 400, "invalid_request"),
        ("/health", None, 200, None),
        ("/health/", None, 401, None),
        ("/docs/a", None, 200, None),
        ("/docs/../chat", None, 401, None),
        ("/admin/x", "good", 403, "insufficient_scope"),
        ("/admin/x/", "good", 403, "insufficient_scope"),
        ("//admin/x", "good", 403, "insufficient_scope"),
        ("/write", "good", 200, None),
        ("/trusted", "good", 403, "insufficient_scope"),
    ],
)
def test_who_is_not(
    authority: Authority, agent: Agent, path: str, token: str | None, status: int, error: str | None
) -> None:
    door = Door(
        authority,
        exempt_paths=["/docs/*"],
        required_scopes={"/admin/*": ["nhi:manage"], "/write": ["tools:write"]},
        required_trust={"/trusted": "first_party"},
    )
    given = authority.issue(agent, resource=RESOURCE, trust_level="unverified") if token == "good" else token
    sent = door.ask(given, path=path)
    assert sent.status == status
    if status == 200:
        return
    assert door.app.scopes == []
    challenges = sent.header("www-authenticate")
    assert challenges[0].startswith("Bearer")
    assert f'resource_metadata="{METADATA}"' in challenges[0]
    assert (f'error="{error}"' in challenges[0]) if error else ("error=" not in challenges[0])
    assert sent.json["status"] == status
    assert sent.header("x-request-id")


def test_a_caller_is_told_in_the_shape_of_its_api(authority: Authority) -> None:
    door = Door(authority)
    sent = door.ask("a.b.c", path="/v1/messages", body=ASK)
    assert (sent.status, sent.json["error"]["type"]) == (401, "authentication_error")
    assert sent.json["error"]["code"] == "invalid_token"
    ours: Any = lambda scope, error: PlainTextResponse(error.code, 400)  # noqa: E731
    assert Door(authority, on_blocked=ours).ask().body == b"missing_token"


def test_where_nobody_has_to_say(authority: Authority, agent: Agent) -> None:
    """Somebody with a token that does not hold means to be somebody: that is no nobody."""
    door = Door(authority, allow_unauthenticated=True, required_scopes={"/write": ["tools:write"]})
    assert door.ask().status == 200
    assert door.app.contexts[0].identity is None
    assert door.ask("a.b.c").status == 401
    assert door.ask(path="/write").status == 401
    assert door.ask(authority.issue(agent, resource=RESOURCE), path="/write").status == 200


def test_a_token_counts_before_a_header(authority: Authority, agent: Agent) -> None:
    identify: Any = lambda scope: {"user": "x", "session": "s1", "metadata": {"team": "core"}}  # noqa: E731
    door = Door(authority, identify=identify, trusted_peers=["*"])
    door.ask(
        authority.issue(agent, resource=RESOURCE), headers=[("x-highflame-user", "eve"), ("x-highflame-role", "r")]
    )
    found = door.app.contexts[0]
    assert (found.user, found.session, found.role) == (agent.uri, "s1", "r")
    assert (found.metadata["team"], found.metadata["actor"]) == ("core", agent.uri)


def test_proofs_of_possession(authority: Authority, agent: Agent) -> None:
    holder = Holder()
    token = authority.issue(agent, resource=RESOURCE, cnf={"jkt": holder.jkt})
    door = Door(authority)
    good = [("dpop", holder.proof(token, "POST", f"{RESOURCE}/chat"))]
    assert door.ask(f"DPoP {token}", headers=good).status == 200
    assert door.ask(f"DPoP {token}", headers=good).status == 401, "played again"
    other = [("dpop", holder.proof(token, "POST", f"{RESOURCE}/other"))]
    assert door.ask(f"DPoP {token}", headers=other).status == 401
    assert door.ask(token).status == 401


@pytest.mark.parametrize("host", ["api.example.test/chat?", "api.example.test/chat#", "x@api.example.test", "[::1"])
@pytest.mark.parametrize("origin", [None, RESOURCE])
def test_no_host_makes_a_proof_good_for_another_address(
    authority: Authority, agent: Agent, host: str, origin: str | None
) -> None:
    """Whatever the caller says that this service is called: where the request goes is not theirs to say."""
    holder = Holder()
    token = authority.issue(agent, resource=RESOURCE, cnf={"jkt": holder.jkt})
    door = Door(authority)
    door = Door(authority, authenticator=Authenticator(door.verifier, origin=origin))
    for path in ("/other", "/chat"):
        proof = [("host", host), ("dpop", holder.proof(token, "POST", f"{RESOURCE}/chat"))]
        # Who says no host that could be one is only let in where it does not count.
        status = 200 if origin is not None and path == "/chat" else 401
        assert door.ask(f"DPoP {token}", path=path, headers=proof).status == status


def test_a_path_as_a_server_has_decoded_it(authority: Authority, agent: Agent) -> None:
    holder = Holder()
    token = authority.issue(agent, resource=RESOURCE, cnf={"jkt": holder.jkt})
    door = Door(authority)
    for path, address in (("/a b", "/a%20b"), ("/a?b", "/a%3Fb"), ("/é", "/%C3%A9"), ("/a#b", "/a%23b")):
        for at, status in ((address, 200), ("/a", 401)):
            proof = [("dpop", holder.proof(token, "POST", f"{RESOURCE}{at}"))]
            asked = {"path": path, "raw_path": None, "headers": proof}
            assert door.ask(f"DPoP {token}", **asked).status == status, (path, at)
    broken = scope_of(headers=[("authorization", f"DPoP {token}")]) | {"path": "/\ud800", "raw_path": None}
    assert anyio.run(serve, door.guarded, broken).status == 401


def test_who_is_refused_is_told_how_to_be_let_in(authority: Authority) -> None:
    def identify(scope: Any) -> Any:
        raise TokenError("who are you?", code=scope["path"].strip("/"))

    for code, challenge in (("missing_token", "Bearer"), ("token_expired", 'Bearer error="invalid_token"')):
        app: Any = Echo()
        door = HighflameMiddleware(app, guard=None, identify=identify)
        sent = anyio.run(serve, door, scope_of(path=f"/{code}"))
        assert (sent.status, sent.header("www-authenticate"), app.scopes) == (401, [challenge], [])


@pytest.mark.parametrize("by", ["user", "key", "address"])
def test_guesses_are_counted(authority: Authority, agent: Agent, by: str) -> None:
    door = Door(authority, rate_limits={by: "2/day"})
    told = [door.ask(f"Bearer a.b.{number}") for number in range(4)]
    assert [sent.status for sent in told] == [401, 401, 429, 429]
    assert all(sent.header("ratelimit") for sent in told)
    # Whoever they are, they take nothing of what others may do.
    token = authority.issue(agent, resource=RESOURCE)
    elsewhere = [door.ask(token, client=("198.51.100.7", 1)).status for _ in range(3)]
    assert elsewhere == [200, 200, 429]
    assert door.ask(token).status == 429


def test_an_authority_that_cannot_be_reached(authority: Authority, agent: Agent) -> None:
    verifier = TokenVerifier(issuer="http://127.0.0.1:1", resource=RESOURCE)
    door = Door(authority, authenticator=Authenticator(verifier))
    sent = door.ask(authority.issue(agent, resource=RESOURCE, iss="http://127.0.0.1:1"))
    assert (sent.status, bool(sent.header("retry-after"))) == (503, True)
    assert door.app.scopes == []


def test_what_this_service_is_may_be_asked_by_anybody(authority: Authority) -> None:
    document = protected_resource(f"{RESOURCE}/v1", authorization_servers=[authority.issuer])
    door = Door(authority, resource_metadata=document)
    path = "/.well-known/oauth-protected-resource/v1"
    sent = door.ask(path=path, method="GET", json_body=False)
    assert (sent.status, sent.json["authorization_servers"]) == (200, [authority.issuer])
    assert door.ask(path=path + "/x", method="GET").status == 401


def test_verdicts_come_after(authority: Authority, agent: Agent) -> None:
    door = Door(authority)
    assert door.ask(body=ASK).status == 401
    assert door.ask(authority.issue(agent, resource=RESOURCE), body=ASK).status == 403


def test_a_websocket_asks_for_a_token_too(authority: Authority, agent: Agent) -> None:
    import websockets.sync.client as client
    from websockets.exceptions import InvalidStatus

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"actor": current_context().identity.current_actor})
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/socket", endpoint)])
    door = Door(authority, app, guard=None)
    with serve_on_thread(door.guarded) as url:
        address = url.replace("http", "ws") + "/socket"
        with pytest.raises(InvalidStatus) as caught:
            client.connect(address)
        assert caught.value.response.status_code in (401, 403)
        token = authority.issue(agent, resource=RESOURCE)
        with client.connect(address, additional_headers={"authorization": f"Bearer {token}"}) as socket:
            assert agent.uri in str(socket.recv())


def test_over_sockets(authority: Authority, agent: Agent) -> None:
    door = Door(authority)
    with serve_on_thread(door.guarded) as url, httpx.Client(base_url=url) as caller:
        assert caller.post("/chat", json={}).status_code == 401
        headers = {"authorization": f"Bearer {authority.issue(agent, resource=RESOURCE)}"}
        for _ in range(3):
            assert caller.post("/chat", json={}, headers=headers).status_code == 200
