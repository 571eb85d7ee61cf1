"""Replies to requests without a body: a glance lets most of them by, a model's reply is screened all the same."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from highflame_middleware import BlockedError, CallContext, HighflameMiddleware, current_context
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardResponse, Stage
from tests.asgi.test_reply import ANSWER, App
from tests.gateway_kit import ask, scope_of

GUARD = FakeGuard(deny=["SECRET"], redact=["card"])
PLAIN = json.dumps({"note": "The SECRET of a page that no model wrote"}).encode()
MODELS = json.dumps(ANSWER).encode()
WIDE = MODELS.decode().encode("utf-16-le")


def get(app: Any, **options: Any) -> Any:
    return ask(HighflameMiddleware(app, guard=GUARD, **options), method="GET")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("app", [App([PLAIN], length=True), App([b"<p>SECRET</p>"], "text/html"), App([b""])])
def test_what_no_model_says_passes_message_by_message(app: App, method: str) -> None:
    sent = ask(HighflameMiddleware(app, guard=GUARD), method=method)
    assert sent.body == b"".join(app.pieces)
    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]
    assert len(sent.header("x-request-id")) == 1


@pytest.mark.parametrize(
    "pieces",
    [[MODELS], [MODELS[:40], MODELS[40:]], [MODELS, b""], [WIDE]],
    ids=["whole", "parts", "then", "utf-16"],
)
def test_a_models_reply_is_screened_whoever_asked(pieces: list[bytes]) -> None:
    sent = get(App(pieces, length=True))
    assert sent.status == 403
    assert "SECRET" not in sent.body.decode("utf-8", "replace")


def test_headers_of_its_own_are_there_either_way() -> None:
    for app, status in ((App([PLAIN], length=True), 200), (App([MODELS], length=True), 403)):
        sent = get(app, rate_limits={"address": "9/minute"})
        assert sent.status == status
        assert len(sent.header("ratelimit")) == len(sent.header("x-request-id")) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_guarded_call_raised_is_answered_where_nothing_has_left(begun: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise BlockedError(GuardResponse(decision=Decision.DENY), Stage.PROMPT)

    # A start that waits for its body has not left.
    assert get(app).status == 403


def test_a_reply_that_has_left_is_not_answered_twice() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        raise BlockedError(GuardResponse(decision=Decision.DENY), Stage.PROMPT)

    with pytest.raises(BlockedError):
        get(app)


# Whatever an application sends, and however.

ASKED = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
DEBUG = {"type": "http.response.debug", "info": {"template": "x"}}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False}
ZERO_COPY = {"type": "http.response.zerocopysend", "file": 3, "more_body": False}
FILE = {"type": "http.response.pathsend", "path": "/nowhere"}


def begin(kind: str = "application/json", *headers: tuple[bytes, bytes], length: int | None = 2) -> dict[str, Any]:
    told = [(b"content-type", kind.encode()), *headers]
    told += [(b"content-length", str(length).encode())] if length is not None else []
    return {"type": "http.response.start", "status": 200, "headers": told, "trailers": True}


def piece(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


def saying(*messages: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def bare(messages: list[Any]) -> list[Any]:
    """Messages without what is added to their start."""
    return [
        {**message, "headers": [row for row in message["headers"] if row[0] != b"x-request-id"]}
        if message["type"] == "http.response.start"
        else message
        for message in messages
    ]


@pytest.mark.parametrize("guard", [GUARD, None])
@pytest.mark.parametrize(
    "messages",
    [
        [ASKED, begin(), piece(b"{}"), TRAILERS],
        [begin(), ASKED, DEBUG, piece(b"{}"), TRAILERS],
        [begin(), FILE],
        [begin(), ZERO_COPY, TRAILERS],
        [begin("text/html"), ASKED, piece(b"{", more=True), DEBUG, piece(b"}"), TRAILERS],
        [begin("text/event-stream", length=None), ASKED, piece(b"data: 1\n\n", more=True), piece(b""), TRAILERS],
        [begin("application/json", (b"content-encoding", b"gzip")), piece(b'\x1f\x8b\0"type"')],
    ],
)
def test_messages_pass_in_their_order(messages: list[Any], guard: Any) -> None:
    sent = ask(HighflameMiddleware(saying(*messages), guard=guard), method="GET")
    whole = [message for message in bare(sent.messages) if message != piece(b"", more=True)]
    assert whole == messages
    assert len(sent.header("x-request-id")) == 1


def test_headers_may_come_one_by_one() -> None:
    for kind in ("application/json", "text/html", "text/event-stream"):
        start = {**begin(kind), "headers": iter(begin(kind)["headers"])}
        assert bare(get(saying(start, piece(b"{}"))).messages)[0]["headers"] == begin(kind)["headers"]


@pytest.mark.parametrize("first", ["application/json", "text/html", "text/event-stream"])
@pytest.mark.parametrize("second", ["application/json", "text/html", "text/event-stream"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reply_that_begins_twice_is_the_servers_to_refuse(first: str, second: str, method: str) -> None:
    """Each start goes out once, and what the first one had screened stays screened."""
    body = MODELS if "json" in first else b"data: " + MODELS + b"\n\n"
    app = saying(begin(first, length=None), begin(second, length=None), piece(body))
    content = b'{"prompt": "Hi!"}' if method == "POST" else None
    sent = ask(HighflameMiddleware(app, guard=GUARD), content, method=method)
    starts = [dict(message["headers"])[b"content-type"] for message in sent.messages if "status" in message]
    assert starts[:2] == [first.encode(), second.encode()]
    if method == "POST" or "event" in first:
        assert b"SECRET" not in b"".join(message.get("body", b"") for message in sent.messages)


def test_a_stream_that_has_ended_is_not_ended_again() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await saying(begin("text/event-stream", length=None), piece(b"data: 1\n\n"), TRAILERS)(scope, receive, send)
        raise BlockedError(GuardResponse(decision=Decision.DENY), Stage.PROMPT)

    with pytest.raises(BlockedError):
        ask(HighflameMiddleware(app, guard=None), method="GET")


def test_a_refusal_keeps_who_may_read_it() -> None:
    rows = [(b"access-control-allow-origin", b"https://a.test"), (b"Vary", b"origin"), (b"etag", b"1")]
    sent = get(saying(begin("application/json", *rows, length=len(MODELS)), piece(MODELS)))
    assert (sent.status, sent.header("access-control-allow-origin")) == (403, ["https://a.test"])
    assert (sent.header("vary"), sent.header("etag")) == (["origin"], [])


def test_a_reply_that_is_longer_than_it_said_is_not_kept() -> None:
    """A server would refuse it; until then nobody keeps it."""
    chunk, held = b"x" * 2**16, []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(begin())
        for _ in range(64):
            await send(piece(chunk, more=True))
            held.append(len(left))
        await send(piece(b""))

    left: list[Any] = []

    async def send(message: Any) -> None:
        left.append(message)

    anyio.run(HighflameMiddleware(app, guard=GUARD), scope_of(method="GET"), None, send)  # type: ignore[arg-type]
    assert held[15] == 0
    assert held[17] > 0
    assert b"".join(message.get("body", b"") for message in left) == chunk * 64


def test_who_is_cancelled_says_nothing_more() -> None:
    held: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(begin())
        await anyio.sleep(30)

    async def send(message: Any) -> None:
        held.append(message)

    async def run() -> None:
        with anyio.move_on_after(0.02):
            await HighflameMiddleware(app, guard=GUARD)(scope_of(method="GET"), None, send)  # type: ignore[arg-type]
        assert current_context() == CallContext()

    anyio.run(run)
    assert held == []


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), BlockedError(GuardResponse(decision=Decision.DENY), Stage.PROMPT)]
)
def test_an_application_that_raises_after_a_start_that_waits(error: Exception) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(begin())
        await send(ASKED)
        raise error

    if isinstance(error, BlockedError):
        assert get(app).status == 403
        return
    with pytest.raises(ZeroDivisionError):
        get(app)
