"""Server-sent events as bytes: split without loss, read, and written back in the sender's own line ends.

The bytes of an event that nothing changes are passed on exactly as they came.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .parts import dump_json

__all__ = ["Event", "Splitter", "parse_event", "render_event"]

# An empty line ends an event; a line ends in CR LF, LF or CR. Atomic, so that CR LF is never read as two ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Splitter:
    """Cuts a byte stream after each empty line, wherever the chunks were cut.

    >>> splitter = Splitter()
    >>> splitter.feed(b"data: 1\\n"), splitter.feed(b"\\ndata: 2"), splitter.finish()
    ([], [b'data: 1\\n\\n'], b'data: 2')
    """

    __slots__ = ("_rest", "_searched")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished event are held."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are whole now."""
        self._rest += chunk
        events = []
        start = 0
        while match := _BLANK_LINE.search(self._rest, max(start, self._searched)):
            # Where CR LF CR stands at the end of a chunk, the LF to come begins the next event as an empty line.
            events.append(bytes(self._rest[start : match.end()]))
            start = match.end()
        if start:
            del self._rest[:start]
        # A blank line is at most four bytes: it may have begun in the last three.
        self._searched = max(0, len(self._rest) - 3)
        return events

    def finish(self) -> bytes:
        """What is left: an event that never got its empty line, or nothing."""
        rest = bytes(self._rest)
        self._rest.clear()
        self._searched = 0
        return rest


@dataclass(slots=True)
class Event:
    """One event: its bytes, its name, and its data: decoded JSON, or the text itself where it is none."""

    raw: bytes
    name: str | None = None
    text: str | None = None
    data: Any = None
    is_json: bool = False

    @property
    def done(self) -> bool:
        """Whether this is OpenAI's end-of-stream marker."""
        return self.text is not None and self.text.startswith("[DONE]")


def parse_event(raw: bytes) -> Event:
    """Read one event; bytes that are not UTF-8 raise `UnicodeDecodeError`.

    >>> parse_event(b'event: delta\\ndata: {"a": 1}\\n\\n').data
    {'a': 1}
    """
    event = Event(raw)
    lines = []
    # Only CR, LF and CR LF end a line here; str.splitlines knows many more.
    for line in _LINE_END.split(raw.removeprefix(_BYTE_ORDER_MARK)):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if value.startswith(b" ") else value)
        elif name == b"event":
            event.name = value.strip().decode("utf-8")
    if lines:
        event.text = b"\n".join(lines).decode("utf-8")
        if event.text.lstrip()[:1] in ("{", "["):
            try:
                event.data = json.loads(event.text)
            except (ValueError, RecursionError):
                return event
            event.is_json = True
    return event


def render_event(event: Event, data: Any) -> bytes:
    """The event's bytes with other data: every line but the data lines stays as it was."""
    body = dump_json(data) if event.is_json else str(data).encode()
    newline = match.group() if (match := _LINE_END.search(event.raw)) else b"\n"
    out = []
    written = False
    for line in _LINE_END.split(event.raw.rstrip(b"\r\n")):
        if line.partition(b":")[0] != b"data":
            out.append(line)
        elif not written:
            out.extend(b"data: " + part for part in body.split(b"\n"))
            written = True
    return newline.join(out) + newline * 2
