"""What the tests of the two HTTP doors share: an upstream down to the byte, a bare ASGI server, raw HTTP/1.1."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel

BACKENDS = ["asyncio", "trio"]

ASK = {"model": "m", "messages": [{"role": "user", "content": "Tell me the SECRET."}]}
PATIENCE = 10.0


def body_of(value: Any) -> bytes:
    return json.dumps(value).encode()


def asking(text: str = "Hi!", **fields: Any) -> dict[str, Any]:
    """A chat call."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


class WireUpstream:
    """Keeps each request as the bytes that it was, and answers each on a connection of its own."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.seen: list[bytes] = []
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the last request, names in lower case, in their order."""
        lines = self.seen[-1].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    @property
    def line(self) -> bytes:
        """The last request's first line."""
        return self.seen[-1].partition(b"\r\n")[0]

    @property
    def body(self) -> bytes:
        """The last request's body."""
        return self.seen[-1].partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        self._closing = True
        with socket.create_connection(("127.0.0.1", self.port)):
            self._thread.join(PATIENCE)
        self._listener.close()

    def _run(self) -> None:
        while not self._closing:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                if request := b"" if self._closing else _read_request(connection):
                    self.seen.append(request)
                    connection.sendall(self.reply)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return data
        data += more
    head = data.partition(b"\r\n\r\n")[0].lower()
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(data) < len(head) + 4 + length and (more := connection.recv(65536)):
        data += more
    return data


@contextmanager
def wire_upstream(reply: bytes) -> Iterator[WireUpstream]:
    upstream = WireUpstream(reply)
    try:
        yield upstream
    finally:
        upstream.close()


def reply_bytes(
    body: bytes, *headers: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json"
) -> bytes:
    """An HTTP/1.1 reply whose connection ends with it."""
    lines = [b"HTTP/1.1 " + status, b"content-type: " + kind, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"connection: close", b"", body])


@dataclass(frozen=True)
class RawReply:
    """What a server answered, byte for byte."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def header(self, name: bytes) -> list[bytes]:
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [value.strip() for key, _, value in lines if key.lower() == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send_raw(url: str, request: bytes, *, until_closed: bool = True) -> RawReply:
    """Send bytes to a server, and read what it answers until it closes."""
    with connected(url) as connection:
        connection.sendall(request)
        return read_raw(connection)


def read_raw(connection: socket.socket) -> RawReply:
    data = b""
    while more := connection.recv(65536):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return RawReply(head, body)


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        yield connection


def raw_post(path: bytes, body: bytes, *headers: bytes, method: bytes = b"POST") -> bytes:
    """A request whose connection ends with it."""
    lines = [method + b" " + path + b" HTTP/1.1", b"host: x", b"connection: close"]
    if not any(header.lower().startswith(b"content-type:") for header in headers):
        lines.append(b"content-type: application/json")
    return b"\r\n".join([*lines, *headers, b"content-length: %d" % len(body), b"", body])


def _unchunked(data: bytes) -> bytes:
    out = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        count = int(size, 16)
        out += rest[:count]
        data = rest[count + 2 :] if count else b""
    return out


@dataclass
class Sent:
    """What an ASGI app sent."""

    messages: list[Any] = field(default_factory=list)
    took: int = 0

    @property
    def start(self) -> Any:
        (start,) = [message for message in self.messages if message["type"] == "http.response.start"]
        return start

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def chunks(self) -> list[bytes]:
        found = [message for message in self.messages if message["type"] == "http.response.body"]
        return [message["body"] for message in found if message.get("body")]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", False)

    def header(self, name: str) -> list[str]:
        pairs = self.start["headers"]
        return [value.decode("latin-1") for key, value in pairs if key.decode("latin-1").lower() == name]


def scope_of(
    method: str = "POST",
    path: str = "/",
    *,
    headers: Iterable[tuple[str, str]] = (),
    json_body: bool = True,
    **fields: Any,
) -> dict[str, Any]:
    """An HTTP scope, as uvicorn makes them."""
    given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if json_body and not any(name.lower() == b"content-type" for name, _ in given):
        given.append((b"content-type", b"application/json"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": b"",
        "root_path": "",
        "headers": given,
        "client": ("192.0.2.1", 4711),
        "server": ("127.0.0.1", 80),
        **fields,
    }


async def serve(
    app: Any,
    scope: dict[str, Any],
    pieces: Iterable[bytes] = (b"",),
    *,
    on_send: Callable[[Sent, Any], Awaitable[None]] | None = None,
    leave_after: int | None = None,
) -> Sent:
    """Run an app as a server would, for one request; ``leave_after`` messages of its reply the caller leaves."""
    sent = Sent()
    left = anyio.Event()
    waiting = list(pieces)

    async def receive() -> Any:
        if waiting:
            sent.took += 1
            piece = waiting.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(waiting)}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        sent.messages.append(message)
        if on_send is not None:
            await on_send(sent, message)
        if not message.get("more_body", message["type"] == "http.response.start"):
            left.set()
        if leave_after is not None and len(sent.messages) >= leave_after:
            left.set()

    with anyio.fail_after(PATIENCE):
        await app(scope, receive, send)
    return sent


def ask(
    app: Any, body: Any = None, *, backend: str = "asyncio", pieces: Iterable[bytes] = (), **scope: Any
) -> Sent:
    """One request to an app, from code that is not asynchronous."""
    content = body if isinstance(body, bytes) else b"" if body is None else body_of(body)
    made = scope_of(**scope)
    given = list(pieces) or [content]

    async def run() -> Sent:
        return await serve(app, made, given)

    return anyio.run(run, backend=backend)


def events_of(body: bytes) -> list[Any]:
    """The data of a stream's events: JSON where it is JSON."""
    found = []
    for event in body.split(b"\n\n"):
        if event.startswith(b"data: "):
            text = event.removeprefix(b"data: ").decode()
            found.append(json.loads(text) if text[:1] in "{[" and text != "[DONE]" else text)
    return found


def said(body: bytes) -> str:
    """The text that a stream of chat chunks adds up to."""
    return "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in events_of(body)
        if isinstance(event, dict) and event.get("choices")
    )
