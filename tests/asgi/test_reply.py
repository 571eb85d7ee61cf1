"""Replies on their way out of an application: guarded while they stream, replaced where nothing has left yet."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from highflame_middleware import BlockedError, HighflameMiddleware
from highflame_middleware.testing import CapturedSpans, FakeGuard
from highflame_middleware.types import Decision, GuardResponse, Stage
from tests.gateway_kit import BACKENDS, Sent, ask, asking, body_of, events_of, said, scope_of, serve
from tests.servers import chunk, events

JSON, SSE = "application/json", "text/event-stream"
CALL = asking("Hi!")
ANSWER = {
    "object": "chat.completion",
    "choices": [{"message": {"role": "assistant", "content": "The SECRET is out."}}],
}
SPLIT = [chunk("The SEC"), chunk("RET is"), chunk(" out.", finish="stop")]


class App:
    """A plain ASGI application that answers ``pieces``, and notes what it is told."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        kind: str = JSON,
        *,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
        length: bool = False,
        fails: Exception | None = None,
    ) -> None:
        self.pieces, self.status, self.fails = list(pieces), status, fails
        given = [("content-type", kind), *headers]
        if length:
            given.append(("content-length", str(sum(map(len, pieces)))))
        self.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given]
        self.refused: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message: Any = await receive()
        while message.get("more_body"):
            message = await receive()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for number, piece in enumerate(self.pieces):
            more = self.fails is not None or number < len(self.pieces) - 1
            try:
                await send({"type": "http.response.body", "body": piece, "more_body": more})
            except OSError:
                self.refused.append(number)
                raise
        if self.fails is not None:
            raise self.fails


def reply(app: Any, body: Any = None, *, guard: Any = None, backend: str = "asyncio", **options: Any) -> Sent:
    """What a caller gets of an app behind the middleware."""
    scope = {name: options.pop(name) for name in ("path", "method", "headers", "asgi") if name in options}
    guard = FakeGuard(redact=["SECRET"]) if guard is None else guard
    return ask(HighflameMiddleware(app, guard=guard, **options), body, backend=backend, **scope)


def stream(*data: Any) -> App:
    return App(events(*data), SSE)


