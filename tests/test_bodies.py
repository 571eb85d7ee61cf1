"""However a reply's body ends: its call ends once, its source is closed, and nothing uncleared is handed on."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import anyio
import pytest

from highflame_middleware import BlockedError, GuardError, UnreadableError
from highflame_middleware.bodies import AmbiguousError, AsyncGuardedBody, GuardedBody, unambiguous
from highflame_middleware.caller import CallContext
from highflame_middleware.codecs import load_codec
from highflame_middleware.exchange import Exchange, Policy
from highflame_middleware.guard.protocol import bind
from highflame_middleware.pipeline import open_exchange, read_call
from highflame_middleware.screens import screen_for
from highflame_middleware.testing import CapturedSpans, FakeGuard
from highflame_middleware.types import Mode
from tests.gateway_kit import asking, body_of, events_of, said
from tests.servers import chunk, events

DRIVERS = ["blocking", "asyncio", "trio"]
JSON, SSE = "application/json", "text/event-stream"
REPLY = body_of({"id": "c1", "choices": [{"message": {"content": "The SECRET is out."}}]})
STREAM = events(chunk("The SEC"), chunk("RET is"), chunk(" out.", finish="stop"))
FINE = events(chunk("Fine.", finish="stop"), chunk("Well.", index=1, finish="stop"))


class Broken(Exception):
    """What a source breaks with."""


class Body:
    """A guarded body of either kind over a source that notes what is done with it."""

    def __init__(
        self,
        driver: str,
        pieces: Iterable[bytes],
        *,
        kind: str = SSE,
        guard: Any = None,
        mode: Mode = Mode.ENFORCE,
        fail_open: bool = False,
        breaks: BaseException | None = None,
        hangs: bool = False,
        returned: bool = True,
    ) -> None:
        codec = load_codec("openai-chat")
        call = read_call(
            provider="openai",
            method="POST",
            path="/chat/completions",
            codec=codec,
            body=asking(stream=kind == SSE),
            caller=CallContext(),
        )
        policy = Policy(guard=bind(guard) if guard is not None else None, mode=mode, fail_open=fail_open)
        self.exchange: Exchange = open_exchange(call, policy)
        self.exchange.returned = returned
        self.closed = 0
        self.taken = 0
        self._driver, self._breaks, self._hangs = driver, breaks, hangs
        screen = screen_for(self.exchange, status=200, content_type=kind, codec=codec)
        assert screen is not None
        source = list(pieces)
        if driver == "blocking":
            self.body: Any = GuardedBody(self._source(source), self._close, self.exchange, screen)
        else:
            self.body = AsyncGuardedBody(self._asource(source), self._aclose, self.exchange, screen)

    def _source(self, pieces: list[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.taken += 1
            yield piece
        if self._breaks is not None:
            raise self._breaks

    async def _asource(self, pieces: list[bytes]) -> AsyncIterator[bytes]:
        for piece in self._source(pieces):
            await anyio.sleep(0)
            yield piece
        if self._hangs:
            await anyio.sleep_forever()

    def _close(self) -> None:
        self.closed += 1

    async def _aclose(self) -> None:
        self.closed += 1

    def read(self, count: int | None = None) -> list[bytes]:
        """Read chunks, all or some, and close the body; what was read before an error stands in ``got``."""
        self.got: list[bytes] = []
        if self._driver == "blocking":
            try:
                for piece in self.body:
                    self.got.append(piece)
                    if len(self.got) == count:
                        break
            finally:
                self.body.close()
        else:
            anyio.run(self._aread, count, backend=self._driver)
        return self.got

    async def _aread(self, count: int | None) -> None:
        try:
            async for piece in self.body:
                self.got.append(piece)
                if len(self.got) == count:
                    break
        finally:
            await self.body.aclose()

    def close(self) -> None:
        """Close the body."""
        if self._driver == "blocking":
            self.body.close()
        else:
            anyio.run(self.body.aclose, backend=self._driver)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _spans(highflame_spans: CapturedSpans) -> CapturedSpans:
    return highflame_spans


def error_of(spans: CapturedSpans) -> Any:
    """The one ended span's error type: fails where a call has ended twice, or not at all."""
    (span,) = spans.finished
    return span.attributes.get("error.type")


GUARDS: dict[str, Any] = {"no guard": None, "allows": FakeGuard(), "redacts": FakeGuard(redact=["SECRET"])}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.MONITOR])
@pytest.mark.parametrize(
    ("kind", "pieces"), [(JSON, [REPLY[:20], REPLY[20:]]), (SSE, STREAM)], ids=["JSON", "stream"]
)
def test_read_to_its_end(
    kind: str, pieces: list[bytes], mode: Mode, guard: str, driver: str, highflame_spans: CapturedSpans
) -> None:
    body = Body(driver, pieces, kind=kind, guard=GUARDS[guard], mode=mode)
    out = b"".join(body.read())
    if guard == "redacts" and mode is Mode.ENFORCE:
        assert b"SECRET" not in out
        text = said(out) if kind == SSE else json.loads(out)["choices"][0]["message"]["content"]
        assert text == "The [redacted] is out."
    else:
        assert out == b"".join(pieces)
    assert error_of(highflame_spans) is None
    assert highflame_spans.finished[0].attributes["gen_ai.response.id"] == "c1"
    assert body.closed
    assert list_again(body) == []


