"""Replies that are not OpenAI's JSON: lines, sequences, plain text; while they stream, and told why they end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from highflame_middleware import EmbeddedGuard, HighflameMiddleware, Settings
from highflame_middleware.testing import FakeGuard
from tests.asgi.test_reply import DENY, App, blocked, reply
from tests.gateway_kit import BACKENDS, Sent, ask, asking, body_of, events_of, said, scope_of, serve
from tests.servers import chunk, events

CALL = asking("Hi!")
LINES = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"]
SEQUENCE = "application/json-seq"
TOKENS = ({"token": "The SEC"}, {"token": "RET is"}, {"token": " out."})


def lines(*data: Any) -> list[bytes]:
    return [json.dumps(item).encode() + b"\n" for item in data]


def sequence(*data: Any, indent: int | None = None) -> list[bytes]:
    return [b"\x1e" + json.dumps(item, indent=indent).encode() + b"\n" for item in data]


def tokens(body: bytes) -> str:
    parts = [json.loads(part) for part in body.replace(b"\x1e", b"").split(b"\n") if part]
    return "".join(part["token"] for part in parts)


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_with_a_secret_spread_over_them(kind: str, size: int) -> None:
    whole = b"".join(lines(*TOKENS))
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert tokens(reply(App(pieces, kind), CALL).body) == "The [redacted] is out."


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_sequence_with_a_secret_spread_over_it(size: int, indent: int | None) -> None:
    whole = b"".join(sequence(*TOKENS, indent=indent))
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    sent = reply(App(pieces, SEQUENCE), CALL)
    said = [json.loads(record)["token"] for record in sent.body.split(b"\x1e")[1:]]
    assert "".join(said) == "The [redacted] is out."
    assert all(record.endswith(b"\n") for record in sent.body.split(b"\x1e")[1:])


@pytest.mark.parametrize("kind", [*LINES, SEQUENCE])
def test_lines_that_nothing_changes_keep_their_bytes(kind: str) -> None:
    made = (
        sequence({"a": 1}, {"token": "x"}, indent=1)
        if kind == SEQUENCE
        else [b'{ "a":1}\n', b"\n", b'"b"\r\n', b"7"]
    )
    assert reply(App(made, kind), CALL, guard=FakeGuard()).body == b"".join(made)


@pytest.mark.parametrize("kind", [LINES[0], SEQUENCE])
def test_lines_that_are_denied_in_the_middle(kind: str) -> None:
    write = sequence if kind == SEQUENCE else lines
    guard = EmbeddedGuard()
    words = "Fine words, and many of them, so that some are let go before the end of it comes. "
    app = App(write({"token": words}, {"token": words}, {"token": INJECTED}), kind)
    sent = reply(app, CALL, guard=Stopping(guard))
    assert sent.status == 200
    assert words.encode() in sent.body
    last = json.loads(sent.body.replace(b"\x1e", b"").splitlines()[-1])
    assert last["error"]["type"] == "highflame_error"
    assert INJECTED.encode() not in sent.body
    assert sent.complete


INJECTED = "the FORBIDDEN word"


class Stopping:
    """A guard with a window that clears all but the last twenty characters, and denies one word."""

    name = "stopping"
    local = True

    def __init__(self, inner: EmbeddedGuard) -> None:
        self._inner = inner

    def evaluate(self, request: Any) -> Any:
        return self._inner.evaluate(request)

    def window(self, request: Any) -> Any:
        from highflame_middleware.guard.protocol import Progress
        from highflame_middleware.types import Decision, GuardResponse

        class Window:
            text = ""

            def feed(self, text: str) -> Progress:
                self.text += text
                if "FORBIDDEN" in self.text:
                    return Progress(0, (), GuardResponse(decision=Decision.DENY))
                return Progress(max(0, len(self.text) - 20))

            def finish(self) -> Progress:
                return Progress(len(self.text), (), GuardResponse(decision=Decision.ALLOW))

        return Window()


TEXTS = ["text/plain", "text/plain; charset=utf-8", "text/markdown", "text/html; charset=UTF-8", "application/xml"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_text_in_pieces(kind: str, size: int, backend: str) -> None:
    whole = "Thé SECRET ist 🔑 raus, SECRET.".encode()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    sent = reply(App(pieces, kind, length=True), CALL, backend=backend)
    assert sent.body.decode() == "Thé [redacted] ist 🔑 raus, [redacted]."
    assert sent.header("content-length") == [str(len(sent.body))]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_text_through_the_engines_window(size: int) -> None:
    whole = "Grüße: my card is 4111 1111 1111 1111, and that is all there is to it. Übrigens…".encode()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    sent = reply(App(pieces, "text/plain"), CALL, guard=EmbeddedGuard())
    assert sent.body.decode() == whole.decode().replace("4111 1111 1111 1111", "[REDACTED:credit_card]")


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "latin1"])
def test_a_text_in_another_charset(charset: str) -> None:
    whole = "Das SECRET heißt Müller".encode(charset)
    sent = reply(App([whole[:9], whole[9:]], f"text/plain; charset={charset}"), CALL)
    assert sent.body == "Das [redacted] heißt Müller".encode(charset)


@pytest.mark.parametrize(
    ("stream", "first"), [("sentence", b"One."), ("passthrough", b"One. Two"), ("buffer", None)]
)
def test_a_text_before_a_guard_without_a_window(stream: str, first: bytes | None) -> None:
    pieces = [b"One. Two", b" SECRET. Three", b" SECRET."]
    settings = Settings(guard=FakeGuard(redact=["SECRET"]), stream=stream)
    sent = ask(HighflameMiddleware(App(pieces, "text/plain"), settings=settings), CALL)
    whole = b"One. Two [redacted]. Three [redacted]."
    assert sent.body == (b"".join(pieces) if stream == "passthrough" else whole)
    assert sent.chunks[0] == (first or whole)


UNREADABLE = {
    "bytes": ([b"The \xff SECRET"], "text/plain"),
    "half a character": ([b"Caf\xc3"], "text/plain"),
    "later": ([b"Good.", b"\xff"], "text/plain"),
    "a charset that is not read": (["The SECRET".encode("utf-16")], "text/plain; charset=utf-16"),
    "a charset that is none": ([b"The SECRET"], "text/plain; charset=klingon"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_text_that_is_none_is_stopped_or_passes_as_the_policy_says(name: str) -> None:
    pieces, kind = UNREADABLE[name]
    sent = reply(App(pieces, kind), CALL, guard=FakeGuard())
    assert (sent.status, sent.json["error"]["code"]) == (502, "unreadable")
    for options in ({"fail_open": True}, {"mode": "monitor"}):
        assert reply(App(pieces, kind), CALL, guard=FakeGuard(), **options).body == b"".join(pieces)


def test_a_text_that_is_too_long_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.asgi.text_screen.MAX_HELD", 10)
    pieces = [b"Eight...", b"and more", b"and more"]
    assert reply(App(pieces, "text/plain"), CALL, guard=FakeGuard()).status == 502
    assert reply(App(pieces, "text/plain"), CALL, guard=FakeGuard(), fail_open=True).body == b"".join(pieces)


def test_a_reply_without_a_type_is_read_where_it_can_be() -> None:
    def untyped(*pieces: bytes) -> App:
        app = App(pieces)
        app.headers = []
        return app

    assert reply(untyped(b"The SECRET"), CALL).body == b"The [redacted]"
    picture = (b"\x89PNG\r\n", b"\xff\xfe SECRET")
    assert reply(untyped(*picture), CALL).body == b"".join(picture)


def test_a_text_denied_in_the_middle_says_why_it_ends() -> None:
    words = b"Fine words, and many of them, so that some are let go before the end of it comes. "
    sent = reply(App([words, INJECTED.encode(), b"more"], "text/plain"), CALL, guard=Stopping(EmbeddedGuard()))
    assert sent.status == 200
    assert sent.body.startswith(words[:-20])
    assert sent.body.endswith(b"]\n")
    assert b"FORBIDDEN" not in sent.body
    assert b"more" not in sent.body


@pytest.mark.parametrize("kind", ["text/plain", "text/html", LINES[0], SEQUENCE])
@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_looking_on_holds_nothing(kind: str, mode: str) -> None:
    pieces = [b"The SEC", b"RET\n", b"is out\n"]
    sent = reply(App(pieces, kind, length=True), CALL, guard=DENY, mode=mode)
    assert sent.chunks == pieces
    assert sent.header("content-length") == [str(len(b"".join(pieces)))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["text/plain", LINES[0], SEQUENCE])
def test_the_first_words_leave_before_the_last_are_made(kind: str, backend: str) -> None:
    """Through the engine's window, a word or so late."""
    word = {"text/plain": lambda text: text.encode(), LINES[0]: lambda text: lines({"token": text})[0]}
    write = word.get(kind, lambda text: sequence({"token": text})[0])
    heard: list[bytes] = []

    async def run() -> None:
        arrived = anyio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]}
            )
            for text in ("Well, ", "let us see ", "what comes of it. "):
                await send({"type": "http.response.body", "body": write(text), "more_body": True})
            with anyio.fail_after(5):
                await arrived.wait()
            await send({"type": "http.response.body", "body": write("All.")})

        async def note(sent: Sent, message: Any) -> None:
            heard.append(message.get("body", b""))
            if b"Well" in heard[-1]:
                arrived.set()

        await serve(HighflameMiddleware(app, guard=EmbeddedGuard()), scope_of(), [body_of(CALL)], on_send=note)

    anyio.run(run, backend=backend)
    assert b"".join(heard) == b"".join(
        write(text) for text in ("Well, ", "let us see ", "what comes of it. ", "All.")
    )


