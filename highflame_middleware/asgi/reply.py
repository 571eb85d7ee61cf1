"""The application's reply on its way out: held until the screen lets it go, or answered in its place."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

from ..asgi_types import Message, Send
from ..codecs import codec_for_reply, load_codec
from ..codecs.openai import fail
from ..codecs.parts import Codec, EventRead, Reader, ReplyRead, Summary
from ..codecs.sse import write_event
from ..denial import deny
from ..drivers import aperform
from ..errors import HighflameError, UnreadableError
from ..exchange import Exchange
from ..flow import Flow, arun
from ..screens import JsonScreen, Screen, screen_for

__all__ = ["Responder"]

_log = logging.getLogger("highflame_middleware.asgi")

# Of an application's other JSON replies only those are looked into that come in one piece of a moderate size.
_SNIFFED = 1024 * 1024


class Responder:
    """One request's ``send``: adds the request id, and guards a JSON or event-stream reply.

    ``http.response.start`` waits for the first bytes that may be passed on, so
    that a stopped reply can still become another answer.
    """

    def __init__(self, send: Send, exchange: Exchange | None, request_id: str, *, raises: bool) -> None:
        self._send, self._exchange, self._raises = send, exchange, raises
        self._request_id = request_id.encode("latin-1")
        self._start: Message | None = None
        self._screen: Screen | None = None
        self.started = False
        self.stopped = False
        self.streaming = False

    async def send(self, message: Message) -> None:
        """Take one message of the application's reply."""
        if self.stopped:
            if self._raises:
                # How a server tells an application that its caller has gone: nobody reads on.
                raise OSError("the reply was stopped by a guard")
            return
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._screen is not None:
            await self._continue(self._screen, message)
        else:
            await self._flush()
            await self._pass_on(message)

    async def deny(self, error: Any, *, status: int | None = None) -> None:
        """Answer in the application's place, or say no in the middle of its event stream."""
        if self.streaming:
            self.stopped = True
            refusal = write_event(*fail(str(error), "highflame_blocked"))
            await self._pass_on({"type": "http.response.body", "body": refusal, "more_body": False})
            return
        denial = deny(error, status=status)
        self.stopped = True
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in denial.headers]
        headers.append((b"x-request-id", self._request_id))
        await self._pass_on({"type": "http.response.start", "status": denial.status, "headers": headers})
        await self._pass_on({"type": "http.response.body", "body": denial.body, "more_body": False})

    async def _begin(self, message: Message) -> None:
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        if not any(name.lower() == b"x-request-id" for name, _ in headers):
            headers.append((b"x-request-id", self._request_id))
        message = {**message, "headers": headers}
        self._screen = self._screen_for(message["status"], headers)
        if self._screen is None:
            await self._pass_on(message)
        else:
            self._start = message

    def _screen_for(self, status: int, headers: list[tuple[bytes, bytes]]) -> Screen | None:
        exchange = self._exchange
        if exchange is None or exchange.policy.guard is None:
            return None
        found = {name.lower(): value.decode("latin-1") for name, value in headers}
        kind = found.get(b"content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "text/event-stream"):
            return None
        if exchange.call.method == "HEAD":
            return None
        if found.get(b"content-encoding", "identity").lower() != "identity":
            _log.warning("a compressed reply passes unguarded: put the compressing middleware outside this one")
            return None
        if exchange.call.codec is None and kind == "application/json":
            length = found.get(b"content-length", "")
            if not length.isdecimal() or int(length) > _SNIFFED:
                return None
        screen = screen_for(exchange, status=status, content_type=kind, codec=_reply_codec(exchange.call.codec))
        return _Sniffing(screen) if exchange.call.codec is None and isinstance(screen, JsonScreen) else screen

    async def _continue(self, screen: Screen, message: Message) -> None:
        more = message.get("more_body", False)
        out = await arun(_taken(screen, message.get("body", b""), last=not more), aperform)
        if (error := screen.stopped) is None:
            if out or not more:
                await self._pass(out, more=more)
            return
        if self._start is not None and not out:
            await self.deny(error, status=502 if isinstance(error, UnreadableError) else None)
            return
        self.stopped = True
        await self._pass(out + screen.refusal(error), more=False)

    async def _pass(self, out: bytes, *, more: bool) -> None:
        if self._start is not None:
            # The length may have changed; where all is there it is counted, else the server frames the stream.
            declared = self._start["headers"]
            headers = [(name, value) for name, value in declared if name.lower() != b"content-length"]
            if not more and len(headers) < len(declared):
                headers.append((b"content-length", str(len(out)).encode()))
            self._start = {**self._start, "headers": headers}
        await self._flush()
        await self._pass_on({"type": "http.response.body", "body": out, "more_body": more})

    async def _flush(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._pass_on(start)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.streaming = _is_event_stream(message["headers"])
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.streaming = False
        await self._send(message)


class _Sniffing:
    """Looks at JSON that need not come from a model at all: what cannot be read passes as it came."""

    def __init__(self, screen: JsonScreen) -> None:
        self.stopped: HighflameError | None = None
        self._screen = screen
        self._body = bytearray()

    def feed(self, chunk: bytes) -> Flow[bytes]:
        yield from ()
        self._body += chunk
        return b""

    def finish(self) -> Flow[bytes]:
        raw = bytes(self._body)
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return raw
        if codec_for_reply(body) is None:
            return raw
        out = yield from self._screen.feed(raw)
        out += yield from self._screen.finish()
        self.stopped = self._screen.stopped
        return out

    def refusal(self, error: HighflameError) -> bytes:
        return self._screen.refusal(error)


def _is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether an event can still be put in once the reply has begun."""
    found = {name.lower(): value for name, value in headers}
    kind = found.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return kind == b"text/event-stream" and b"content-encoding" not in found and b"content-length" not in found


def _taken(screen: Screen, chunk: bytes, *, last: bool) -> Flow[bytes]:
    out = b""
    if chunk:
        out = yield from screen.feed(chunk)
    if last and screen.stopped is None:
        out += yield from screen.finish()
    return out


def _reply_codec(called: Codec | None) -> Codec:
    """How an application's reply is read: as what it says it is, else, if a model was called, every string."""
    base = called if called is not None else load_codec("openai-chat")
    fallback = load_codec("any-json") if called is not None else None

    def read_reply(body: Any) -> ReplyRead:
        codec = codec_for_reply(body) or fallback
        return codec.read_reply(body) if codec is not None else ReplyRead((), Summary())

    return replace(base, read_reply=read_reply, open_stream=lambda: _Sniffer(fallback))


class _Sniffer:
    """Reads each event in the format that it says it is in."""

    def __init__(self, fallback: Codec | None) -> None:
        self._fallback = fallback
        self._readers: dict[str, Reader] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        codec = codec_for_reply(data) or self._fallback
        if codec is None:
            return EventRead()
        reader = self._readers.get(codec.name)
        if reader is None:
            reader = self._readers[codec.name] = codec.open_stream()
        return reader.read(data, event)
