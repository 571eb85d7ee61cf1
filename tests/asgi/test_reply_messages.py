"""What a reply says of its body, and what an application sends beside it: kept, dropped or held, as is right."""

from __future__ import annotations

import gzip
import logging
from typing import Any

import anyio
import pytest

from highflame_middleware import HighflameMiddleware
from highflame_middleware.testing import FakeGuard
from tests.asgi.test_reply import ANSWER, DENY, JSON, SSE, App, reply
from tests.gateway_kit import Sent, ask, asking, body_of, scope_of, serve
from tests.servers import chunk, events

CALL = asking("Hi!")
DIGESTS = [
    ("ETag", '"1"'),
    ("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
    ("Digest", "sha-256=x"),
    ("Content-Digest", "sha-256=:x:"),
    ("Repr-Digest", "sha-256=:x:"),
]
NAMES = [name.lower() for name, _ in DIGESTS]


def digests_of(sent: Sent) -> list[str]:
    return [name for name in NAMES if sent.header(name)]


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([body_of(ANSWER)[:20], body_of(ANSWER)[20:]], JSON),
        ([b"The SECRET is out."], "text/plain"),
        (events(chunk("The SECRET is out.", finish="stop")), SSE),
    ],
    ids=["JSON", "text", "events"],
)
def test_what_is_said_of_a_body_holds_for_the_body_that_leaves(pieces: list[bytes], kind: str) -> None:
    app = App(pieces, kind, headers=DIGESTS, length=True)
    assert digests_of(reply(app, CALL)) == []
    kept = reply(app, CALL, guard=FakeGuard())
    # Of a stream that has only begun nobody knows whether something will be changed.
    assert digests_of(kept) == ([] if kind == SSE else NAMES)
    assert kept.body == b"".join(pieces)
    looked_at = reply(app, CALL, guard=DENY, mode="monitor")
    assert digests_of(looked_at) == NAMES
    assert looked_at.header("content-length") == [str(len(looked_at.body))]


def test_who_may_read_a_reply_may_read_the_answer_in_its_place() -> None:
    shared = [("Access-Control-Allow-Origin", "https://a.example"), ("Vary", "Origin")]
    app = App([body_of(ANSWER)], headers=[*shared, ("set-cookie", "a=b")])
    sent = reply(app, CALL, guard=DENY)
    assert sent.status == 403
    assert [sent.header(name.lower()) for name, _ in shared] == [["https://a.example"], ["Origin"]]
    assert sent.header("set-cookie") == []


