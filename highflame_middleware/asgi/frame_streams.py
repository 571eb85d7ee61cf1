"""Frames whose texts grow from one to the next, as a model writes them: held back until they are cleared.

One frame is one event of a stream. What stands at the same place in successive frames is one text, which ends where
a frame goes on with none of those that are open, and where the application has said all: when it waits for its
client, or closes. One that receives in another task than it sends never says so; there a frame of another kind has
to say that a text has ended, for clients must not be able to cut one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..asgi_types import Message
from ..codecs.framing import Event
from ..codecs.lines import SEGMENTS
from ..codecs.parts import Channel, EventRead, Reader
from ..errors import HighflameError
from ..exchange import Exchange
from ..flow import Flow
from ..screens import EventScreen
from .screening import stream_codec
from .selectors import Selection

__all__ = ["FrameStream"]


class FrameStream:
    """The frames that an application sends on one connection, those of a turn after the other.

    ``stopped`` is why the rest of a turn is not let out.
    """

    def __init__(
        self, exchange: Exchange, selection: Selection | None, decode: Callable[[str | bytes], tuple[Any, bool]]
    ) -> None:
        self.stopped: HighflameError | None = None
        self._exchange, self._selection, self._decode = exchange, selection, decode
        self._frames: deque[tuple[Message, bytes]] = deque()
        self._is_text = True
        self._begin()

    def feed(self, message: Message) -> Flow[list[Message]]:
        """Take a frame; give those that may be sent now, in their order."""
        if self.stopped is not None:
            return []
        self._is_text = message.get("bytes") is None
        frame = message.get("text") if self._is_text else message["bytes"]
        raw = frame.encode("utf-8", "replace") if isinstance(frame, str) else bytes(frame or b"")
        self._frames.append((message, raw))
        return self._released((yield from self._screen.advance(raw)))

    def conclude(self) -> Flow[list[Message]]:
        """The application has said all, for now: give what was held, and begin anew."""
        out = [] if self.stopped is not None else self._released((yield from self._screen.conclude()))
        stopped = self.stopped
        self._begin()
        self.stopped = stopped
        return out

    def go_on(self) -> None:
        """What comes next is another turn, whatever became of the last one."""
        self.stopped = None

    def _begin(self) -> None:
        codec = stream_codec(self._selection)
        framing = replace(SEGMENTS, parse=self._parse)
        reader = _TurnReader(codec.open_stream())
        self._screen = EventScreen(self._exchange, replace(codec, open_stream=lambda: reader), framing)
        self._frames.clear()
        self.stopped = None

    def _released(self, out: list[bytes]) -> list[Message]:
        self.stopped = self._screen.stopped
        messages = []
        for raw in out:
            if not self._frames:
                break
            message, before = self._frames.popleft()
            if raw != before:
                text = message.get("bytes") is None
                message = {**message, "text": raw.decode("utf-8", "replace")} if text else {**message, "bytes": raw}
            messages.append(message)
        return messages

    def _parse(self, raw: bytes) -> Event:
        """A frame as an event: what is binary and no JSON holds nothing to judge."""
        try:
            body, is_json = self._decode(raw.decode("utf-8") if self._is_text else raw)
        except HighflameError as error:
            raise ValueError(str(error)) from None
        if is_json:
            return Event(raw, text="", data=body, is_json=True)
        return Event(raw, text=body) if self._is_text and body else Event(raw)


class _TurnReader:
    """Reads frames, and says which texts have ended: those that are open, where a frame goes on with none."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._open: set[Channel] = set()

    def read(self, data: Any, event: str | None) -> EventRead:
        read = self._reader.read(data, event)
        channels = {text.channel for text in read.texts if text.channel is not None}
        if not channels.isdisjoint(self._open):
            self._open |= channels
            return read
        ended, self._open = self._open, channels
        return replace(read, closes=(*read.closes, *ended))
