"""JSON values one after the other: a line each, or each handed over by itself.

Cohere's first API and Ollama stream lines; some SDKs hand over the JSON text of one event at a time.
"""

from __future__ import annotations

import json
from typing import Any

from .framing import Event, Framing
from .parts import dump_json

__all__ = ["FRAMING", "SEGMENTS"]


class _Lines:
    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._rest += chunk
            return []
        whole = bytes(self._rest) + chunk[:end]
        self._rest = bytearray(chunk[end:])
        # Not splitlines, which knows more ends of lines than JSON's writers do.
        return [line + b"\n" for line in whole[:-1].split(b"\n")]

    def finish(self) -> bytes:
        rest, self._rest = bytes(self._rest), bytearray()
        return rest


class _Segments:
    __slots__ = ()

    pending = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        return [chunk]

    def finish(self) -> bytes:
        return b""


def _parse(raw: bytes) -> Event:
    text = raw.decode("utf-8")
    if not text.strip():
        return Event(raw)
    try:
        return Event(raw, text=text, data=json.loads(text), is_json=True)
    except (ValueError, RecursionError):
        return Event(raw, text=text)


def _render(event: Event, data: Any) -> bytes:
    body = dump_json(data) if event.is_json else str(data).encode("utf-8", "replace")
    return body + b"\n" if event.raw.endswith(b"\n") and not body.endswith(b"\n") else body


def _write_line(name: str | None, data: Any) -> bytes:  # noqa: ARG001 - lines have no names
    return dump_json(data) + b"\n"


FRAMING = Framing(splitter=_Lines, parse=_parse, render=_render, write=_write_line, write_error=_write_line)
# Whatever is fed is one event.
SEGMENTS = Framing(splitter=_Segments, parse=_parse, render=_render, write=_write_line, write_error=_write_line)