def list_again(body: Body) -> list[bytes]:
    """What an ended body still gives."""
    return body.read()


def test_closed_before_its_end(driver: str, highflame_spans: CapturedSpans) -> None:
    body = Body(driver, FINE, guard=FakeGuard())
    assert said(body.read(1)[0]) == "Fine."
    assert error_of(highflame_spans) is None
    assert (body.closed, body.taken) == (1, 1)
    body.close()
    assert list_again(body) == []
    assert len(highflame_spans.finished) == 1


def test_closed_before_it_was_read(driver: str, highflame_spans: CapturedSpans) -> None:
    body = Body(driver, FINE, guard=FakeGuard())
    body.close()
    assert error_of(highflame_spans) is None
    assert (body.closed, body.taken) == (1, 0)


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.MONITOR])
@pytest.mark.parametrize("error", [Broken(), OSError("reset")], ids=lambda error: type(error).__name__)
def test_broken(error: BaseException, mode: Mode, driver: str, highflame_spans: CapturedSpans) -> None:
    body = Body(driver, FINE[:1], guard=FakeGuard(), mode=mode, breaks=error)
    with pytest.raises(type(error)) as caught:
        body.read()
    assert caught.value is error
    assert said(b"".join(body.got)) == "Fine."
    assert str(error_of(highflame_spans)).endswith(type(error).__name__)
    assert body.closed
    assert list_again(body) == []


