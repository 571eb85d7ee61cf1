"""The rest of a form that is longer than what is read at once: judged as the application receives it.

Files pass as they come; a field is held until it is whole and judged. Where one is stopped, the request is answered
here, and the application hears that its caller has left: no framework calls its endpoint before a form is complete.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..asgi_types import Receive
from ..codecs.parts import Text
from ..errors import HighflameError, UnreadableError
from ..exchange import Exchange, judge
from ..flow import Op, arun
from ..guard.verdict import worst
from ..types import Stage
from .forms import Field, Multipart, Piece, written

__all__ = ["Upload"]


class Upload:
    """One form on its way: ``begun`` is what of it has been judged already. ``deny`` answers the request."""

    def __init__(
        self,
        begun: bytes,
        reader: Multipart,
        receive: Receive,
        exchange: Exchange,
        *,
        perform: Callable[[Op[Any]], Awaitable[Any]],
        deny: Callable[[HighflameError], Awaitable[None]],
    ) -> None:
        self._begun: bytes | None = begun
        self._reader: Multipart | None = reader
        self._source, self._exchange = receive, exchange
        self._perform, self._deny = perform, deny
        self._stopped = False

    async def receive(self) -> Any:
        """The next message for the application."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            return {"type": "http.request", "body": begun, "more_body": True}
        while not self._stopped:
            message = await self._source()
            if message["type"] != "http.request" or self._reader is None:
                return message
            more = message.get("more_body", False)
            try:
                out = await self._taken(self._reader, message.get("body", b""), more=more)
            except HighflameError as error:
                self._stopped = True
                await self._deny(error)
                break
            if out or not more:
                return {"type": "http.request", "body": out, "more_body": more}
        return {"type": "http.disconnect"}

    async def _taken(self, reader: Multipart, content: bytes, *, more: bool) -> bytes:
        try:
            pieces: list[Piece] = reader.feed(content)
            if not more:
                pieces += reader.finish()
        except UnreadableError:
            if self._exchange.policy.strict:
                raise
            # It passes unread from here on, with what has been held back of it.
            self._reader = None
            return reader.give_up()
        fields = [piece for piece in pieces if isinstance(piece, Field)]
        texts = [Text((index,), item.value, Stage.PROMPT) for index, item in enumerate(fields)]
        rulings = await arun(judge(self._exchange, texts, sent=True), self._perform)
        if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
            raise error
        values = [item.value for item in fields]
        for index, ruling in enumerate(rulings):
            if ruling.text is not None:
                values[index] = ruling.text
        return written(pieces, values)
