"""A scripted HTTP server on 127.0.0.1: what it is asked is logged, what it answers is bytes, down to the chunk.

A fake *server*, so that the real SDKs, real sockets and real parsers are under test.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from highflame_middleware.gateway.messages import Request
from highflame_middleware.gateway.scripted import play


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to send: ``chunks`` flushed one by one; ``length`` declared whether true or not; ``cut`` to reset."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    chunks: Iterable[bytes] = ()
    length: int | None = None
    cut: bool = False
    hang: bool = False
    interval: float = 0.0


Respond = Callable[[Seen], Answer]


class Server:
    """The server: ``log`` of requests, ``respond`` to be replaced, ``left`` set when a client leaves mid-reply."""

    def __init__(self) -> None:
        self.log: list[Seen] = []
        self.respond: Respond = scripted([{"text": "Hello from the server."}])
        self.left = threading.Event()
        self._stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer._serve(self)

            do_GET = do_PUT = do_DELETE = do_HEAD = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [seen.path for seen in self.log]

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        if handler.headers.get("transfer-encoding") == "chunked":
            body = _read_chunks(handler)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        seen = Seen(handler.command, handler.path, headers, body)
        self.log.append(seen)
        answer = self.respond(seen)
        handler.send_response(answer.status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        chunked = answer.length is None
        handler.send_header(
            *(("transfer-encoding", "chunked") if chunked else ("content-length", str(answer.length)))
        )
        handler.end_headers()
        try:
            for chunk in answer.chunks:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
                handler.wfile.flush()
                if answer.interval:
                    time.sleep(answer.interval)
                if self._stopping.is_set():
                    return
            while answer.hang and not self._stopping.is_set():
                # Nothing more is sent; a client that leaves is noticed by its end of the connection.
                handler.connection.settimeout(0.05)
                try:
                    if handler.connection.recv(1) == b"":
                        self.left.set()
                        return
                except TimeoutError:
                    continue
            if answer.cut:
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                handler.connection.close()
                handler.close_connection = True
            elif chunked:
                handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.left.set()


def _read_chunks(handler: BaseHTTPRequestHandler) -> bytes:
    body = b""
    while size := int(handler.rfile.readline().strip(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()


def scripted(scripts: list[dict[str, Any]]) -> Respond:
    """Answer as the embedded gateway's scripted provider would, for whatever path a gateway puts the API under."""

    def respond(seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        scene = play(scripts, Request(method=seen.method, path=path, body=seen.body))
        return Answer(scene.status, scene.headers, [frame for _, frame in scene.frames])

    return respond


def json_answer(body: Any, status: int = 200, **headers: str) -> Respond:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return lambda seen: Answer(status, tuple(given.items()), [content], length=len(content))


def events(*data: Any, done: bool = True) -> list[bytes]:
    """Chat-completion-like stream events of some data."""
    out = [b"data: " + json.dumps(item).encode() + b"\n\n" for item in data]
    return [*out, b"data: [DONE]\n\n"] if done else out


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chat completion chunk."""
    if content is not None:
        delta["content"] = content
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def stream_answer(chunks: Iterable[bytes], **fields: Any) -> Respond:
    return lambda seen: Answer(200, (("content-type", "text/event-stream"),), chunks, **fields)