def test_interrupted(highflame_spans: CapturedSpans) -> None:
    body = Body("blocking", FINE[:1], guard=FakeGuard(), breaks=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        body.read()
    assert error_of(highflame_spans) == "KeyboardInterrupt"
    assert body.closed


def test_held_text_of_a_broken_stream_is_not_handed_on(driver: str) -> None:
    body = Body(driver, STREAM[:1], guard=FakeGuard(), breaks=Broken())
    with pytest.raises(Broken):
        body.read()
    assert body.got == []


@pytest.mark.parametrize("read", [0, 1])
def test_dropped_and_collected(read: int, driver: str, highflame_spans: CapturedSpans) -> None:
    body = Body(driver, FINE, guard=FakeGuard())

    async def some() -> None:
        for _ in range(read):
            await anext(body.body)

    if driver == "blocking":
        for _ in range(read):
            next(body.body)
    else:
        anyio.run(some, backend=driver)
    assert highflame_spans.finished == []
    body.body = None
    gc.collect()
    assert error_of(highflame_spans) is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled(backend: str, highflame_spans: CapturedSpans) -> None:
    body = Body(backend, FINE[:1], guard=FakeGuard(), hangs=True)
    body.got = []

    async def run() -> None:
        with anyio.move_on_after(0.02) as scope:
            async for piece in body.body:
                body.got.append(piece)
        assert scope.cancelled_caught

    anyio.run(run, backend=backend)
    assert len(body.got) == 1
    assert str(error_of(highflame_spans)).endswith(("CancelledError", "Cancelled"))
    assert body.closed


@pytest.mark.parametrize(("kind", "pieces"), [(JSON, [REPLY]), (SSE, STREAM)], ids=["JSON", "stream"])
def test_denied_to_a_reader_who_has_the_reply(
    kind: str, pieces: list[bytes], driver: str, highflame_spans: CapturedSpans
) -> None:
    body = Body(driver, pieces, kind=kind, guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        body.read()
    assert body.got == []
    assert error_of(highflame_spans) == "highflame_middleware.BlockedError"
    assert body.closed
    assert list_again(body) == []


def test_denied_after_a_part_of_it(driver: str, highflame_spans: CapturedSpans) -> None:
    pieces = events(chunk("Fine.", finish="stop"), chunk("SECRET", index=1, finish="stop"), chunk("more", index=2))
    body = Body(driver, pieces, guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError):
        body.read()
    assert said(b"".join(body.got)) == "Fine."
    assert body.taken == 2, "nothing more is asked of the source"
    assert body.closed
    assert error_of(highflame_spans) == "highflame_middleware.BlockedError"


@pytest.mark.parametrize(("kind", "pieces"), [(JSON, [REPLY]), (SSE, STREAM)], ids=["JSON", "stream"])
def test_denied_while_an_sdk_stands_between(
    kind: str, pieces: list[bytes], driver: str, highflame_spans: CapturedSpans
) -> None:
    """A refusal in the format that it reads; the error waits for the logical call to raise it."""
    body = Body(driver, pieces, kind=kind, guard=FakeGuard(deny=["SECRET"]), returned=False)
    out = b"".join(body.read())
    if kind == JSON:
        assert "deny" in json.loads(out)["choices"][0]["message"]["refusal"]
    else:
        assert "deny" in events_of(out)[-1]["error"]["message"]
    assert b"SECRET" not in out
    assert isinstance(body.exchange.refused, BlockedError)
    assert body.closed
    assert highflame_spans.finished == [], "the logical call ends itself"
    body.exchange.recorder.end()


def test_a_guard_without_a_verdict(driver: str, highflame_spans: CapturedSpans) -> None:
    body = Body(driver, STREAM, guard=FakeGuard(fault=RuntimeError("down")))
    with pytest.raises(GuardError):
        body.read()
    assert body.got == []
    assert error_of(highflame_spans) == "highflame_middleware.GuardError"
    assert Body(driver, STREAM, guard=FakeGuard(fault=RuntimeError("down")), fail_open=True).read()


def test_what_cannot_be_read(driver: str, highflame_spans: CapturedSpans) -> None:
    body = Body(driver, [b"{"], kind=JSON, guard=FakeGuard())
    with pytest.raises(UnreadableError):
        body.read()
    assert body.closed
    assert error_of(highflame_spans) == "highflame_middleware.UnreadableError"


@pytest.mark.parametrize("local", [True, False])
def test_what_was_read_before_leaving_is_judged_where_that_is_free(
    local: bool, driver: str, highflame_spans: CapturedSpans
) -> None:
    guard = FakeGuard(deny=["SECRET"], local=local)
    body = Body(
        driver, [*STREAM[:2], b": kept open\n\n"], guard=guard, mode=Mode.MONITOR, hangs=driver != "blocking"
    )
    body.read(2)
    assert [request.content for request in guard.requests] == (["The SECRET is"] if local else [])
    assert [made["decision"] for made in highflame_spans.decisions()] == (["deny"] if local else [])
    assert error_of(highflame_spans) is None


class Faulty:
    """A screen with a fault of its own."""

    def __init__(self) -> None:
        self.stopped = None

    def feed(self, chunk: bytes) -> Any:
        yield from ()
        raise ZeroDivisionError

    finish = feed


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.MONITOR])
def test_a_fault_of_ours(
    mode: Mode,
    driver: str,
    highflame_spans: CapturedSpans,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where texts are held, nothing passes; where we only look on, it is logged and everything passes."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    body = Body(driver, FINE, guard=FakeGuard(), mode=mode)
    body.body._tap.screen = Faulty()
    if mode is Mode.ENFORCE:
        with pytest.raises(ZeroDivisionError):
            body.read()
        assert body.got == []
        assert error_of(highflame_spans) == "ZeroDivisionError"
    else:
        with caplog.at_level(logging.ERROR, "highflame_middleware"):
            assert b"".join(body.read()) == b"".join(FINE)
        assert sum(record.exc_info is not None for record in caplog.records) == 1
        assert error_of(highflame_spans) is None
    assert body.closed


def test_a_fault_of_ours_is_seen_in_tests(driver: str) -> None:
    body = Body(driver, FINE, guard=FakeGuard(), mode=Mode.MONITOR)
    body.body._tap.screen = Faulty()
    with pytest.raises(ZeroDivisionError):
        body.read()


def test_half_a_body_can_be_collected() -> None:
    """A constructor that raised leaves an object whose finaliser has nothing to end."""
    with pytest.raises(TypeError):
        GuardedBody()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        AsyncGuardedBody()  # type: ignore[call-arg]
    gc.collect()


@pytest.mark.parametrize(
    ("text", "unique"),
    [
        ('{"a": 1, "b": {"a": 2}}', True),
        ("{}", True),
        ('[{"a": 1}, {"a": 1}]', True),
        ('{"a": 1, "a": 1}', False),
        ('{"b": [{"a": 1, "a": 2}]}', False),
        ('{"a": 1, "\\u0061": 2}', False),
    ],
)
def test_objects_that_can_be_read_in_one_way_only(text: str, unique: bool) -> None:
    if unique:
        assert json.loads(text, object_pairs_hook=unambiguous) == json.loads(text)
    else:
        with pytest.raises(AmbiguousError):
            json.loads(text, object_pairs_hook=unambiguous)


def test_a_reader_who_leaves_at_the_last_event_has_ended_the_call(highflame_spans: CapturedSpans) -> None:
    """Neither reading on nor closing: as some do, who keep what they have read for ever."""
    body = Body("blocking", [*STREAM, b": and some more\n\n"], guard=FakeGuard(redact=["SECRET"]))
    read = []
    for piece in body.body:
        read.append(piece)
        if piece.startswith(b"data: [DONE]"):
            break
    assert [span.name for span in highflame_spans.finished] == ["chat m"]
    assert body.closed == 0
    assert next(body.body).startswith(b": and some more")