@pytest.mark.parametrize("kind", [LINES[0], SEQUENCE, "text/event-stream"])
def test_an_uncaught_verdict_is_told_in_the_streams_own_way(kind: str) -> None:
    made = {LINES[0]: lines, SEQUENCE: sequence}.get(kind, lambda *data: [b'data: {"note": 1}\n\n'])
    sent = reply(App(made({"note": 1}), kind, fails=blocked()), CALL)
    said: Sequence[Any] = (
        events_of(sent.body)
        if kind == "text/event-stream"
        else [json.loads(item) for item in sent.body.replace(b"\x1e", b"").splitlines()]
    )
    assert "no" in said[-1]["error"]["message"]
    assert sent.complete


# What an application declares of its own replies: selectors by path.
DECLARED = {"/chat": ["answer.text"], "/all/*": ["$"], "/stream": ["delta"]}


def test_selected_texts_of_a_reply() -> None:
    app = App([body_of({"answer": {"text": "The SECRET", "note": "SECRET"}, "debug": "SECRET"})], length=True)
    sent = reply(app, None, path="/chat", method="GET", select_out=DECLARED)
    assert sent.json == {"answer": {"text": "The [redacted]", "note": "SECRET"}, "debug": "SECRET"}
    assert reply(app, None, path="/other", method="GET", select_out=DECLARED).body == b"".join(app.pieces)


