"""The screen that finds a gateway's refusal in a reply: before the guard's, however the bytes come; else unseen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware import BlockedError, answers
from highflame_middleware.answers import AnswerScreen, answers_screened
from highflame_middleware.drivers import perform
from highflame_middleware.exchange import Call, Exchange
from highflame_middleware.flow import run
from highflame_middleware.screens import Screen, screen_for
from highflame_middleware.testing import FakeGuard
from tests.exchanges import Passed, cuts, decisions, events_of, exchange, passed, sse
from tests.servers import chunk

JSON, SSE = "application/json", "text/event-stream"
WORDS = "Highflame Security: no cards"


def completion(content: str, **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "model": "m", "choices": [choice], **fields}).encode()


def screened(
    owner: Exchange, kind: str = JSON, *, status: int = 200, raises: bool = True, **headers: str
) -> tuple[Screen | None, dict[str, str]]:
    found = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    inner = screen_for(owner, status=status, content_type=kind, codec=owner.call.codec)
    screen = answers_screened(inner, owner, dialect="highflame", status=status, headers=found, raises=raises)
    return screen, found


def read(owner: Exchange, pieces: list[bytes], kind: str = JSON, **options: Any) -> Passed:
    screen, _ = screened(owner, kind, **options)
    assert screen is not None
    return passed(screen, pieces)


REFUSALS: dict[str, tuple[str, bytes]] = {
    "json": (JSON, completion(WORDS)),
    "json, by its id": (JSON, completion("No.", id="chatcmpl-blocked-1")),
    "stream": (SSE, b"".join(sse(chunk(role="assistant"), chunk(WORDS), "[DONE]"))),
    "stream, by its id": (SSE, b"".join(sse({**chunk("No."), "id": "chatcmpl-blocked-1"}, "[DONE]"))),
    "stream after a ping": (SSE, b": ping\n\n" + b"".join(sse(chunk(WORDS)))),
    "stream that breaks off": (SSE, b"".join(sse(chunk(WORDS))).rstrip(b"\n")),
}


@pytest.mark.parametrize("guard", [None, FakeGuard()])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_found_wherever_its_bytes_are_cut(name: str, guard: Any) -> None:
    kind, content = REFUSALS[name]
    for size in (1, 2, 7, len(content)):
        owner = exchange(guard)
        out = read(owner, cuts(content, [size]), kind)
        assert isinstance(out.stopped, BlockedError)
        assert out.content == b"", "nothing of it is handed on"
        assert decisions(owner) == [("prompt", "deny", True)]
        assert [event.guard for event in events_of(owner)] == ["highflame gateway"]


REPLIES: dict[str, tuple[str, bytes]] = {
    "json": (JSON, completion("Hello.")),
    "json about blocked things": (JSON, completion("It was blocked, says Highflame.", javelin={})),
    "no json": (JSON, b"blocked, but no JSON"),
    "deep": (JSON, b'{"blocked": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "nothing": (JSON, b""),
    "stream": (SSE, b"".join(sse(*[chunk(text) for text in "abcdef"], "[DONE]"))),
    "stream that never speaks": (SSE, b"".join(sse(*[chunk(reasoning=text) for text in "abcdef"]))),
    "stream of one event": (SSE, b"".join(sse(chunk("a")))),
    "stream of bare words": (SSE, b"data: blocked\n\ndata: chatcmpl-blocked-1\n\n"),
    "stream of broken events": (SSE, b"data: {blocked\n\ndata: {}\n\n"),
    "stream of comments": (SSE, b": a\n\n" * 100),
}


@pytest.mark.parametrize("name", REPLIES)
def test_what_is_no_refusal_is_handed_on_byte_for_byte(name: str) -> None:
    kind, content = REPLIES[name]
    for size in (1, 3, len(content) or 1):
        if len(content) > 10_000 and size < 10:
            continue
        assert read(exchange(None), cuts(content, [size]), kind).content == content
        watched = exchange(FakeGuard(), mode="monitor")
        assert read(watched, cuts(content, [size]), kind).content == content


def test_the_guard_sees_what_is_no_refusal() -> None:
    owner = exchange(FakeGuard(redact=["SECRET"]))
    out = read(owner, cuts(completion("The SECRET."), [5]))
    assert b"[redacted]" in out.content
    out = read(exchange(FakeGuard(deny=["SECRET"])), sse(chunk("The SECRET."), "[DONE]"), SSE)
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.stage.value == "response"


def test_a_stream_is_let_go_as_soon_as_it_is_known() -> None:
    pieces = sse(*[chunk(text) for text in "abcdef"])
    screen, _ = screened(exchange(None), SSE)
    assert screen is not None
    out = [run(screen.feed(piece), perform) for piece in pieces]
    assert out == [b"", b"", b"", b"".join(pieces[:4]), *pieces[4:]]


def test_what_is_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_HELD", 100)
    monkeypatch.setattr(answers, "_FIRST_BYTES", 100)
    for kind in (JSON, SSE):
        screen, _ = screened(exchange(None), kind)
        assert screen is not None
        sent = [run(screen.feed(b"x" * 30), perform) for _ in range(6)]
        assert [len(piece) for piece in sent] == [0, 0, 0, 120, 30, 30]


def test_a_header_that_lets_it_pass_is_believed() -> None:
    owner = exchange(None)
    assert screened(owner, x_highflame_policy_decision="allow")[0] is None
    assert not isinstance(screened(exchange(FakeGuard()), x_highflame_policy_decision="modify")[0], AnswerScreen)


@pytest.mark.parametrize(("kind", "status"), [("audio/mpeg", 200), ("text/html", 403), (JSON, 302), (JSON, 500)])
def test_what_cannot_be_a_refusal_is_not_looked_at(kind: str, status: int) -> None:
    assert screened(exchange(None), kind, status=status)[0] is None


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_that_is_not_raised_is_marked_and_handed_on(name: str) -> None:
    kind, content = REFUSALS[name]
    owner = exchange(None)
    screen, headers = screened(owner, kind, raises=False)
    assert screen is not None
    out = passed(screen, cuts(content, [3]))
    assert (out.content, out.stopped) == (content, None)
    assert headers["x-highflame-policy-decision"] == "deny"
    assert decisions(owner) == [("prompt", "deny", True)]


@pytest.mark.parametrize("codec", ["openai-chat", "openai-responses", None])
@pytest.mark.parametrize("kind", [JSON, SSE])
def test_what_stands_in_its_place_can_be_read(kind: str, codec: str | None) -> None:
    """Nobody gets to see it, but an SDK that stumbled over it would try again."""
    owner = exchange(None, codec=codec or "openai-chat")
    if codec is None:
        owner.call = Call(provider="openai", method="GET", path="/v1/files")
    screen, _ = screened(owner, kind, x_highflame_policy_decision="deny")
    assert screen is not None
    content = completion(WORDS) if kind == JSON else b"".join(sse(chunk(WORDS)))
    out = passed(screen, [content])
    assert isinstance(out.stopped, BlockedError)
    written = screen.refusal(out.stopped)
    if kind == JSON:
        assert isinstance(json.loads(written), dict)
    else:
        assert WORDS.encode() in written or codec is None


@pytest.mark.parametrize("where", ["feed", "finish"])
def test_a_fault_of_the_guards_screen_loses_nothing_that_was_held(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")

    class Faulty:
        stopped = None

        def feed(self, chunk: bytes) -> Any:
            yield from ()
            if where == "feed":
                raise ZeroDivisionError
            return chunk

        def finish(self) -> Any:
            yield from ()
            raise ZeroDivisionError

        def refusal(self, error: Any) -> bytes:
            return b""

    headers = {"content-type": JSON}
    for mode, lost in (("monitor", False), ("enforce", True)):
        owner = exchange(FakeGuard(), mode=mode)
        screen = answers_screened(Faulty(), owner, dialect="javelin", status=200, headers=headers, raises=True)
        assert screen is not None
        if lost:
            with pytest.raises(ZeroDivisionError):
                passed(screen, [completion("Hello.")])
        else:
            assert passed(screen, [completion("Hello.")]).content == completion("Hello.")
            assert caplog.text.count("internal error while reading a reply") == 1
