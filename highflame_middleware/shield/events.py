"""Shield's stream of events: server-sent, bare or wrapped, of known types or not. Pure.

An event's type stands in its ``event:`` line or, wrapped, beside its data. One
that cannot be read is passed over: what counts is the decision, and a stream
that ends without one is no allow.
"""

from __future__ import annotations

from typing import Any

from ..codecs.sse import Splitter, parse_event
from ..errors import APIError, InvalidResponseError
from .fields import text_of
from .messages import MAX_REPLY
from .replies import StreamEvent
from .wire import read_response

__all__ = ["EventReader"]

_ENDS = frozenset({"done", "[DONE]"})


class EventReader:
    """Makes events of a stream's bytes, however they are cut.

    >>> reader = EventReader("x")
    >>> [event.type for event in reader.feed(b'event: decision\\ndata: {"decision": "allow"}\\n\\n')]
    ['decision']
    >>> reader.finish()
    """

    def __init__(self, content: str) -> None:
        self._content = content
        self._splitter = Splitter()
        self._decided = False

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that are whole now."""
        events = [self._read(raw) for raw in self._splitter.feed(chunk)]
        if self._splitter.pending > MAX_REPLY:
            raise InvalidResponseError("Shield's stream holds an event that does not end")
        return [event for event in events if event is not None]

    def finish(self) -> None:
        """The stream has ended; an `InvalidResponseError` where nothing was decided."""
        if not self._decided:
            raise InvalidResponseError("Shield's stream ended without a decision")

    def last(self) -> list[StreamEvent]:
        """The event that the stream broke off in, if it is whole but for its empty line."""
        rest = self._splitter.finish()
        event = self._read(rest) if rest else None
        return [event] if event is not None else []

    def _read(self, raw: bytes) -> StreamEvent | None:
        try:
            event = parse_event(raw)
        except UnicodeDecodeError:
            return None
        payload: Any = event.data
        if not event.is_json or not isinstance(payload, dict):
            return None
        named = text_of(payload.get("type"))
        # Bare data may have a field of that name too: wrapped is what has its data beside it.
        wrapped = named is not None and isinstance(payload.get("data"), dict)
        data = payload["data"] if wrapped else payload
        implied = "decision" if "decision" in data else "detector_result"
        type_ = (named if wrapped else event.name or named) or implied
        if type_ in _ENDS:
            return None
        if type_ == "error":
            self._decided = True
            raise APIError("Shield broke its evaluation off", detail=str(data.get("detail", ""))[:500])
        if type_ != "decision":
            return StreamEvent(type=type_, data=data)
        verdict = read_response(data, self._content)
        self._decided = True
        return StreamEvent(type=type_, data=data, verdict=verdict)