def test_every_text_of_a_reply_that_is_declared() -> None:
    app = App([body_of({"a": ["SECRET", {"b": "SECRET"}]})])
    sent = reply(app, None, path="/all/of/it", method="GET", select_out=DECLARED)
    assert sent.json == {"a": ["[redacted]", {"b": "[redacted]"}]}
    assert reply(
        App([b"The SECRET"], "text/plain"), None, path="/all/x", method="GET", select_out=DECLARED
    ).body == (b"The [redacted]")


def test_selected_texts_of_a_stream() -> None:
    """An EventSource asks with GET: nothing in its request says that a model answers."""
    made = [{"delta": "The SEC", "id": 1, "debug": "SECRET"}, {"delta": "RET is out."}]
    app = App([b"data: " + body_of(item) + b"\n\n" for item in made], "text/event-stream")
    sent = reply(app, None, path="/stream", method="GET", select_out=DECLARED)
    assert "".join(event["delta"] for event in events_of(sent.body)) == "The [redacted] is out."
    assert b'"debug": "SECRET"' in sent.body or b'"debug":"SECRET"' in sent.body
    words = App([b"data: The SEC\n\n", b"data: RET\n\n"], "text/event-stream")
    assert b"SEC" not in reply(words, None, path="/stream", method="GET", select_out=DECLARED).body


# Streams that no model was called for, up to the first event that says what it is.
OTHER = [b": hi\n\n", b'data: {"temperature": "SECRET"}\n\n', b"data: SECRET\n\n", b"id: 7\n\n"]


@pytest.mark.parametrize("size", [1, 3, 17, 10_000])
def test_a_stream_is_looked_into_from_its_first_event_in_an_apis_format_on(size: int) -> None:
    whole = b"".join([*OTHER, *events(chunk("The SEC"), chunk("RET.", finish="stop"))])
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    sent = reply(App(pieces, "text/event-stream"), None)
    assert sent.body.startswith(b"".join(OTHER))
    assert said(sent.body.removeprefix(b"".join(OTHER))) == "The [redacted]."
    assert sent.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("mark", ['{"choices"', '{"\\u0063hoices"', '{"x": 1, "choices"', '{\ndata: "choices"'])
def test_an_event_in_an_apis_format_is_found_however_it_is_written(mark: str) -> None:
    event = f'data: {mark}: [{{"index": 0, "delta": {{"content": "SECRET"}}}}]}}\n\n'
    assert b"SECRET" not in reply(App([event.encode()], "text/event-stream"), None).body


def test_an_event_that_never_ends_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highflame_middleware.asgi.screening._SNIFFED", 100)
    pieces = [b"data: " + b"x" * 60, b"y" * 60, b'"choices"', b"\n\n"]
    sent = reply(App(pieces, "text/event-stream"), None)
    assert sent.body == b"".join(pieces)
    assert sent.chunks[1:] == pieces[2:]


def test_an_unfinished_event_at_the_end_is_judged_too() -> None:
    whole = events(chunk("SECRET"), done=False)[0].removesuffix(b"\n\n")
    assert b"SECRET" not in reply(App([whole], "text/event-stream"), None).body
    assert reply(App([b"data: SECRET"], "text/event-stream"), None).body == b"data: SECRET"
    assert reply(App([whole], "text/event-stream"), None, guard=DENY).status == 403
