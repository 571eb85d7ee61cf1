"""The gateway as an ASGI app: bytes in, the door, bytes out; the upstream is left when the caller leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel

from ..asgi_types import Receive, Scope, Send
from ..codecs import codec_for_path
from ..codecs.openai import error_body
from ..codecs.parts import dump_json
from ..codecs.sse import Splitter, write_event
from ..denial import Denial, deny
from ..errors import HighflameError, UnreadableError
from .messages import AsyncReply, Door, Headers, Request, encoded, header, plain_path

__all__ = ["serve_asgi"]

MAX_BODY = 64 * 1024 * 1024
_MAX_EVENT = 1024 * 1024
_CLOSING = 5.0
_KEY_HEADERS = ("x-highflame-apikey", "authorization", "x-api-key", "api-key")


async def serve_asgi(gateway: Door, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one ASGI connection."""
    if scope["type"] == "lifespan":
        await _live(gateway, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1003, "reason": "this gateway speaks HTTP only"})
    elif scope["type"] == "http":
        await _answer(gateway, scope, receive, send)


async def _live(gateway: Door, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await gateway.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _answer(gateway: Door, scope: Any, receive: Receive, send: Send) -> None:
    request = _head(scope)
    if request.method == "GET" and request.path.rstrip("/") == "/health":
        body = dump_json({"status": "ok", "providers": list(gateway.providers)})
        await _send_whole(send, Denial(200, (("content-type", "application/json"),), body))
        return
    try:
        request = _admitted(gateway, request)
        content = await _read(receive, request)
        if content is None:
            return
        request = _typed(request.with_body(content))
    except _Refused as refused:
        await _send_whole(send, refused.denial)
        return
    async with anyio.create_task_group() as group:

        async def leave_with_caller() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async def send_to_caller(message: Any) -> None:
            try:
                await send(message)
            except OSError:
                # How a server may say that the caller has gone (ASGI 2.4).
                group.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()

        group.start_soon(leave_with_caller)
        await _exchange(gateway, request, send_to_caller)
        group.cancel_scope.cancel()


class _Refused(Exception):  # noqa: N818 - it carries an answer, not a fault
    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.denial = Denial(status, (("content-type", "application/json"),), dump_json(error_body(message, code)))


def _head(scope: Any) -> Request:
    """The request without its body; its path as the caller encoded it, without what the app is mounted under."""
    headers: Headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
    )
    query = scope.get("query_string", b"").decode("latin-1")
    # Servers pass on a method as it came, but what asks an upstream writes it in capitals.
    return Request(method=scope["method"].upper(), path=_path(scope), query=query, headers=headers)


def _path(scope: Any) -> str:
    usual = quote(scope["path"])
    raw: str = scope["raw_path"].partition(b"?")[0].decode("latin-1") if scope.get("raw_path") else usual
    root = quote(scope.get("root_path", "").rstrip("/"))
    # A caller may have encoded what the app is mounted under in a way of their own: then the usual one has to do.
    for path in (raw, usual):
        if path == root or path.startswith(f"{root}/"):
            return path[len(root) :] or "/"
    return raw or "/"


def _admitted(gateway: Door, request: Request) -> Request:
    """The request of a caller who may call, without the keys that say so, wherever they stand."""
    if not gateway.asks_for_keys:
        return request
    name = next((name for name in _KEY_HEADERS if request.header(name) is not None), None)
    if name is None or not gateway.knows(_key(request.header(name) or "")):
        raise _Refused(
            401, "this gateway wants a key of its own, as x-highflame-apikey or as bearer", "invalid_key"
        )
    kept = (item for item in request.headers if item[0] not in _KEY_HEADERS or not gateway.knows(_key(item[1])))
    return replace(request, headers=tuple(kept))


def _key(value: str) -> str:
    scheme, space, rest = value.partition(" ")
    return rest.strip() if space and scheme.lower() == "bearer" else value


def _typed(request: Request) -> Request:
    """The request whose body, if it has one that is to be read, says that it is JSON."""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if request.body and kind != "application/json" and codec_for_path(plain_path(request.path)) is not None:
        # A browser sends other types across origins without asking first.
        raise _Refused(
            415, f"{request.path} takes application/json, not {kind or 'a body without a type'}", "bad_type"
        )
    return request


async def _read(receive: Receive, request: Request) -> bytes | None:
    """The whole body, or nothing where the caller has left."""
    declared = request.header("content-length") or ""
    body = bytearray()
    while True:
        if len(body) > MAX_BODY or (declared.isdecimal() and int(declared[:20]) > MAX_BODY):
            raise _Refused(413, f"the body is longer than {MAX_BODY} bytes", "too_large")
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False) and len(body) <= MAX_BODY:
            return bytes(body)


async def _exchange(gateway: Door, request: Request, send: Send) -> None:
    try:
        reply = await gateway.ahandle(request)
    except HighflameError as error:
        await _send_whole(send, deny(error))
        return
    try:
        await _send_reply(send, reply)
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSING):
            await reply.aclose()


async def _send_reply(send: Send, reply: AsyncReply) -> None:
    """Pass a reply on as it comes; its start waits for the first bytes that may be passed on."""
    start = {"type": "http.response.start", "status": reply.status, "headers": encoded(reply.headers)}
    started = False
    events = _Events(reply.headers)
    try:
        async for chunk in reply.body:
            if not started:
                await send(start)
                started = True
            if whole := events.feed(chunk):
                await send({"type": "http.response.body", "body": whole, "more_body": True})
    except HighflameError as error:
        if not started:
            # What an upstream sent and nobody can read is the upstream's fault, not the caller's.
            await _send_whole(send, deny(error, status=502 if isinstance(error, UnreadableError) else None))
            return
        if not events.are_events:
            raise
        events.broken = write_event(None, error_body(str(error), "stream_failed"))
    if not started:
        await send(start)
    await send({"type": "http.response.body", "body": events.finish(), "more_body": False})


class _Events:
    """What is passed on of a reply: of events only whole ones, so that an error can still be told after them."""

    def __init__(self, headers: Headers) -> None:
        kind = (header(headers, "content-type") or "").partition(";")[0].strip().lower()
        plain = header(headers, "content-encoding") is None and header(headers, "content-length") is None
        self.are_events = kind == "text/event-stream" and plain
        self.broken = b""
        self._splitter = Splitter()

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on after a chunk."""
        if not self.are_events:
            return chunk
        whole = b"".join(self._splitter.feed(chunk))
        # An event of this size is nobody's to hold back.
        return whole + self._splitter.finish() if self._splitter.pending > _MAX_EVENT else whole

    def finish(self) -> bytes:
        """The bytes to end with: the rest, or the error in its place."""
        return self.broken or self._splitter.finish()


async def _send_whole(send: Send, answer: Denial) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
