"""A gateway's reply said in the caller's format, as bytes: however they are cut, however long, whoever looks on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware import BlockedError, UnreadableError, interpreter
from highflame_middleware.codecs import load_codec
from highflame_middleware.drivers import perform
from highflame_middleware.exchange import Exchange
from highflame_middleware.flow import run
from highflame_middleware.interpreter import InterpretedScreen, Interpreter
from highflame_middleware.nested import Nested
from highflame_middleware.screens import Screen
from highflame_middleware.testing import FakeGuard
from tests.exchanges import Passed, cuts, exchange, passed, sse
from tests.servers import chunk

JSON, SSE = "application/json", "text/event-stream"
WHOLE = json.dumps(
    {
        "id": "c1",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The SECRET is out."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
).encode()
STREAM = b"".join(sse(chunk("The SEC"), chunk("RET is"), chunk(" out."), chunk(finish="stop"), "[DONE]"))


def interpreting(owner: Exchange) -> Interpreter:
    return Interpreter(
        exchange=owner,
        codec=load_codec("anthropic-messages"),
        target="openai-chat",
        path="/v1/messages",
        dialect="openai-compatible",
    )


def screened(owner: Exchange, kind: str | None = JSON, status: int = 200) -> tuple[Screen, str | None]:
    screen, said = interpreting(owner).screen(status, kind, {}, judged=True)
    assert screen is not None
    return screen, said


def read(owner: Exchange, pieces: list[bytes], kind: str = JSON, status: int = 200) -> Passed:
    return passed(screened(owner, kind, status)[0], pieces)


def texts(out: Passed) -> str:
    """The prose of Anthropic's stream."""
    lines = [line[6:] for line in out.content.decode().splitlines() if line.startswith("data: ")]
    deltas = [event["delta"] for event in map(json.loads, lines) if event["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


def owned(guard: Any, **options: Any) -> Exchange:
    return exchange(guard, codec="anthropic-messages", **options)


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_however_it_is_cut(size: int) -> None:
    guard = FakeGuard(redact=["SECRET"])
    whole = read(owned(guard), cuts(WHOLE, [size]))
    assert json.loads(whole.content)["content"] == [{"type": "text", "text": "The [redacted] is out."}]
    assert texts(read(owned(guard), cuts(STREAM, [size]), SSE)) == "The [redacted] is out."


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_denied_stream_ends_in_the_callers_format(size: int) -> None:
    owner = owned(FakeGuard(deny=["SECRET"]))
    screen, _ = screened(owner, SSE)
    out = passed(screen, cuts(STREAM, [size]))
    assert isinstance(screen.stopped, BlockedError)
    assert b"SEC" not in out.content
    assert screen.refusal(screen.stopped).startswith(b"event: error\ndata: ")


def test_a_denied_stream_ends_before_its_bytes_do() -> None:
    screen, _ = screened(owned(FakeGuard(deny=["SECRET"])), SSE)
    for piece in cuts(STREAM, [7]):
        run(screen.feed(piece), perform)
    assert isinstance(screen.stopped, BlockedError)
    assert run(screen.feed(STREAM), perform) == b""
    assert run(screen.finish(), perform) == b""


def test_what_content_type_it_comes_out_in() -> None:
    owner = owned(FakeGuard())
    for given, said in (
        (JSON, JSON),
        (f"{JSON}; charset=utf-8", JSON),
        (f"{SSE};charset=utf-8", SSE),
        (None, JSON),
    ):
        assert screened(owner, given)[1] == said
    assert screened(owner, "text/html", 502)[1] == JSON


@pytest.mark.parametrize("status", [204, 302])
def test_what_is_no_reply(status: int) -> None:
    assert interpreting(owned(FakeGuard())).screen(status, JSON, {}, judged=True) == (None, JSON)


def test_a_page_is_no_reply() -> None:
    screen, said = screened(owned(FakeGuard()), "text/html")
    assert not isinstance(screen, InterpretedScreen)
    assert isinstance(screen.stopped, UnreadableError)
    assert said == "text/html"


def test_a_reply_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "MAX_HELD", 100)
    screen, _ = screened(owned(FakeGuard()))
    assert passed(screen, cuts(WHOLE, [10])).content == b""
    assert isinstance(screen.stopped, UnreadableError)
    assert "longer than 100 bytes" in str(screen.stopped)


def test_an_error_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_MOST_OF_A_FAULT", 100)
    fault = json.dumps({"error": {"message": "x" * 200}}).encode()
    for size in (7, 1000):
        out = read(owned(FakeGuard()), cuts(fault, [size]), status=500)
        assert json.loads(out.content)["error"]["message"] == "The gateway answered with status 500"


def test_a_fault_of_a_guard_that_only_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply is translated to its end, without it."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    for kind, content in ((JSON, WHOLE), (SSE, STREAM)):
        owner = owned(FakeGuard(), mode="monitor", recording=True)
        screen, _ = screened(owner, kind)
        assert isinstance(screen, InterpretedScreen)
        screen._inner = Nested(Faulty(), owner)
        out = passed(screen, cuts(content, [50]))
        assert b"SECRET" in out.content if kind == JSON else texts(out) == "The SECRET is out."


def test_a_fault_of_a_guard_that_holds() -> None:
    for kind, content in ((JSON, WHOLE), (SSE, STREAM)):
        owner = owned(FakeGuard())
        screen, _ = screened(owner, kind)
        assert isinstance(screen, InterpretedScreen)
        screen._inner = Nested(Faulty(), owner)
        with pytest.raises(ZeroDivisionError):
            passed(screen, cuts(content, [50]))


class Faulty:
    """A screen with a fault."""

    stopped = None

    def feed(self, chunk: bytes) -> Any:
        yield from ()
        raise ZeroDivisionError

    finish = feed

    def refusal(self, error: Any) -> bytes:
        return b""