def app_sending(*messages: dict[str, Any]) -> Any:
    """An application that sends just these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    return app


def start(kind: str = JSON, *headers: tuple[bytes, bytes], **fields: Any) -> dict[str, Any]:
    made = [(b"content-type", kind.encode()), *headers]
    return {"type": "http.response.start", "status": 200, "headers": made, **fields}


def body(content: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


TRAILERS = {"type": "http.response.trailers", "headers": [(b"content-digest", b"x"), (b"x-end", b"1")]}


def test_trailers_follow_without_what_is_no_longer_true() -> None:
    app = app_sending(start(SSE, trailers=True), body(events(chunk("Hi", finish="stop"))[0]), TRAILERS)
    sent = ask(HighflameMiddleware(app, guard=FakeGuard()), CALL)
    assert sent.messages[-1]["headers"] == [(b"x-end", b"1")]
    watched = ask(HighflameMiddleware(app, guard=FakeGuard(), mode="monitor"), CALL)
    assert watched.messages[-1] == TRAILERS


def test_a_stream_that_is_stopped_ends_with_the_trailers_that_it_promised() -> None:
    pieces = events(chunk("Fine.", finish="stop"), chunk("The SECRET", index=1, finish="stop"), done=False)
    app = app_sending(start(SSE, trailers=True), *(body(piece, more=True) for piece in pieces), body(), TRAILERS)
    sent = ask(HighflameMiddleware(app, guard=DENY), CALL)
    assert [message["type"] for message in sent.messages[-2:]] == ["http.response.body", "http.response.trailers"]
    assert sent.messages[-1]["headers"] == []
    assert b"SECRET" not in sent.body


HINT = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}
PUSH = {"type": "http.response.push", "path": "/style.css", "headers": []}


def test_early_hints_leave_at_once_and_a_push_with_its_reply() -> None:
    app = app_sending(HINT, start(), PUSH, body(body_of(ANSWER)))
    sent = ask(HighflameMiddleware(app, guard=FakeGuard()), CALL)
    assert [message["type"].rpartition(".")[2] for message in sent.messages] == [
        "early_hint",
        "start",
        "push",
        "body",
    ]
    denied = ask(HighflameMiddleware(app, guard=DENY), CALL)
    assert [message["type"].rpartition(".")[2] for message in denied.messages] == ["early_hint", "start", "body"]
    assert denied.status == 403


PATH = {"type": "http.response.pathsend", "path": "/answers/1.json"}
ZERO = {"type": "http.response.zerocopysend", "file": 7}


@pytest.mark.parametrize("message", [PATH, ZERO], ids=["pathsend", "zerocopysend"])
def test_files_that_a_server_sends_by_itself(message: dict[str, Any], highflame_spans: Any) -> None:
    app = app_sending(start("application/octet-stream"), message)
    assert ask(HighflameMiddleware(app, guard=DENY), method="GET").messages[-1] == message
    small = app_sending(start(JSON, (b"content-length", b"10")), message)
    assert ask(HighflameMiddleware(small, guard=DENY), method="GET").messages[-1] == message
    # Where the reply counts it is not offered; an application that does it all the same is stopped.
    unasked = app_sending(start(), message)
    sent = ask(HighflameMiddleware(unasked, guard=DENY), CALL)
    assert (sent.status, sent.json["error"]["code"]) == (502, "unreadable")
    assert ask(HighflameMiddleware(unasked, guard=DENY, fail_open=True), CALL).messages[-1] == message
    assert ask(HighflameMiddleware(unasked, guard=DENY, mode="alert"), CALL).messages[-1] == message


def test_what_an_application_is_offered_where_its_reply_counts() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(
            (sorted(scope["extensions"]), [name for name, _ in scope["headers"] if name != b"content-type"])
        )
        await App([b"{}"])(scope, receive, send)

    extensions = {"http.response.pathsend": {}, "http.response.zerocopysend": {}, "http.response.trailers": {}}
    headers = [("Range", "bytes=0-9"), ("If-Range", '"1"'), ("accept", "*/*")]
    for call in (CALL, None):
        scope = {"extensions": extensions, "headers": headers}
        assert ask(HighflameMiddleware(app, guard=FakeGuard()), call, **scope).status == 200
    assert seen == [
        (["http.response.trailers"], [b"accept"]),
        (sorted(extensions), [b"Range", b"If-Range", b"accept"]),
    ]


def test_a_warning_about_compression_is_given_once_for_each_path(caplog: pytest.LogCaptureFixture) -> None:
    app = App([gzip.compress(body_of(ANSWER))], headers=[("content-encoding", "gzip")])
    guarded = HighflameMiddleware(app, guard=FakeGuard())
    with caplog.at_level(logging.WARNING, "highflame_middleware.asgi"):
        for path in ("/chat", "/chat", "/other", "/chat"):
            assert ask(guarded, CALL, path=path).body == app.pieces[0]
    assert [record.args for record in caplog.records] == [("/chat",), ("/other",)]


def test_of_very_many_compressed_paths_not_all_are_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highflame_middleware.asgi.screening._MAX_NOTICES", 3)
    guarded = HighflameMiddleware(App([b"x"], headers=[("content-encoding", "br")]), guard=FakeGuard())
    with caplog.at_level(logging.WARNING, "highflame_middleware.asgi"):
        for number in range(10):
            ask(guarded, CALL, path=f"/{number}")
    assert len(caplog.records) == 3


def test_a_reply_of_a_kind_that_holds_no_text_may_be_compressed(caplog: pytest.LogCaptureFixture) -> None:
    app = App([b"\x1f\x8b"], "image/svg", headers=[("content-encoding", "gzip")])
    with caplog.at_level(logging.WARNING, "highflame_middleware.asgi"):
        assert reply(app, CALL).body == b"\x1f\x8b"
        assert reply(App([b"\x1f\x8b"], headers=[("content-encoding", "gzip")]), None).body == b"\x1f\x8b"
    assert caplog.records == []


@pytest.mark.parametrize("kind", [JSON, "text/plain", SSE])
def test_background_work_runs_after_the_reply_has_left(kind: str) -> None:
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start(kind))
        await send(body(b'"Hi"' if kind == JSON else b"data: Hi\n\n"))
        await anyio.sleep(0)
        order.append("background")

    async def note(sent: Sent, message: Any) -> None:
        order.append(message["type"])

    async def run() -> None:
        await serve(HighflameMiddleware(app, guard=FakeGuard()), scope_of(), [body_of(CALL)], on_send=note)

    anyio.run(run)
    assert order == ["http.response.start", "http.response.body", "background"]
