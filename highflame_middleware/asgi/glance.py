"""Replies to requests that tell of no model: most pass at a glance; what may be a model's goes to a `Responder`.

A glance is all that most requests of an application cost: its pages, its probes, its reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..asgi_types import Message, Send
from ..codecs import framing_for
from .reply import Responder
from .reports import tagged
from .screening import is_told, telling_kind

__all__ = ["Glance"]

_CONTENT = frozenset({"http.response.body", "http.response.pathsend"})


class Glance:
    """One request's ``send``: adds the request id, and looks whether the reply is to be screened.

    ``respond`` makes what screens it, and what answers in its place; it is told
    whether the reply has begun unseen, its start carrying all that it should.
    """

    __slots__ = ("_further", "_held", "_last", "_looks", "_request_id", "_respond", "_responder", "_send", "_start")

    def __init__(
        self,
        send: Send,
        request_id: str,
        further: Sequence[tuple[bytes, bytes]],
        respond: Callable[[bool], Responder],
        *,
        looks: bool,
    ) -> None:
        self._send, self._request_id, self._further = send, request_id, further
        self._respond, self._looks = respond, looks
        self._responder: Responder | None = None
        self._start: Message | None = None
        self._last: Message | None = None
        self._held = False

    async def responder(self) -> Responder:
        """What answers in the reply's place, as far as that has not gone out."""
        if self._responder is None:
            start, held = self._start, self._held
            self._responder = self._respond(start is not None and not held)
            if start is not None and held:
                await self._responder.send(start)
            elif start is not None and self._last is not None:
                self._responder.take_over(start, self._last)
        return self._responder

    def send(self, message: Message) -> Awaitable[None]:
        """Take one message of the application's reply."""
        # No coroutine of its own: streams have very many messages.
        responder = self._responder
        if responder is not None:
            return responder.send(message)
        what = message["type"]
        if self._held:
            return self._look(message)
        # One that comes twice is for the server to refuse.
        if what == "http.response.start" and self._start is None:
            headers = message.get("headers", ())
            if not isinstance(headers, list | tuple):
                # Read more than once from here on.
                message = {**message, "headers": list(headers)}
            kind = telling_kind(message["status"], message.get("headers", ())) if self._looks else ""
            if kind and framing_for(kind) is not None:
                self._responder = self._respond(False)
                return self._responder.send(message)
            if kind:
                self._start, self._held = message, True
                return _at_once()
            self._start = self._last = message = tagged(message, self._request_id, self._further)
        elif what in _CONTENT:
            self._last = message
        return self._send(message)

    async def _look(self, message: Message) -> None:
        """Look at what follows the start of a reply that may come from a model."""
        if (
            self._start is not None
            and message["type"] == "http.response.body"
            and not message.get("more_body", False)
            and not is_told(message.get("body", b""))
        ):
            self._held = False
            self._start = tagged(self._start, self._request_id, self._further)
            await self._send(self._start)
            self._last = message
            await self._send(message)
        else:
            await (await self.responder()).send(message)


async def _at_once() -> None:
    """Nothing is to be waited for."""
