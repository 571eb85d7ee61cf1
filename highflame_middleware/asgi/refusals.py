"""How a request is told no: in the shape of the API that it speaks, or by the application's own handler."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from ..asgi_types import Message, Receive, Send
from ..codecs import codec_for_path
from ..codecs.parts import Codec
from ..denial import SHAPES, deny
from ..errors import ConfigError, HighflameError

__all__ = ["OnBlocked", "Refusals", "of_handshake", "shape_of"]

# Takes the scope and the error; gives an ASGI application (a response of Starlette's is one), or None for ours.
OnBlocked: TypeAlias = "Callable[[Any, HighflameError], Any]"

_log = logging.getLogger("highflame_middleware.asgi")

# Headers that only one maker's clients send.
_TELLING = ((b"anthropic-version", "anthropic"), (b"x-goog-api-key", "gemini"), (b"x-goog-api-client", "gemini"))


def shape_of(scope: Any, head: Mapping[bytes, bytes], codec: Codec | None) -> str:
    """Whose error the caller of a request can read: by ``accept``, else by its body, path or headers.

    >>> shape_of({"path": "/v1/messages"}, {}, None), shape_of({"path": "/chat"}, {}, None)
    ('anthropic', 'problem')
    """
    if b"application/problem+json" in head.get(b"accept", b""):
        return "problem"
    if codec is None or codec.name == "any-json":
        codec = codec_for_path(scope["path"])
    if codec is not None:
        return codec.provider if codec.provider in SHAPES else "openai"
    return next((shape for name, shape in _TELLING if name in head), "problem")


class Refusals:
    """Answers in an application's place."""

    def __init__(self, on_blocked: OnBlocked | None) -> None:
        if on_blocked is not None and not callable(on_blocked):
            raise ConfigError(f"on_blocked={on_blocked!r} cannot be called: give a function of scope and error")
        self._on_blocked = on_blocked

    async def answer(
        self,
        send: Send,
        error: HighflameError,
        *,
        scope: Any,
        head: Mapping[bytes, bytes],
        status: int | None = None,
        codec: Codec | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Answer a request: as the application's handler does, where it has one, else in the caller's shape."""
        if self._on_blocked is not None and await _handled(self._on_blocked, scope, send, error):
            return
        denial = deny(error, status=status, shape=shape_of(scope, head, codec), headers=headers)
        told = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in denial.headers]
        await send({"type": "http.response.start", "status": denial.status, "headers": told})
        await send({"type": "http.response.body", "body": denial.body, "more_body": False})


def of_handshake(scope: Any, receive: Receive, send: Send) -> Send:
    """A ``send`` for an HTTP answer to a websocket's handshake: whole where the server can, else as a close."""
    whole = "websocket.http.response" in (scope.get("extensions") or {})

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            await receive()  # the handshake itself
        if whole:
            await send({**message, "type": f"websocket.{message['type']}"})
        elif message["type"] == "http.response.start":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    return told


async def _handled(on_blocked: OnBlocked, scope: Any, send: Send, error: HighflameError) -> bool:
    """Have the application answer: whether it has. One that fails at it is no reason to let anything pass."""
    begun = False

    async def watched(message: Message) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        answer = on_blocked(scope, error)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is not None:
            await answer(scope, _nothing_more, watched)
    except Exception:
        if begun:
            raise
        _log.exception("on_blocked raised; the request is answered as it would be without it")
    return begun


async def _nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
