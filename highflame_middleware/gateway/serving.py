"""The gateway as an ASGI app: bytes in, the door, bytes out; the upstream is left when the caller leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio

from ..asgi_types import Receive, Scope, Send
from ..codecs import codec_for_path
from ..codecs.openai import error_body, error_event
from ..codecs.parts import dump_json
from ..denial import Denial, deny
from ..errors import HighflameError, UnreadableError
from .messages import AsyncReply, Headers, Request, header, without

if TYPE_CHECKING:
    from .app import Gateway

__all__ = ["serve_asgi"]

MAX_BODY = 64 * 1024 * 1024
_CLOSING = 5.0
_KEY_HEADERS = ("x-highflame-apikey", "authorization", "x-api-key", "api-key")


async def serve_asgi(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one ASGI connection."""
    if scope["type"] == "lifespan":
        await _live(gateway, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1003, "reason": "this gateway speaks HTTP only"})
    elif scope["type"] == "http":
        await _answer(gateway, scope, receive, send)


async def _live(gateway: Gateway, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await gateway.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _answer(gateway: Gateway, scope: Any, receive: Receive, send: Send) -> None:
    request = _head(scope)
    if request.method == "GET" and request.path.rstrip("/") == "/health":
        body = dump_json({"status": "ok", "providers": list(gateway.providers)})
        await _send_whole(send, Denial(200, (("content-type", "application/json"),), body))
        return
    try:
        request = _checked(gateway, request)
        content = await _read(receive)
    except _Refused as refused:
        await _send_whole(send, refused.denial)
        return
    if content is None:
        return
    async with anyio.create_task_group() as group:

        async def leave_with_caller() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(leave_with_caller)
        await _exchange(gateway, request.with_body(content), send)
        group.cancel_scope.cancel()


class _Refused(Exception):  # noqa: N818 - it carries an answer, not a fault
    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.denial = Denial(status, (("content-type", "application/json"),), dump_json(error_body(message, code)))


def _head(scope: Any) -> Request:
    """The request without its body; its path as the caller encoded it, without what the app is mounted under."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1").removeprefix(quote(scope.get("root_path", "")))
    headers: Headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
    )
    query = scope.get("query_string", b"").decode("latin-1")
    return Request(method=scope["method"], path=path or "/", query=query, headers=headers)


def _checked(gateway: Gateway, request: Request) -> Request:
    """The request of a caller who may call, without the key that says so."""
    if gateway.asks_for_keys:
        name = next((name for name in _KEY_HEADERS if request.header(name) is not None), None)
        value = request.header(name) if name is not None else None
        if name is None or not gateway.knows((value or "").removeprefix("Bearer ")):
            raise _Refused(
                401, "this gateway wants a key of its own, as x-highflame-apikey or as bearer", "invalid_key"
            )
        request = replace(request, headers=without(request.headers, frozenset({name})))
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if request.method == "POST" and codec_for_path(request.path) is not None and kind != "application/json":
        # A browser sends other types across origins without asking first.
        raise _Refused(
            415, f"{request.path} takes application/json, not {kind or 'a body without a type'}", "bad_type"
        )
    return request


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or nothing where the caller has left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _Refused(413, f"the body is longer than {MAX_BODY} bytes", "too_large")
        if not message.get("more_body", False):
            return bytes(body)


async def _exchange(gateway: Gateway, request: Request, send: Send) -> None:
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
    start = {"type": "http.response.start", "status": reply.status, "headers": _encoded(reply.headers)}
    started = False
    try:
        async for chunk in reply.body:
            if not started:
                await send(start)
                started = True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except HighflameError as error:
        if not started:
            # What an upstream sent and nobody can read is the upstream's fault, not the caller's.
            await _send_whole(send, deny(error, status=502 if isinstance(error, UnreadableError) else None))
            return
        if not (header(reply.headers, "content-type") or "").startswith("text/event-stream"):
            raise
        failed = {"type": "http.response.body", "body": error_event(str(error), "stream_failed"), "more_body": True}
        await send(failed)
    if not started:
        await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_whole(send: Send, answer: Denial) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _encoded(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
