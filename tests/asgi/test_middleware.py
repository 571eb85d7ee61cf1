"""The middleware itself: how a stopped request is answered, what passes it by, and what it is told."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from highflame_middleware import (
    ConfigError,
    HighflameMiddleware,
    Settings,
    bypass,
)
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.asgi.kit import Echo, through
from tests.gateway_kit import (
    ASK,
    BACKENDS,
    ask,
    asking,
    body_of,
    scope_of,
    serve,
)


@pytest.mark.parametrize(("word", "status"), [("deny", 403), ("step_up", 401), ("defer", 425)])
def test_what_a_stopped_call_is_answered(word: str, status: int) -> None:
    words: dict[str, Any] = {word: ["SECRET"]}
    sent = through(Echo(), ASK, guard=FakeGuard(**words), headers=[("x-request-id", "callers-id")])
    assert sent.status == status
    assert sent.json["error"]["code"] == f"blocked_{word}"
    assert sent.header("x-highflame-policy-decision") == [word]
    assert sent.header("x-request-id") == ["callers-id"]
    assert sent.header("content-length") == [str(len(sent.body))]
    assert bool(sent.header("www-authenticate")) is (status == 401)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fail_open", [False, True])
@pytest.mark.parametrize("how", ["raises", "hangs", "hangs, asynchronous"])
def test_a_guard_without_a_verdict(how: str, fail_open: bool, backend: str) -> None:
    let_go = threading.Event()

    def guard(request: Any) -> bool:
        if how == "raises":
            raise RuntimeError("down")
        return let_go.wait(10)

    async def aguard(request: Any) -> bool:
        await anyio.sleep(10)
        return True

    app = Echo()
    chosen: Any = aguard if "asynchronous" in how else guard
    sent = through(app, ASK, guard=chosen, fail_open=fail_open, deadline=0.03, backend=backend)
    let_go.set()
    assert sent.status == (200 if fail_open else 503)
    assert app.bodies == ([body_of(ASK)] if fail_open else [])


def test_a_changed_body_is_framed_once() -> None:
    """A length that is right, and no transfer coding beside it."""
    app = Echo()
    headers = [("Content-Length", "7"), ("content-length", "8"), ("Transfer-Encoding", "chunked"), ("x-a", "1")]
    through(app, asking("My card."), headers=headers)
    names = [name.lower() for name, _ in app.scopes[0]["headers"]]
    assert app.length == [str(len(app.bodies[0])).encode()]
    assert b"transfer-encoding" not in names
    assert b"x-a" in names


def test_a_server_keeps_its_scope() -> None:
    """The application gets a copy where a header has to change; the rest of the scope is shared."""
    app = Echo()
    scope = scope_of(headers=[("content-length", "99")], state={"kept": object()})
    before = list(scope["headers"])

    async def run() -> None:
        await serve(HighflameMiddleware(app, guard=FakeGuard(redact=["card"])), scope, [body_of(asking("card"))])

    anyio.run(run)
    assert scope["headers"] == before
    assert app.scopes[0]["state"] is scope["state"]


@pytest.mark.parametrize("pieces", [[], [b"{"]])
def test_a_caller_who_leaves_in_the_middle_of_the_body(pieces: list[bytes]) -> None:
    app = Echo()

    async def run() -> None:
        waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        waiting.append({"type": "http.disconnect"})

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("there is nobody to send to")

        await HighflameMiddleware(app, guard=FakeGuard())(scope_of(), receive, send)

    anyio.run(run)
    assert (app.bodies, app.after) == ([], [{"type": "http.disconnect"}])


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "something.new"])
def test_other_connections_pass_untouched(kind: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody is to be asked")

    scope = {"type": kind, "headers": [(b"x-highflame-user", b"ada")], "client": ("10.0.0.1", 1), "path": "/"}
    guarded = HighflameMiddleware(app, guard=FakeGuard(), trusted_peers=["*"], guard_websockets=False)
    anyio.run(guarded, scope, nothing, nothing)
    assert seen == [(scope, nothing, nothing)]


@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_looking_on_changes_nothing_and_reports_all(mode: str, highflame_spans: CapturedSpans) -> None:
    app = Echo()
    tracer = highflame_spans.provider.get_tracer("server")
    with tracer.start_as_current_span("POST /ask"):
        sent = through(app, asking("The SECRET of my card."), mode=mode)
    assert (sent.status, app.bodies) == (200, [body_of(asking("The SECRET of my card."))])
    (made,) = highflame_spans.decisions()
    assert (made["stage"], made["decision"], made["enforced"]) == ("prompt", "deny", False)


def test_without_a_guard_nothing_is_read() -> None:
    app = Echo()
    sent = ask(HighflameMiddleware(app, guard=None), pieces=[b"not ", b"json"])
    assert (sent.status, app.bodies) == (200, [b"not json"])


def test_bypass_is_heard_and_put_on_record(highflame_spans: CapturedSpans) -> None:
    app = Echo()
    tracer = highflame_spans.provider.get_tracer("server")
    with tracer.start_as_current_span("POST /ask"), bypass("a test of it"):
        assert through(app, ASK).status == 200
    (span,) = highflame_spans.finished
    assert span.attributes["highflame.guardrail.bypass"] == "a test of it"


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        ({"mode": "watch"}, "monitor"),
        ({"guard": "shield"}, "needs a key"),
        ({"deadline": 0}, "deadline"),
        ({"max_body": 0}, "max_body=0"),
        ({"max_body": "16M"}, "max_body='16M'"),
        ({"max_body": True}, "max_body=True"),
        ({"trusted_peers": "*"}, "trusted_peers"),
    ],
)
def test_a_wrong_argument_is_a_config_error(options: dict[str, Any], needle: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HighflameMiddleware(Echo(), **options)
    assert needle in str(caught.value)


def test_options_over_a_settings_object() -> None:
    settings = Settings(guard=FakeGuard(deny=["SECRET"]))
    assert ask(HighflameMiddleware(Echo(), settings=settings), ASK).status == 403
    assert ask(HighflameMiddleware(Echo(), settings=settings, mode="monitor"), ASK).status == 200
