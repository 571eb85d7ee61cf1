"""WebSocket frames, both ways: judged, edited, refused; everything else of a connection passes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from highflame_middleware import ConfigError, HighflameMiddleware, current_context
from highflame_middleware.testing import CapturedSpans, FakeGuard
from highflame_middleware.types import Stage
from tests.asgi.test_reply import blocked
from tests.gateway_kit import BACKENDS, PATIENCE

REDACT = FakeGuard(redact=["SECRET"])
DENY = FakeGuard(deny=["SECRET"])


class Peer:
    """A client on the other end: its frames are ``given``; ``sent`` is everything that the server got to send."""

    def __init__(self, *given: Any) -> None:
        self.sent: list[Any] = []
        self._waiting: list[Any] = [{"type": "websocket.connect"}]
        self._waiting += [item if isinstance(item, dict) else frame(item) for item in given]
        self._closed = anyio.Event()

    @property
    def frames(self) -> list[Any]:
        found = [message for message in self.sent if message["type"] == "websocket.send"]
        return [message.get("text") if message.get("bytes") is None else message["bytes"] for message in found]

    @property
    def close(self) -> Any:
        return next((message for message in self.sent if message["type"] == "websocket.close"), None)

    async def receive(self) -> Any:
        await anyio.lowlevel.checkpoint()
        return self._waiting.pop(0) if self._waiting else {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)


def frame(content: str | bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "text" if isinstance(content, str) else "bytes": content}


def scope_of(path: str = "/ws", *, version: str = "2.3", **fields: Any) -> dict[str, Any]:
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": version},
        "path": path,
        "headers": [(b"x-request-id", b"callers-own-id")],
        "client": ("192.0.2.1", 4711),
        "subprotocols": [],
        **fields,
    }


class Echo:
    """Accepts, answers ``greeting``, sends back what it receives, and notes it."""

    def __init__(self, *greeting: dict[str, Any]) -> None:
        self.greeting = greeting
        self.heard: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heard.append((await receive())["type"])
        await send({"type": "websocket.accept"})
        for message in self.greeting:
            await send(message)
        while (message := await receive())["type"] == "websocket.receive":
            content = message.get("text") if message.get("bytes") is None else message["bytes"]
            self.heard.append(content)
            await send({**message, "type": "websocket.send"})
        self.heard.append(message)


def converse(
    app: Any, *given: Any, guard: Any = REDACT, backend: str = "asyncio", scope: Any = None, **options: Any
) -> Peer:
    peers: list[Peer] = []

    async def run() -> None:
        peer = Peer(*given)
        peers.append(peer)
        guarded = HighflameMiddleware(app, guard=guard, **options)
        with anyio.fail_after(PATIENCE):
            await guarded(scope or scope_of(), peer.receive, peer.send)

    anyio.run(run, backend=backend)
    return peers[0]


def saying(content: str | bytes) -> dict[str, Any]:
    return {**frame(content), "type": "websocket.send"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_frames_are_edited_both_ways(backend: str) -> None:
    app = Echo(saying("Your SECRET"))
    peer = converse(app, "My SECRET", backend=backend)
    assert app.heard[:2] == ["websocket.connect", "My [redacted]"]
    assert peer.frames == ["Your [redacted]", "My [redacted]"]
    assert peer.sent[0] == {"type": "websocket.accept", "headers": [(b"x-request-id", b"callers-own-id")]}


def test_the_stages_of_frames() -> None:
    guard = FakeGuard()
    body = {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}
    converse(Echo(saying("c")), json.dumps(body), "d", guard=guard)
    judged = [(request.content, request.stage) for request in guard.requests]
    assert set(judged) == {
        ("c", Stage.RESPONSE),
        ("a", Stage.PROMPT),
        ("a", Stage.RESPONSE),
        ("b", Stage.TOOL_RESULT),
        ("b", Stage.RESPONSE),
        ("d", Stage.PROMPT),
        ("d", Stage.RESPONSE),
    }


# What a frame becomes on its way in and back out.
FRAMES: dict[str, tuple[str | bytes, str | bytes]] = {
    "text": ("a SECRET", "a [redacted]"),
    "JSON": ('{"a": ["SECRET"], "id": "SECRET"}', '{"a":["[redacted]"],"id":"SECRET"}'),
    "JSON of one text": ('"\\u0053ECRET"', '"[redacted]"'),
    "JSON in bytes": (b'{"a": "SECRET"}', b'{"a":"[redacted]"}'),
    "JSON in bytes, marked": (b'\xef\xbb\xbf{"a": "SECRET"}', b'{"a":"[redacted]"}'),
    "JSON in UTF-16": ('{"a": "SECRET"}'.encode("utf-16"), b'{"a":"[redacted]"}'),
    "JSON, marked": ('\ufeff{"a": "\\u0053ECRET"}', '{"a":"[redacted]"}'),
    "nearly JSON": ("{a: SECRET}", "{a: [redacted]}"),
    "a model's reply": (
        '{"choices":[{"message":{"content":"SECRET"}}]}',
        '{"choices":[{"message":{"content":"[redacted]"}}]}',
    ),
    "bytes": (b"\x00SECRET", b"\x00SECRET"),
    "unchanged": ('{ "a" : 1.0 }', '{ "a" : 1.0 }'),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", FRAMES)
def test_what_frames_become(name: str) -> None:
    given, expected = FRAMES[name]
    app = Echo()
    assert converse(app, given).frames == [expected]
    assert app.heard[1] == expected
    again = converse(Echo(saying(given)))
    assert again.frames == [expected]


def test_of_a_message_with_both_the_bytes_count() -> None:
    both = {"type": "websocket.send", "text": "harmless", "bytes": b'{"a": "SECRET"}'}
    assert converse(Echo(both)).frames == [b'{"a":"[redacted]"}']


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_denied_frame_ends_the_connection(backend: str) -> None:
    app = Echo()
    peer = converse(app, "fine", "my SECRET", "more", guard=DENY, backend=backend)
    assert peer.frames == ["fine"]
    assert peer.close["code"] == 1008
    assert 0 < len(peer.close["reason"].encode()) <= 123
    assert app.heard[1] == "fine"
    assert app.heard[2]["type"] == "websocket.disconnect"
    assert app.heard[2]["code"] == 1008
    assert peer.sent[-1] is peer.close


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_a_denied_frame_of_the_applications_ends_the_connection(version: str) -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send(saying("your SECRET"))
        try:
            await send(saying("more"))
        except OSError:
            told.append("OSError")
        told.append((await receive())["type"])

    peer = converse(app, guard=DENY, scope=scope_of(version=version))
    assert (peer.frames, peer.close["code"]) == ([], 1008)
    assert told == [*(["OSError"] if version == "2.4" else []), "websocket.disconnect"]


def test_a_refusal_in_a_frame_of_its_own() -> None:
    app = Echo(saying("your SECRET"), saying("fine"))
    peer = converse(app, "my SECRET", "go on", guard=DENY, websocket_refusal="frame")
    said = [json.loads(item) if item.startswith("{") else item for item in peer.frames]
    assert [item["error"]["code"] if isinstance(item, dict) else item for item in said] == [
        "blocked_deny",
        "fine",
        "blocked_deny",
        "go on",
    ]
    assert app.heard[1] == "go on"
    assert peer.close is None


@pytest.mark.parametrize(("word", "code"), [("step_up", 1008), ("defer", 1013)])
def test_other_decisions(word: str, code: int) -> None:
    words: dict[str, Any] = {word: ["SECRET"]}
    assert converse(Echo(), "my SECRET", guard=FakeGuard(**words)).close["code"] == code


@pytest.mark.parametrize(("fail_open", "frames"), [(False, []), (True, ["Hi"])])
def test_a_guard_without_a_verdict(fail_open: bool, frames: list[str]) -> None:
    peer = converse(Echo(), "Hi", guard=FakeGuard(fault=RuntimeError("down")), fail_open=fail_open)
    assert peer.frames == frames
    assert (peer.close or {}).get("code") == (None if fail_open else 1013)


UNREADABLE = {
    "a key twice": ('{"a": "x", "a": "y"}', 1007),
    "too deep": ("[" * 200_000, 1007),
    "too long": ("x" * 300_001, 1009),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_frames_that_cannot_be_read(name: str) -> None:
    content, code = UNREADABLE[name]
    peer = converse(Echo(), content, guard=FakeGuard(), max_body=300_000)
    assert (peer.frames, peer.close["code"]) == ([], code)
    assert converse(Echo(), content, guard=FakeGuard(), max_body=300_000, fail_open=True).frames == [content]
    assert converse(Echo(), content, guard=FakeGuard(), max_body=300_000, mode="alert").frames == [content]


@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_looking_on_changes_nothing_and_reports_all(mode: str) -> None:
    events: list[Any] = []
    peer = converse(Echo(saying("your SECRET")), "my SECRET", guard=DENY, mode=mode, on_decision=events.append)
    assert peer.frames == ["your SECRET", "my SECRET"]
    assert [(event.stage, event.decision, event.enforced) for event in events] == [
        (Stage.RESPONSE, "deny", False),
        (Stage.PROMPT, "deny", False),
        (Stage.RESPONSE, "deny", False),
    ]


def test_selected_texts_of_frames() -> None:
    app = Echo()
    given = json.dumps({"prompt": "SECRET", "note": "SECRET"})
    peer = converse(app, given, select={"/ws": ["prompt"]}, select_out={"/ws": ["note"]})
    assert json.loads(app.heard[1]) == {"prompt": "[redacted]", "note": "SECRET"}
    assert json.loads(peer.frames[0]) == {"prompt": "[redacted]", "note": "[redacted]"}


def test_what_is_not_guarded_passes_as_it_came() -> None:
    for options in (
        {"guard_websockets": False},
        {"exclude_paths": ["/ws"]},
        {"guard": None},
        {"only_paths": ["/x"]},
    ):
        app = Echo(saying("your SECRET"))
        assert converse(app, "my SECRET", **{"guard": DENY, **options}).frames == ["your SECRET", "my SECRET"]


def test_a_large_frame_is_parsed_beside_the_loop() -> None:
    content = json.dumps({"a": "x" * 100_000, "b": "SECRET"})
    assert json.loads(converse(Echo(), content).frames[0])["b"] == "[redacted]"


def test_the_caller_is_known_for_the_length_of_the_connection() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "headers": [(b"X-Request-ID", b"app-made-id")]})
        while (await receive())["type"] != "websocket.disconnect":
            seen.append((current_context().user, current_context().request_id))

    scope = scope_of()
    scope["headers"].append((b"x-highflame-user", b"ada"))
    peer = converse(app, "a", "b", scope=scope, trusted_peers=["192.0.2.1"])
    assert seen == [("ada", "callers-own-id")] * 3
    assert [name for name, _ in peer.sent[0]["headers"]] == [b"X-Request-ID"]


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 409, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"SECRET seat"})


async def close(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.close", "code": 4000, "reason": "SECRET"})


@pytest.mark.parametrize("app", [refuse, close])
def test_a_handshake_that_the_application_refuses(app: Any) -> None:
    async def sending(send: Callable[[Any], Awaitable[None]]) -> None:
        await app(None, None, send)

    plain: list[Any] = []

    async def note(message: Any) -> None:
        plain.append(message)

    anyio.run(sending, note)
    assert converse(app, guard=DENY).sent == plain


@pytest.mark.parametrize("accepted", [True, False])
def test_a_verdict_that_the_application_lets_out_closes_the_connection(accepted: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if accepted:
            await send({"type": "websocket.accept"})
        raise blocked()

    peer = converse(app, guard=FakeGuard())
    assert peer.close["code"] == 1008


def test_other_errors_are_the_servers_to_hear_of() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        converse(app)

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})
        raise blocked()

    from highflame_middleware import BlockedError

    with pytest.raises(BlockedError):
        converse(closing)


def test_a_refusal_that_is_none_of_both() -> None:
    with pytest.raises(ConfigError, match="websocket_refusal='shout'"):
        HighflameMiddleware(Echo(), websocket_refusal="shout")


def test_no_text_of_a_frame_is_in_what_is_logged(
    caplog: pytest.LogCaptureFixture, highflame_spans: CapturedSpans
) -> None:
    peer = converse(Echo(), "the word is SECRET", guard=DENY)
    assert "the word is" not in caplog.text + peer.close["reason"]
