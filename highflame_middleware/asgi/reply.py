"""The application's reply on its way out: held until its screen lets it go, or answered in its place.

``http.response.start``, and whatever the application sends before its body, wait for the first bytes that may be
passed on, so that a stopped reply can still become another answer. What says nothing about a body (early hints,
debug) passes in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from ..asgi_types import Message, Send
from ..codecs import framing_for, load_codec
from ..codecs.framing import Framing
from ..codecs.parts import Text
from ..denial import deny
from ..drivers import aperform
from ..errors import GuardError, HighflameError, UnreadableError
from ..exchange import Exchange
from ..flow import Flow, Op, arun
from ..screens import Screen, refusal_of
from ..types import Stage
from .screening import Notices, is_guarded, kind_of, screen_of
from .selectors import Selection

__all__ = ["Answer", "Responder"]

_Header: TypeAlias = tuple[bytes, bytes]

# What a header says of the body's bytes: true only as long as these stay as they came.
_DIGESTS = frozenset(
    {b"etag", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"signature", b"signature-input"}
)
# The application's word on who may read its answer holds for an answer in its place too.
_SHARED = (b"access-control-", b"vary", b"timing-allow-origin", b"cross-origin-resource-policy")
# Bodies that never come through here: files that the server itself is to send.
_UNSEEN = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class Answer(Protocol):
    """How an error is told through a ``send``: with a start and a body, as an application would."""

    async def __call__(self, send: Send, error: HighflameError, *, status: int | None) -> None:
        """Answer; ``status`` where it is known better than by the error."""
        ...


class Responder:
    """One request's ``send``: adds the request id, and guards the reply.

    ``selection`` names the texts of the application's own JSON, ``notices``
    remembers which warnings have been given. ``answer`` tells an error in the
    application's place, ``perform`` asks the guard. ``raises`` says that the
    application has been promised an OSError once nobody reads on.
    """

    def __init__(
        self,
        send: Send,
        exchange: Exchange | None,
        request_id: str,
        *,
        raises: bool,
        selection: Selection | None = None,
        notices: Notices | None = None,
        answer: Answer | None = None,
        perform: Callable[[Op[Any]], Awaitable[Any]] = aperform,
    ) -> None:
        self._send, self._exchange, self._raises = send, exchange, raises
        self._selection, self._notices = selection, notices
        self._answer, self._perform = answer or _answer, perform
        self._request_id = request_id.encode("latin-1")
        self._held: list[Message] = []
        self._screen: Screen | None = None
        # Says of chunks that they pass as they are, once the reply has begun.
        self._passes: Callable[[bytes], bool] | None = None
        self._changes = False
        self._framing: Framing | None = None
        self._trailers = False
        self._sums: tuple[Any, Any] | None = None
        self.started = False
        self.stopped = False
        # Whether the last message of the reply has been given, so that nothing is left to be cut short.
        self.finished = False

    @property
    def streaming(self) -> bool:
        """Whether the reply that has begun can still be told why it ends: it is a stream of events."""
        return self._framing is not None and not self.finished

    def take_over(self, start: Message, last: Message) -> None:
        """Go on with a reply that has gone out unseen: with its start, and the last of its messages so far."""
        self._note(start)
        self._note(last)

    def send(self, message: Message) -> Awaitable[None]:
        """Take one message of the application's reply."""
        passes = self._passes
        if passes is not None and message.get("more_body") and passes(message.get("body", b"")):
            # What most streams are made of: nothing is to be done, so as little as can be is.
            return self._send(message)
        return self._take(message)

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if self.stopped:
            if self._raises:
                # How a server tells an application that its caller has gone: nobody reads on.
                raise OSError("the reply was stopped by a guard")
            return
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._screen is not None:
            await self._continue(self._screen, message)
        elif kind in _UNSEEN and self._screen is not None:
            await self._send_unseen(message)
        elif kind == "http.response.trailers" and self._changes:
            await self._pass_on({**message, "headers": _undigested(_pairs(message))})
        elif self._held:
            self._held.append(message)
        else:
            await self._pass_on(message)

    async def deny(self, error: Any, *, status: int | None = None) -> None:
        """Answer in the application's place, or say no in the middle of its stream of events."""
        if self.streaming:
            codec = self._exchange.call.codec if self._exchange is not None else None
            await self._end(refusal_of(codec or load_codec("openai-chat"), self._framing, error))
            return
        declared = self._held[0]["headers"] if self._held else ()
        shared = [item for item in declared if item[0].lower().startswith(_SHARED)]
        self._held = []
        self.stopped = True

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*self._identified(message), *shared]}
            await self._pass_on(message)

        await self._answer(send, error, status=status)

    async def _begin(self, message: Message) -> None:
        if self.started or self._held:
            # Twice: that is for the server to refuse, and the screen of the first one stays.
            await self._flush()
            await self._send(message)
            return
        headers = self._identified(message)
        message = {**message, "headers": headers}
        exchange = self._exchange
        if exchange is not None and exchange.policy.guard is not None:
            found = {name.lower(): value for name, value in headers}
            self._screen = screen_of(
                exchange, message["status"], found, selection=self._selection, notices=self._notices
            )
        if self._screen is None:
            await self._pass_on(message)
            return
        self._held = [message]
        # Where nothing is held back nothing is changed, and what is said of the body stays true.
        self._changes = exchange is not None and exchange.policy.holds
        if self._changes and not _DIGESTS.isdisjoint(found):
            self._sums = (hashlib.sha256(), hashlib.sha256())

    def _identified(self, message: Message) -> list[_Header]:
        headers = _pairs(message)
        if not any(name.lower() == b"x-request-id" for name, _ in headers):
            headers.append((b"x-request-id", self._request_id))
        return headers

    async def _continue(self, screen: Screen, message: Message) -> None:
        more = message.get("more_body", False)
        chunk = message.get("body", b"")
        out = await arun(_taken(screen, chunk, last=not more), self._perform)
        if self._sums is not None:
            self._sums[0].update(chunk)
            self._sums[1].update(out)
        if (error := screen.stopped) is None:
            if out or not more:
                await self._pass(out, more=more)
            return
        if self._held and not out:
            await self.deny(error, status=502 if isinstance(error, UnreadableError) else None)
            return
        await self._end(out + screen.refusal(error))

    async def _send_unseen(self, message: Message) -> None:
        """The server is to send a file that nobody has seen: this was not offered where the reply counts."""
        exchange = self._exchange
        assert exchange is not None
        self._screen = None
        if exchange.policy.strict and is_guarded(exchange, self._selection):
            why = f"The reply to {exchange.call.path} is a file that the server sends by itself: it was not guarded"
            exchange.note(Text((), "", Stage.RESPONSE, "assistant"), GuardError(why), enforced=True)
            await (self._end(b"") if self.started else self.deny(UnreadableError(why), status=502))
            return
        await self._flush()
        await self._pass_on(message)

    async def _pass(self, out: bytes, *, more: bool) -> None:
        if self._held and self._changes:
            start = self._held[0]
            # The length may have changed; where all is there it is counted, else the server frames the stream.
            declared: Sequence[_Header] = start["headers"]
            headers = [(name, value) for name, value in declared if name.lower() != b"content-length"]
            if not more and len(headers) < len(declared):
                headers.append((b"content-length", str(len(out)).encode()))
            if self._sums is not None and (more or self._sums[0].digest() != self._sums[1].digest()):
                headers = _undigested(headers)
            self._held[0] = {**start, "headers": headers}
        await self._flush()
        if self._sums is None:
            self._passes = getattr(self._screen, "passes", None)
        await self._pass_on({"type": "http.response.body", "body": out, "more_body": more})

    async def _end(self, last: bytes) -> None:
        """These are the last bytes, whatever the application still has to say."""
        self.stopped = True
        await self._pass(last, more=False)
        self._passes = None
        if self._trailers:
            await self._send({"type": "http.response.trailers", "headers": [], "more_trailers": False})

    async def _flush(self) -> None:
        held, self._held = self._held, []
        for message in held:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        self._note(message)
        await self._send(message)

    def _note(self, message: Message) -> None:
        """How far the reply has come with a message that goes out."""
        kind = message["type"]
        if kind == "http.response.start":
            self.started = True
            self._trailers = bool(message.get("trailers", False))
            self._framing = _open_framing(message["headers"])
        elif kind == "http.response.body":
            self.finished = not message.get("more_body", False)
        elif kind == "http.response.pathsend":
            self.finished = True


async def _answer(send: Send, error: HighflameError, *, status: int | None) -> None:
    denial = deny(error, status=status)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in denial.headers]
    await send({"type": "http.response.start", "status": denial.status, "headers": headers})
    await send({"type": "http.response.body", "body": denial.body, "more_body": False})


def _pairs(message: Message) -> list[_Header]:
    return [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]


def _undigested(headers: Iterable[_Header]) -> list[_Header]:
    return [(name, value) for name, value in headers if name.lower() not in _DIGESTS]


def _open_framing(headers: Iterable[_Header]) -> Framing | None:
    """How an event can still be put in once a reply has begun, if it can."""
    found = {name.lower(): value for name, value in headers}
    if b"content-encoding" in found or b"content-length" in found:
        return None
    return framing_for(kind_of(found.get(b"content-type", b"").decode("latin-1")))


def _taken(screen: Screen, chunk: bytes, *, last: bool) -> Flow[bytes]:
    out = b""
    if chunk:
        out = yield from screen.feed(chunk)
    if last and screen.stopped is None:
        out += yield from screen.finish()
    return out
