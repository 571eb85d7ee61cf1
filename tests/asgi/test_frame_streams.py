"""WebSocket frames that are pieces of longer texts: held back until they are cleared, and no longer than that."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from highflame_middleware import ConfigError, EmbeddedGuard, HighflameMiddleware
from highflame_middleware.testing import FakeGuard
from tests.asgi.test_sockets import Peer, frame, saying, scope_of
from tests.gateway_kit import BACKENDS, PATIENCE
from tests.servers import chunk

CARD = "4111 1111 1111 1111"


class Agent:
    """Answers each frame that it receives with ``frames``, and then waits for the next one."""

    def __init__(self, *frames: Any, closes: bool = False) -> None:
        self.frames, self.closes = frames, closes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            for item in self.frames:
                await send(saying(item if isinstance(item, str | bytes) else json.dumps(item)))
            if self.closes:
                await send({"type": "websocket.close", "code": 1000})
                return


def converse(app: Any, *given: Any, guard: Any = None, backend: str = "asyncio", **options: Any) -> Peer:
    peer: Any = None

    async def run() -> None:
        nonlocal peer
        peer = Peer(*given or ("Hi!",))
        guard_ = FakeGuard(redact=["SECRET"]) if guard is None else guard
        guarded = HighflameMiddleware(app, guard=guard_, websocket_streams=["/ws"], **options)
        with anyio.fail_after(PATIENCE):
            await guarded(scope_of(), peer.receive, peer.send)

    anyio.run(run, backend=backend)
    return peer


def tokens(*texts: str) -> list[dict[str, str]]:
    return [{"type": "token", "content": text} for text in texts]


def said(peer: Peer) -> str:
    found = [json.loads(item) for item in peer.frames if item[:1] == "{"]
    return "".join(item.get("content", "") for item in found)


END = {"type": "end"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", [[END], [{"type": "end", "usage": {"why": "stop"}}], ["[DONE]"], []])
def test_a_secret_spread_over_frames(end: list[Any], backend: str) -> None:
    app = Agent(*tokens("The SEC", "RET is", " out."), *end)
    peer = converse(app, "one", "two", backend=backend)
    assert said(peer) == "The [redacted] is out." * 2
    assert len(peer.frames) == 2 * (3 + len(end))


def test_frames_of_bare_text() -> None:
    peer = converse(Agent("The SEC", "RET is", " out."), "one", "two")
    assert "".join(peer.frames) == "The [redacted] is out." * 2


def test_frames_in_an_apis_format() -> None:
    peer = converse(Agent(*(chunk(text) for text in ("The SEC", "RET")), chunk(finish="stop")))
    pieces = [json.loads(item)["choices"][0]["delta"].get("content", "") for item in peer.frames]
    assert "".join(pieces) == "The [redacted]"


def test_selected_texts() -> None:
    app = Agent({"content": "The SEC", "note": "SEC"}, {"content": "RET", "note": "RET"})
    peer = converse(app, select_out={"/ws": ["content"]})
    assert said(peer) == "The [redacted]"
    assert "".join(json.loads(item)["note"] for item in peer.frames) == "SECRET"


def test_frames_that_nothing_changes_are_passed_as_they_came() -> None:
    given = ['{ "content" : "a" }', b"\x00\xff", '{"content":"b"}', "", "text", b'{ "content":"c"}', '{ "a":1.0 }']
    assert converse(Agent(*given), guard=FakeGuard()).frames == given


def test_a_stream_is_closed_with_what_it_held() -> None:
    peer = converse(Agent(*tokens("The SEC", "RET"), closes=True))
    assert said(peer) == "The [redacted]"
    assert peer.sent[-1]["code"] == 1000


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_leave_while_the_next_are_written(backend: str) -> None:
    """With the engine's window, a word or so late."""

    async def run() -> Peer:
        peer = Peer("Hi!")
        arrived = anyio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            for item in tokens("Well, ", "let us see ", "what comes of it. "):
                await send(saying(json.dumps(item)))
            await arrived.wait()
            for item in tokens("My card is 4111 1111", " 1111 1111", "."):
                await send(saying(json.dumps(item)))
            await receive()

        async def send(message: Any) -> None:
            await peer.send(message)
            if "Well" in message.get("text", ""):
                arrived.set()

        with anyio.fail_after(PATIENCE):
            guarded = HighflameMiddleware(app, guard=EmbeddedGuard(), websocket_streams=["/ws"])
            await guarded(scope_of(), peer.receive, send)
        return peer

    peer = anyio.run(run, backend=backend)
    assert said(peer) == "Well, let us see what comes of it. My card is [REDACTED:credit_card]."


