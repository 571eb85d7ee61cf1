"""A WebSocket connection with the guard on its frames, both ways.

What the client sends is judged as prompts, what the application sends as replies, frame by frame: JSON by its
texts, any other text frame as one text. Binary frames pass, but for those that are JSON. A frame is judged by
itself, whatever was sent before it: what is spread over many frames is found in none of them, but where the
application's are said to be pieces of longer texts (`frame_streams`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from ..asgi_types import Message, Receive, Send
from ..bodies import AmbiguousError, unambiguous
from ..codecs import codec_for_reply, codec_for_shape
from ..codecs.openai import read_unknown
from ..codecs.parts import Text, dump_json, edits_of, rewrite
from ..denial import deny
from ..drivers import aperform
from ..errors import BlockedError, ConfigError, GuardError, HighflameError, UnreadableError
from ..exchange import Exchange, judge
from ..flow import Flow, Op, arun
from ..guard.verdict import worst
from ..types import Decision, Stage
from .body import BEFORE_JSON
from .frame_streams import FrameStream
from .screening import as_json
from .selectors import Selection

__all__ = ["REFUSALS", "Frames", "Socket"]

# How a frame is refused: the connection ends, or a frame says so in its place.
REFUSALS = ("close", "frame")

# What RFC 6455 and its registry call the reasons to end a connection.
_POLICY, _UNREADABLE, _TOO_LARGE, _LATER = 1008, 1007, 1009, 1013
# A control frame has room for so many bytes of a reason.
_REASON = 123
# A frame is parsed in a thread from so many characters on.
_LARGE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """How frames are read: at most ``limit`` bytes of one; which texts count of JSON that comes in and goes out.

    Without selectors every string counts, but for ids and types. ``refusal`` is one of `REFUSALS`. ``streams``
    says that the application's frames are pieces of texts that grow.
    """

    limit: int
    chosen: Selection | None = None
    selection: Selection | None = None
    refusal: str = "close"
    streams: bool = False

    def __post_init__(self) -> None:
        if self.refusal not in REFUSALS:
            raise ConfigError(f"websocket_refusal={self.refusal!r} is none of {', '.join(REFUSALS)}")

    def of_client(self, body: Any) -> tuple[Text, ...]:
        """The texts of JSON that the client sent."""
        if self.chosen is not None:
            return self.chosen.read(body)
        codec = codec_for_shape(body)
        known = codec.read_call(body).texts if codec is not None else ()
        rest = (text._replace(stage=Stage.PROMPT, role="user") for text in read_unknown(body))
        return _merged(known, rest)

    def of_application(self, body: Any) -> tuple[Text, ...]:
        """The texts of JSON that the application sent."""
        codec = codec_for_reply(body) if self.selection is None else None
        known = codec.read_reply(body).texts if codec is not None else ()
        return _merged(known, as_json(self.selection)(body))


class Socket:
    """One connection's ``receive`` and ``send``.

    ``raises`` says that the application has been promised an OSError from
    ``send`` once the connection is over.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        exchange: Exchange,
        frames: Frames,
        *,
        request_id: str,
        raises: bool,
        perform: Callable[[Op[Any]], Awaitable[Any]] = aperform,
    ) -> None:
        self._receive, self._send = receive, send
        self._request_id = (b"x-request-id", request_id.encode("latin-1"))
        self._exchange, self._frames = exchange, frames
        self._raises, self._perform = raises, perform
        self._stream = FrameStream(exchange, frames.selection, _decoded) if frames.streams else None
        self._lock = anyio.Lock() if frames.streams else None
        # The task that receives, and whether another one sends: then receiving does not say that all has been sent.
        self._receiver: int | None = None
        self._duplex = False
        # The close that was sent in the application's place.
        self._closed: Message | None = None
        self._over = False

    async def receive(self) -> Message:
        """Give the application its next message: a frame that may pass, or what the frame has become."""
        if self._stream is None:
            return await self._next()
        receiver = anyio.get_current_task().id
        self._duplex = self._duplex or self._receiver not in (None, receiver)
        self._receiver = receiver
        if not self._duplex:
            await self._conclude(self._stream)
        return await self._next()

    async def _next(self) -> Message:
        while True:
            if self._closed is not None:
                return {**self._closed, "type": "websocket.disconnect"}
            message: Message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._over = True
            if message["type"] != "websocket.receive":
                return message
            try:
                return await self._judged(message, self._frames.of_client, Text((), "", Stage.PROMPT), sent=True)
            except HighflameError as error:
                await self._refuse(error)

    async def send(self, message: Message) -> None:
        """Take one message of the application's."""
        kind = message["type"]
        if self._closed is not None:
            if self._raises:
                raise OSError("the connection was closed by a guard")
            return
        self._over = self._over or kind == "websocket.close"
        if kind == "websocket.accept":
            headers = list(message.get("headers", ()))
            if not any(bytes(name).lower() == self._request_id[0] for name, _ in headers):
                message = {**message, "headers": [*headers, self._request_id]}
        if self._stream is not None and self._exchange.policy.guard is not None:
            await self._send_streaming(self._stream, message)
            return
        if kind != "websocket.send":
            await self._send(message)
            return
        whole = Text((), "", Stage.RESPONSE, "assistant")
        if not self._exchange.policy.holds:
            await self._send(message)
            await self._judged(message, self._frames.of_application, whole)
            return
        try:
            message = await self._judged(message, self._frames.of_application, whole)
        except HighflameError as error:
            await self._refuse(error)
            return
        await self._send(message)

    async def _send_streaming(self, stream: FrameStream, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close":
            await self._conclude(stream)
            if self._closed is not None:
                return
        if kind != "websocket.send":
            await self._send(message)
            return
        self._duplex = self._duplex or self._receiver not in (None, anyio.get_current_task().id)
        assert self._lock is not None
        async with self._lock:
            before = stream.stopped
            for cleared in await arun(stream.feed(message), self._perform):
                await self._send(cleared)
            if stream.stopped is not None and before is None:
                await self._refuse(stream.stopped)

    async def _conclude(self, stream: FrameStream) -> None:
        """The application has said all, for now."""
        assert self._lock is not None
        if self._closed is not None or self._exchange.policy.guard is None:
            return
        async with self._lock:
            before = stream.stopped
            for cleared in await arun(stream.conclude(), self._perform):
                await self._send(cleared)
            if stream.stopped is not None and before is None:
                await self._refuse(stream.stopped)
            stream.go_on()

    async def fail(self, error: HighflameError) -> bool:
        """An error of ours that the application let out: close with it, unless the connection is over anyway."""
        if self._over or self._closed is not None:
            return self._closed is not None
        await self._close(error)
        return True

    async def _judged(
        self, message: Message, read: Callable[[Any], tuple[Text, ...]], whole: Text, *, sent: bool = False
    ) -> Message:
        """The message, edited where the guard says so. Raises where it says no."""
        exchange = self._exchange
        # Where an application gives both, servers send the bytes.
        is_text = message.get("bytes") is None
        frame: str | bytes | None = message.get("text") if is_text else message["bytes"]
        if not frame or exchange.policy.guard is None:
            return message
        try:
            if len(frame) > self._frames.limit:
                raise _TooLargeError(f"A frame is longer than the {self._frames.limit} that are read to be guarded")
            decode = partial(_decoded, frame)
            body, is_json = decode() if len(frame) < _LARGE else await anyio.to_thread.run_sync(decode)
            texts = read(body) if is_json else (whole._replace(value=frame),) if isinstance(frame, str) else ()
        except UnreadableError as error:
            exchange.note(whole, GuardError(str(error)), enforced=exchange.policy.strict)
            if exchange.policy.strict:
                raise
            return message
        edited = await arun(_edited(exchange, body, texts, sent=sent), self._perform)
        if edited is body:
            return message
        written = dump_json(edited) if is_json else str(edited).encode("utf-8", "replace")
        if is_text:
            return {**message, "text": written.decode("utf-8", "replace")}
        return {**message, "bytes": written}

    async def _refuse(self, error: HighflameError) -> None:
        # Where nobody can tell when another turn begins, a text that was stopped has no end either.
        if self._frames.refusal == "close" or (self._duplex and isinstance(self._stream, FrameStream)):
            await self._close(error)
            return
        await self._send({"type": "websocket.send", "text": deny(error).body.decode()})

    async def _close(self, error: HighflameError) -> None:
        reason = str(error).encode("utf-8", "replace")[:_REASON].decode("utf-8", "ignore")
        close = {"type": "websocket.close", "code": _code_of(error), "reason": reason}
        self._closed = close
        await self._send(close)


class _TooLargeError(UnreadableError):
    """A frame is longer than what is read of one."""


def _edited(exchange: Exchange, body: Any, texts: tuple[Text, ...], *, sent: bool) -> Flow[Any]:
    rulings = yield from judge(exchange, texts, sent=sent)
    if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
        raise error
    edits = [(text, ruling.text) for text, ruling in zip(texts, rulings, strict=False) if ruling.text is not None]
    return rewrite(body, edits_of(edits)) if edits else body


def _decoded(frame: str | bytes) -> tuple[Any, bool]:
    """A frame's JSON, and whether it is any; what can be read in two ways or none raises `UnreadableError`."""
    # What stands before JSON in other encodings is no reason for a reader of bytes not to take it for JSON.
    begun = frame.lstrip(BEFORE_JSON) if isinstance(frame, bytes) else frame.lstrip("\ufeff \t\r\n")
    if begun[:1] not in ("{", "[", '"', b"{", b"[", b'"'):
        return frame, False
    try:
        read = frame if isinstance(frame, bytes) else frame.removeprefix("\ufeff")
        return json.loads(read, object_pairs_hook=unambiguous), True
    except (AmbiguousError, RecursionError):
        raise UnreadableError("A frame is not JSON that can be read in one way only") from None
    except ValueError:
        return frame, False


def _merged(known: tuple[Text, ...], more: Any) -> tuple[Text, ...]:
    texts: dict[Any, Text] = {text.path: text for text in known}
    for text in more:
        texts.setdefault(text.path, text)
    return tuple(texts.values())


def _code_of(error: HighflameError) -> int:
    if isinstance(error, _TooLargeError):
        return _TOO_LARGE
    if isinstance(error, UnreadableError):
        return _UNREADABLE
    if isinstance(error, GuardError):
        return _LATER
    return _LATER if isinstance(error, BlockedError) and error.decision is Decision.DEFER else _POLICY