DENY = FakeGuard(deny=["SECRET"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pieces", [1, 2, 1000], ids=["whole", "halves", "bytes"])
def test_a_json_reply_in_openais_shape(pieces: int, backend: str) -> None:
    whole = body_of(ANSWER)
    size = -(-len(whole) // pieces)
    app = App([whole[start : start + size] for start in range(0, len(whole), size)], length=True)
    sent = reply(app, CALL, backend=backend)
    assert sent.json["choices"][0]["message"]["content"] == "The [redacted] is out."
    assert sent.header("content-length") == [str(len(sent.body))]


def test_a_reply_that_nothing_changes_keeps_its_bytes() -> None:
    odd = b'{ "choices":[{"message":{"content":"caf\\u00e9"}}], "x":1e2 }\n'
    sent = reply(App([odd], length=True), CALL)
    assert (sent.body, sent.header("content-length")) == (odd, [str(len(odd))])


# An application's own shapes: guarded all the same where a model was called.
OWN: dict[str, tuple[App, str]] = {
    "JSON": (App([body_of({"answer": {"parts": ["The SECRET"]}})]), '{"answer":{"parts":["The [redacted]"]}}'),
    "JSON text": (App([b'"The SECRET"']), '"The [redacted]"'),
    "events of JSON": (
        App([b'data: {"token": "The SEC"}\n\n', b'data: {"token": "RET is"}\n\n'], SSE),
        "The [redacted] is",
    ),
    "events of text": (
        App([b"data: The SEC\n\n", b"data: RET is\n\n", b"data: [DONE]\n\n"], SSE),
        "The [redacted] is",
    ),
    "named events": (
        App([b"event: token\ndata: The SEC\n\n", b"event: token\ndata: RET is\n\n"], SSE),
        "The [redacted] is",
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_replies_in_shapes_of_an_applications_own(name: str) -> None:
    app, expected = OWN[name]
    sent = reply(app, CALL)
    if app.headers[0][1] == SSE.encode():
        parts = []
        for event in sent.body.decode().split("\n\n"):
            data = event.partition("data: ")[2]
            if data and data != "[DONE]":
                parts.append(json.loads(data)["token"] if data.startswith("{") else data)
        assert "".join(parts) == expected
    else:
        assert sent.body.decode() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_secret_split_across_chunks(backend: str) -> None:
    for body in (CALL, None):
        sent = reply(stream(*SPLIT), body, backend=backend)
        assert said(sent.body) == "The [redacted] is out."
        assert sent.body.endswith(b"data: [DONE]\n\n")
        assert sent.header("content-length") == []


def test_a_stream_that_nothing_changes_keeps_its_bytes() -> None:
    whole = [b": hi\r\n\r\n", *events(*SPLIT), b"retry: 5\n\n"]
    assert reply(App(whole, SSE), CALL, guard=FakeGuard()).body == b"".join(whole)


@pytest.mark.parametrize("kind", [JSON, SSE])
@pytest.mark.parametrize("call", [CALL, None], ids=["a model's call", "any call"])
def test_a_denied_reply_is_a_denial_and_no_200(kind: str, call: Any) -> None:
    app = stream(*SPLIT) if kind == SSE else App([body_of(ANSWER)], headers=[("set-cookie", "a=b")], length=True)
    sent = reply(app, call, guard=DENY)
    assert (sent.status, sent.json["error"]["code"]) == (403, "blocked_deny")
    assert sent.header("x-highflame-policy-decision") == ["deny"]
    # A caller who spoke OpenAI's language is answered in it, any other in RFC 9457's.
    assert sent.header("content-type") == ["application/json" if call is not None else "application/problem+json"]
    assert sent.header("x-request-id")
    assert b"SECRET" not in sent.body
    assert sent.complete


@pytest.mark.parametrize(("word", "status"), [("step_up", 401), ("defer", 425)])
def test_other_decisions(word: str, status: int) -> None:
    words: dict[str, Any] = {word: ["SECRET"]}
    assert reply(App([body_of(ANSWER)]), CALL, guard=FakeGuard(**words)).status == status


def test_a_stream_denied_in_the_middle() -> None:
    app = stream(chunk("Fine.", finish="stop"), chunk("The SECRET", index=1, finish="stop"), chunk("more", index=2))
    sent = reply(app, CALL, guard=DENY)
    assert (sent.status, said(sent.body)) == (200, "Fine.")
    assert events_of(sent.body)[-1]["error"]["type"] == "highflame_error"
    assert b"[DONE]" not in sent.body
    assert sent.complete
    assert app.refused == [], "an application that was not promised it is told nothing"


def test_a_stopped_application_hears_of_it_as_of_a_caller_who_left() -> None:
    app = stream(chunk("The SECRET", finish="stop"), chunk("more"), chunk("more"))
    sent = reply(app, CALL, guard=DENY, asgi={"version": "3.0", "spec_version": "2.4"})
    assert sent.status == 403
    assert app.refused == [1], "ASGI 2.4: the next thing it sends raises OSError"


@pytest.mark.parametrize("guarded", ["hangs", "raises"])
@pytest.mark.parametrize(("fail_open", "status"), [(False, 503), (True, 200)])
def test_a_guard_without_a_verdict(guarded: str, fail_open: bool, status: int) -> None:
    async def guard(request: Any) -> bool:
        if request.stage.label == "prompt":
            return True
        if guarded == "hangs":
            await anyio.sleep(10)
        raise RuntimeError("down")

    for app in (App([body_of(ANSWER)]), stream(*SPLIT)):
        assert reply(app, CALL, guard=guard, fail_open=fail_open, deadline=0.03).status == status


@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_looking_on_changes_nothing_and_reports_all(mode: str, highflame_spans: CapturedSpans) -> None:
    tracer = highflame_spans.provider.get_tracer("server")
    for app, whole in ((App([body_of(ANSWER)]), body_of(ANSWER)), (stream(*SPLIT), b"".join(events(*SPLIT)))):
        with tracer.start_as_current_span("request"):
            sent = reply(app, CALL, guard=DENY, mode=mode)
        assert (sent.status, sent.body) == (200, whole)
    made = [(item["stage"], item["decision"], item["enforced"]) for item in highflame_spans.decisions()]
    assert made == [("response", "deny", False)] * 2
    assert [span.name for span in highflame_spans.finished] == ["request"] * 2, "no span of its own"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["enforce", "monitor"])
def test_the_first_chunk_leaves_before_the_last_is_made(mode: str, backend: str) -> None:
    pieces = events(chunk("One.", finish="stop"), chunk("Two.", index=1, finish="stop"))
    heard = []

    async def run() -> None:
        arrived = anyio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", SSE.encode())]})
            await send({"type": "http.response.body", "body": pieces[0], "more_body": True})
            with anyio.fail_after(2):
                await arrived.wait()
            await send({"type": "http.response.body", "body": b"".join(pieces[1:])})

        async def note(sent: Sent, message: Any) -> None:
            heard.append(message)
            if message.get("body") == pieces[0]:
                arrived.set()

        await serve(
            HighflameMiddleware(app, guard=FakeGuard(), mode=mode), scope_of(), [body_of(CALL)], on_send=note
        )

    anyio.run(run, backend=backend)
    assert [message.get("body") for message in heard] == [None, pieces[0], b"".join(pieces[1:])]


# Replies that are nobody's to look into.
UNTOUCHED: dict[str, tuple[App, Any]] = {
    "text": (App([b"The SECRET"], "text/plain"), None),
    "HTML": (App([b"<p>SECRET"], "text/html; charset=utf-8"), None),
    "binary": (App([b"\x00SECRET\xff"], "application/octet-stream"), CALL),
    "problem": (App([b'{"title": "SECRET"}'], "application/problem+json"), None),
    "error": (App([body_of(ANSWER)], status=500), CALL),
    "redirect": (App([body_of(ANSWER)], status=307), CALL),
    "nothing": (App([b""], status=204), CALL),
    "compressed": (App([gzip.compress(body_of(ANSWER))], headers=[("content-encoding", "gzip")]), CALL),
    "JSON of another kind": (App([b'{"note": "SECRET"}'], length=True), None),
    "JSON that is none": (App([b"SECRET, plainly"], length=True), None),
    "a part of JSON": (App([b'{"choices": [{"message": {"content": "SEC'], status=206, length=True), None),
    "lines of JSON": (App([b'{"a": "SECRET"}\n{"b": 1}\n'], length=True), None),
    "JSON too deep": (App([b"[" * 100_000], length=True), None),
    "events of another kind": (App([b'data: {"temperature": "SECRET"}\n\n'], SSE), None),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_other_replies_pass_untouched(name: str) -> None:
    app, call = UNTOUCHED[name]
    sent = reply(app, call)
    assert sent.body == b"".join(app.pieces)
    assert sent.status == app.status
    headers = [item for item in sent.start["headers"] if item[0] != b"x-request-id"]
    assert sorted(headers) == sorted(app.headers)


def test_a_compressed_reply_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    app = App([gzip.compress(body_of(ANSWER))], headers=[("content-encoding", "gzip")])
    with caplog.at_level(logging.WARNING, "highflame_middleware"):
        reply(app, CALL)
    assert ["compressed reply" in record.message for record in caplog.records] == [True]


def test_an_identity_is_no_compression() -> None:
    app = App([body_of(ANSWER)], headers=[("content-encoding", "identity")])
    assert b"[redacted]" in reply(app, CALL).body


@pytest.mark.parametrize("length", [True, False], ids=["declared", "chunked"])
def test_a_large_download_streams_through(length: bool) -> None:
    """JSON of a megabyte and more that no model was called for: neither read nor held."""
    pieces = [b'{"object": "chat.completion", "x": "', *[b"x" * 100_000] * 20, b'"}']
    held: list[int] = []

    async def run() -> Sent:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await App(pieces, length=length)(scope, receive, counting(send))

        def counting(send: Any) -> Any:
            async def counted(message: Any) -> None:
                await send(message)
                held.append(len(result.messages))

            return counted

        result = Sent()

        async def note(sent: Sent, message: Any) -> None:
            result.messages.append(message)

        scope = scope_of("GET", json_body=False)
        return await serve(HighflameMiddleware(app, guard=FakeGuard()), scope, on_send=note)

    sent = anyio.run(run)
    assert sent.body == b"".join(pieces)
    assert held == list(range(1, len(pieces) + 2)), "each message leaves when it is sent"


def test_a_small_json_in_openais_shape_is_looked_into_whoever_asked() -> None:
    for method, body in (("GET", None), ("POST", {"question": "?"})):
        sent = reply(App([body_of(ANSWER)], length=True), body, method=method)
        assert b"[redacted]" in sent.body
        assert sent.header("content-length") == [str(len(sent.body))]


def test_a_head_request_keeps_the_length_of_what_it_would_get() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1234")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    assert reply(app, method="HEAD").header("content-length") == ["1234"]


@pytest.mark.parametrize(
    ("content", "fail_open", "status"),
    [(b"{", False, 502), (b"{", True, 200), (b"[" * 100_000, False, 502), (b"", False, 200)],
    ids=["half", "half, open", "deep", "empty"],
)
def test_a_models_reply_that_cannot_be_read(content: bytes, fail_open: bool, status: int) -> None:
    sent = reply(App([content], length=True), CALL, fail_open=fail_open)
    assert sent.status == status
    if status == 200:
        assert sent.body == content


def test_other_messages_pass_in_their_place() -> None:
    """Pushes, early hints, trailers, debug: extensions of servers and test clients."""
    order = ["http.response.debug", "http.response.start", "http.response.push", "http.response.body"]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.debug", "info": {}})
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.push", "path": "/style.css", "headers": []})
        await send({"type": "http.response.body", "body": body_of(ANSWER)})
        await send({"type": "http.response.trailers", "headers": [(b"x-end", b"1")]})

    async def run() -> Sent:
        return await serve(
            HighflameMiddleware(app, guard=FakeGuard(redact=["SECRET"])), scope_of(), [body_of(CALL)]
        )

    sent = anyio.run(run)
    assert [message["type"] for message in sent.messages] == [*order, "http.response.trailers"]
    assert sent.start["trailers"] is True
    assert b"[redacted]" in sent.body


@pytest.mark.parametrize("own", [None, "app-made-id"])
def test_the_request_id_is_echoed(own: str | None) -> None:
    headers = [("x-request-id", "callers-own-id")]
    app = App([b"ok"], "text/plain", headers=[("X-Request-ID", own)] if own else [])
    assert reply(app, headers=headers, method="GET").header("x-request-id") == [own or "callers-own-id"]


def test_headers_may_be_absent_or_any_iterable() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start: dict[str, Any] = {"type": "http.response.start", "status": 200}
        if scope["path"] == "/iterated":
            start["headers"] = iter([[bytearray(b"x-a"), bytearray(b"1")]])
        await send(start)
        await send({"type": "http.response.body"})

    assert len(reply(app, path="/none").start["headers"]) == 1
    assert reply(app, path="/iterated").header("x-a") == ["1"]


def blocked() -> BlockedError:
    """The verdict on an SDK call of the application's, which it leaves to be answered for it."""
    return BlockedError(GuardResponse(decision=Decision.DENY, policy_reason="no"), Stage.PROMPT)


def test_an_uncaught_verdict_after_the_start_is_told_in_band() -> None:
    app = App(events(chunk("Fine.", finish="stop"), done=False), SSE, fails=blocked())
    sent = reply(app, CALL)
    assert (sent.status, said(sent.body)) == (200, "Fine.")
    assert "no" in events_of(sent.body)[-1]["error"]["message"]
    assert sent.complete


@pytest.mark.parametrize("kind", [SSE, JSON])
def test_an_uncaught_verdict_before_anything_has_left_is_a_denial(kind: str) -> None:
    app = App([b'data: {"half": '] if kind == SSE else [b'{"half": '], kind, fails=blocked())
    sent = reply(app, CALL)
    assert (sent.status, sent.json["error"]["code"]) == (403, "blocked_deny")


def test_an_uncaught_verdict_in_a_reply_that_cannot_say_so_is_raised() -> None:
    with pytest.raises(BlockedError):
        reply(App([b"\0\1"], "application/octet-stream", fails=blocked()), CALL)


def test_other_errors_are_the_servers_to_hear_of() -> None:
    for app in (
        App([b"some text"], "text/plain", fails=ZeroDivisionError()),
        App(events(chunk("Fine.", finish="stop"), done=False), SSE, fails=ZeroDivisionError()),
        App([b"{"], JSON, fails=ZeroDivisionError()),
    ):
        with pytest.raises(ZeroDivisionError):
            reply(app, CALL)


def test_an_error_after_a_reply_was_stopped_is_nobodys() -> None:
    app = App([*events(chunk("The SECRET", finish="stop"), done=False)], SSE, fails=ZeroDivisionError())
    assert reply(app, CALL, guard=DENY).status == 403


def test_replies_without_a_guard_are_not_held() -> None:
    app = App([b'{"object": "chat', b'.completion"}'])
    sent = ask(HighflameMiddleware(app, guard=None), CALL)
    assert sent.chunks == app.pieces