def test_a_denied_stream_ends_the_connection() -> None:
    peer = converse(Agent(*tokens("The SEC", "RET", "more"), END), guard=FakeGuard(deny=["SECRET"]))
    assert (peer.frames, peer.close["code"]) == ([], 1008)


def test_a_denied_stream_is_told_in_a_frame_and_the_next_turn_goes_on() -> None:
    turns = iter([[*tokens("The SEC", "RET"), END, *tokens("more")], [*tokens("Fine."), END]])

    class Turns(Agent):
        @property
        def frames(self) -> Any:
            return next(turns)

        @frames.setter
        def frames(self, value: Any) -> None:
            pass

    peer = converse(Turns(), "one", "two", guard=FakeGuard(deny=["SECRET"]), websocket_refusal="frame")
    refusal, *rest = [json.loads(item) for item in peer.frames]
    assert refusal["error"]["code"] == "blocked_deny"
    assert rest == [*tokens("Fine."), END]
    assert peer.close is None


class Duplex:
    """Receives all the while beside what it sends: as an application with a task for each direction."""

    def __init__(self, *frames: Any) -> None:
        self.frames = frames

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        listening, left = anyio.Event(), anyio.Event()

        async def listen() -> None:
            while True:
                listening.set()
                if (await receive())["type"] == "websocket.disconnect":
                    break
            left.set()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await listening.wait()
            for item in self.frames:
                await send(saying(json.dumps(item)))
            await left.wait()


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize("backend", BACKENDS)
def test_clients_cannot_cut_a_text_by_sending_between_its_pieces(backend: str, attempt: int) -> None:
    app = Duplex(*tokens("The SEC"), *tokens("RET is out."), END)
    peer = converse(app, *["x"] * (10 * attempt + 1), backend=backend)
    assert said(peer) == "The [redacted] is out."


def test_where_nobody_knows_when_a_turn_ends_a_refusal_is_the_end() -> None:
    app = Duplex(*tokens("The SEC", "RET"), END, *tokens("more"))
    peer = converse(app, guard=FakeGuard(deny=["SECRET"]), websocket_refusal="frame")
    assert (said(peer), peer.close["code"]) == ("", 1008)


@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_looking_on_holds_nothing_and_reports_the_whole_text(mode: str) -> None:
    events: list[Any] = []
    app = Agent(*tokens("The SEC", "RET"), END)
    peer = converse(app, guard=FakeGuard(deny=["SECRET"]), mode=mode, on_decision=events.append)
    assert said(peer) == "The SECRET"
    assert [event.decision for event in events if event.stage.value == "response"] == ["deny"]


@pytest.mark.parametrize(("fail_open", "frames"), [(False, 0), (True, 2)])
def test_a_frame_that_cannot_be_read(fail_open: bool, frames: int) -> None:
    app = Agent('{"content": "a"}', '{"content": "b", "content": "c"}')
    peer = converse(app, guard=FakeGuard(), fail_open=fail_open)
    assert len(peer.frames) == frames
    assert (peer.close or {}).get("code") == (None if fail_open else 1007)


def test_other_paths_are_judged_frame_by_frame() -> None:
    app = Agent(*tokens("The SEC", "RET", "a SECRET"))

    async def run() -> Peer:
        peer = Peer(frame("Hi!"))
        guarded = HighflameMiddleware(app, guard=FakeGuard(redact=["SECRET"]), websocket_streams=["/other"])
        await guarded(scope_of(), peer.receive, peer.send)
        return peer

    assert said(anyio.run(run)) == "The SECRETa [redacted]"


def test_a_list_of_paths_that_is_none() -> None:
    with pytest.raises(ConfigError, match="websocket_streams='/ws' must be a list of paths"):
        HighflameMiddleware(Agent(), websocket_streams="/ws")
