"""A scripted websocket server on 127.0.0.1: how it was reached and what it was sent is logged.

Like `tests.servers`, so that the real clients and real sockets are under test.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server as Serving
from websockets.sync.server import ServerConnection, serve

from highflame_middleware import Settings, instrument
from highflame_middleware.instrumentation import Instrumentation

__all__ = ["SocketServer", "listening", "live", "routing", "saying", "spoken"]

# Given a frame that was received, what to send: strings and bytes as they are, anything else as JSON.
Converse = Callable[[Any], list[Any]]


@dataclass
class SocketServer:
    """``paths`` and ``headers`` of handshakes, ``frames`` that came; ``converse`` is to be replaced."""

    port: int = 0
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    frames: list[Any] = field(default_factory=list)
    greeting: list[Any] = field(default_factory=list)
    converse: Converse = field(default=lambda frame: [])
    ended: threading.Event = field(default_factory=threading.Event)
    closes: bool = False
    codes: list[int | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[Any]:
        return [json.loads(frame) for frame in self.frames]

    def serve(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        with suppress(ConnectionClosed):
            self._send(connection, self.greeting)
            for frame in connection:
                self.frames.append(frame)
                self._send(connection, self.converse(frame))
                if self.closes:
                    break
        connection.close()
        self.codes.append(connection.protocol.close_code)
        self.ended.set()

    def _send(self, connection: ServerConnection, frames: list[Any]) -> None:
        for frame in frames:
            connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))


@contextmanager
def listening() -> Iterator[SocketServer]:
    """A server that runs in a thread."""
    server = SocketServer()
    serving: Serving = serve(server.serve, "127.0.0.1", 0)
    server.port = serving.socket.getsockname()[1]
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        serving.shutdown()
        thread.join(5)


def routing(gateway: SocketServer) -> Callable[..., Instrumentation]:
    """Instrument so that every connection goes to the gateway, which is said to carry them."""

    def start(**changes: Any) -> Instrumentation:
        options = {
            "gateway": "openai-compatible",
            "base_url": f"{gateway.url}/v1",
            "guard": None,
            "carries": ("websocket-openai",),
            **changes,
        }
        return instrument(settings=Settings(**options, reroute_hosts=("*",)))

    return start


def live(server: SocketServer, path: str = "/v1/realtime?model=gpt-realtime") -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


def saying(*pieces: str) -> Callable[[Any], list[Any]]:
    """Answer what asks for a response as the realtime API does, in deltas and whole."""
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    whole = "".join(pieces)
    item = {
        "id": "item_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": whole}],
    }
    done = {"id": "resp_1", "output": [item], "usage": {"input_tokens": 3, "output_tokens": 5}}

    def converse(frame: Any) -> list[Any]:
        if isinstance(frame, bytes) or json.loads(frame).get("type") != "response.create":
            return []
        return [
            {"type": "response.created", "response": {"id": "resp_1", "output": []}},
            *({"type": "response.output_text.delta", **place, "delta": piece} for piece in pieces),
            {"type": "response.output_text.done", **place, "text": whole},
            {"type": "response.output_item.done", "response_id": "resp_1", "item": item},
            {"type": "response.done", "response": done},
        ]

    return converse


def spoken(events: list[Any]) -> str:
    """What the deltas said; each repetition says the same."""
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    for event in events:
        if event["type"] == "response.output_text.done":
            assert event["text"] == said
        if event["type"] == "response.done":
            assert event["response"]["output"][0]["content"][0]["text"] == said
    return said
