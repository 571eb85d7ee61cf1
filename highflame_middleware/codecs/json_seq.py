"""JSON text sequences (RFC 7464): each value between a record separator and an end of line."""

from __future__ import annotations

import json
from typing import Any

from .framing import Event, Framing
from .parts import dump_json

__all__ = ["FRAMING"]

_SEPARATOR = b"\x1e"


class _Records:
    """A value is whole where the next one begins, or where a line ends and it can be read."""

    __slots__ = ("_rest", "_searched", "_tried")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 1
        self._tried = 0

    @property
    def pending(self) -> int:
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        self._rest += chunk
        records = []
        while (end := self._rest.find(_SEPARATOR, self._searched)) >= 0:
            records.append(self._cut(end))
        self._searched = max(1, len(self._rest))
        # A value over many lines is tried again only once there is twice as much of it: all trials cost O(value).
        if self._rest.endswith(b"\n") and len(self._rest) >= 2 * self._tried:
            self._tried = len(self._rest)
            if _is_whole(self._rest):
                records.append(self._cut(len(self._rest)))
        return records

    def finish(self) -> bytes:
        return self._cut(len(self._rest))

    def _cut(self, end: int) -> bytes:
        record = bytes(self._rest[:end])
        del self._rest[:end]
        self._searched, self._tried = 1, 0
        return record


def _is_whole(record: bytearray) -> bool:
    try:
        json.loads(record.removeprefix(_SEPARATOR))
    except (ValueError, RecursionError):
        return False
    return True


def _parse(raw: bytes) -> Event:
    text = raw.removeprefix(_SEPARATOR).decode("utf-8")
    if not text.strip():
        return Event(raw)
    try:
        return Event(raw, text=text, data=json.loads(text), is_json=True)
    except (ValueError, RecursionError):
        return Event(raw, text=text)


def _render(event: Event, data: Any) -> bytes:
    body = dump_json(data) if event.is_json else str(data).encode("utf-8", "replace")
    start = _SEPARATOR if event.raw.startswith(_SEPARATOR) else b""
    return start + body + (b"\n" if event.raw.endswith(b"\n") and not body.endswith(b"\n") else b"")


def _write(name: str | None, data: Any) -> bytes:  # noqa: ARG001 - records have no names
    return _SEPARATOR + dump_json(data) + b"\n"


FRAMING = Framing(splitter=_Records, parse=_parse, render=_render, write=_write, write_error=_write)
