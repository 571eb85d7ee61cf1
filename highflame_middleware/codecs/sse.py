"""Server-sent events as bytes: split without loss, read, and written back with all but their data as it was.

The bytes of an event that nothing changes are passed on exactly as they came.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .framing import Event, Framing
from .parts import dump_json

__all__ = ["FRAMING", "Event", "Splitter", "parse_event", "render_event", "write_event"]

# An empty line ends an event; a line ends in CR LF, LF or CR. Atomic, so that CR LF is never read as two ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_FIELDS = (b"data", b"event", b"id", b"retry")
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


def parse_event(raw: bytes) -> Event:
    """Read one event; bytes that are not UTF-8 raise `UnicodeDecodeError`.

    >>> parse_event(b'event: delta\\ndata: {"a": 1}\\n\\n').data
    {'a': 1}
    """
    event = Event(raw)
    lines = []
    foreign = False
    # Only CR, LF and CR LF end a line here; str.splitlines knows many more.
    for line in _LINE_END.split(raw.removeprefix(_BYTE_ORDER_MARK)):
        name, colon, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if value.startswith(b" ") else value)
        elif name == b"event":
            event.name = value.strip().decode("utf-8")
        elif name and name not in _FIELDS and (colon or not any(field.startswith(name) for field in _FIELDS)):
            # Without a colon it may be the beginning of a field, where the stream was cut.
            foreign = True
    if lines:
        event.text = b"\n".join(lines).decode("utf-8")
        if event.text.lstrip()[:1] in ("{", "["):
            try:
                event.data = json.loads(event.text)
            except (ValueError, RecursionError):
                return event
            event.is_json = True
    elif foreign:
        event.text, event.foreign = raw.decode("utf-8"), True
    return event


def render_event(event: Event, data: Any) -> bytes:
    """The event's bytes with other data: every line but the data lines stays as it was."""
    body = dump_json(data) if event.is_json else str(data).encode("utf-8", "replace")
    if event.foreign:
        return body
    out = []
    written = False
    start = len(_BYTE_ORDER_MARK) if event.raw.startswith(_BYTE_ORDER_MARK) else 0
    out.append(event.raw[:start])
    for match in _LINE.finditer(event.raw, start):
        line, end = match.groups()
        if line.partition(b":")[0] != b"data":
            out += (line, end)
        elif not written:
            written = True
            out.append((end or b"\n").join(b"data: " + part for part in _LINE_END.split(body)) + end)
    return b"".join(out)


def write_event(name: str | None, data: Any) -> bytes:
    """An event of some JSON data.

    >>> write_event("error", {"a": 1})
    b'event: error\\ndata: {"a":1}\\n\\n'
    """
    head = f"event: {name}\n".encode() if name is not None else b""
    return head + b"data: " + dump_json(data) + b"\n\n"


FRAMING = Framing(
    splitter=Splitter, parse=parse_event, render=render_event, write=write_event, write_error=write_event
)
