"""The AWS event stream: binary messages with headers, a payload, and a checksum over each part.

A message's prelude says how long it is and has a checksum of its own, which is
looked at as soon as it has come, so that no length is believed that was not
meant; the checksum over all of it is looked at when it is parsed.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from .framing import Event, Framing
from .parts import dump_json

__all__ = ["FRAMING"]

_PRELUDE = struct.Struct("!II")
_CHECKSUM = struct.Struct("!I")
# The prelude with its checksum; and the least that a message can be: one without headers or payload.
_START = _PRELUDE.size + _CHECKSUM.size
_SHORTEST = _START + _CHECKSUM.size
# What AWS itself allows: beyond that no client would read it either.
_MAX_HEADERS = 128 * 1024
_MAX_PAYLOAD = 24 * 1024 * 1024
# How long a header's value is, by its type; of bytes and text the length stands before them.
_SIZES: Mapping[int, int] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7
# The error that every service with such streams knows; errors under another name tell their reader nothing.
_ERROR = "validationException"
# Models' events are wrapped once more: encoded JSON, or an agent's text, with padding beside it.
_WRAPPING = "chunk"
_WRAPPED = "bytes"
_PADDING = "p"


class _Splitter:
    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that are whole now. What cannot be read stays, to be given by `finish`."""
        self._rest += chunk
        messages = []
        start = 0
        try:
            while length := _length(self._rest, start):
                messages.append(bytes(self._rest[start : start + length]))
                start += length
        except ValueError:
            # What came before it is told first, and of this one when more is asked for.
            if not messages:
                raise
        del self._rest[:start]
        return messages

    def finish(self) -> bytes:
        rest, self._rest = bytes(self._rest), bytearray()
        return rest


def _length(held: bytearray, start: int) -> int:
    """How long the message is that begins here, or 0 while not all of it is there."""
    if len(held) - start < _START:
        return 0
    length, _ = _lengths(held, start)
    return length if len(held) - start >= length else 0


def _lengths(raw: bytes | bytearray, start: int = 0) -> tuple[int, int]:
    """The length of the message that begins here, and that of its headers."""
    length, headers = _PRELUDE.unpack_from(raw, start)
    (checksum,) = _CHECKSUM.unpack_from(raw, start + _PRELUDE.size)
    if crc32(raw[start : start + _PRELUDE.size]) != checksum:
        raise ValueError("the checksum of a message's prelude is wrong")
    if headers > _MAX_HEADERS or not 0 <= length - headers - _SHORTEST <= _MAX_PAYLOAD:
        raise ValueError("a message has lengths that cannot be")
    return length, headers


def _parse(raw: bytes) -> Event:
    if len(raw) < _SHORTEST:
        raise ValueError("a message is cut short")
    length, size = _lengths(raw)
    if len(raw) != length:
        raise ValueError("a message is cut short")
    (checksum,) = _CHECKSUM.unpack_from(raw, length - _CHECKSUM.size)
    if crc32(raw[: -_CHECKSUM.size]) != checksum:
        raise ValueError("the checksum of a message is wrong")
    headers = _read_headers(raw[_START : _START + size])
    name = headers.get(":event-type") or headers.get(":exception-type")
    payload = raw[_START + size : -_CHECKSUM.size]
    event = Event(raw, name=name)
    if not payload:
        return event
    event.text = payload.decode("utf-8")
    event.is_json, event.data = _loaded(event.text)
    if (inner := _unwrapped(event.data)) is None:
        return event
    if event.data.keys() - {_WRAPPED, _PADDING}:
        event.data = {**event.data, _WRAPPED: inner}
        return event
    event.text = inner
    event.is_json, event.data = _loaded(inner)
    return event


def _read_headers(block: bytes) -> dict[str, str]:
    """The headers that are text, by name."""
    headers: dict[str, str] = {}
    seen = set()
    at = 0
    try:
        while at < len(block):
            name, at = _take(block, at + 1, block[at])
            kind, at = block[at], at + 1
            if kind in (_BYTES, _TEXT):
                value, at = _take(block, at + 2, int.from_bytes(block[at : at + 2], "big"))
            else:
                value, at = _take(block, at, _SIZES[kind])
            if name in seen:
                raise ValueError("a message has a header twice")
            seen.add(name)
            if kind == _TEXT:
                headers[name.decode("utf-8")] = value.decode("utf-8")
    except (IndexError, KeyError):
        raise ValueError("a message has headers that cannot be read") from None
    return headers


def _take(block: bytes, start: int, size: int) -> tuple[bytes, int]:
    if start + size > len(block):
        raise IndexError
    return block[start : start + size], start + size


def _loaded(text: str) -> tuple[bool, Any]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return True, json.loads(text)
        except (ValueError, RecursionError):
            pass
    return False, None


def _unwrapped(payload: Any) -> str | None:
    """The text that is wrapped in a payload, or nothing; what is no text raises `ValueError`."""
    wrapped = payload.get(_WRAPPED) if isinstance(payload, dict) else None
    return b64decode(wrapped).decode("utf-8") if isinstance(wrapped, str) else None


def _render(event: Event, data: Any) -> bytes:
    """The message's bytes with other data: its headers, and what stands beside the data, stay as they were."""
    raw = event.raw
    _, size = _lengths(raw)
    _, payload = _loaded(raw[_START + size : -_CHECKSUM.size].decode("utf-8"))
    body = dump_json(data) if event.is_json else str(data).encode("utf-8", "replace")
    if _unwrapped(payload) is not None:
        if payload.keys() - {_WRAPPED, _PADDING}:
            payload, body = data, str(data[_WRAPPED]).encode("utf-8", "replace")
        body = dump_json({**payload, _WRAPPED: b64encode(body).decode("ascii")})
    return _message(raw[_START : _START + size], body)


def _message(headers: bytes, payload: bytes) -> bytes:
    prelude = _PRELUDE.pack(_SHORTEST + len(headers) + len(payload), len(headers))
    message = prelude + _CHECKSUM.pack(crc32(prelude)) + headers + payload
    return message + _CHECKSUM.pack(crc32(message))


def _write_error(name: str | None, data: Any) -> bytes:
    """An exception, which the SDKs raise; errors of other formats become one that they know."""
    if name is None or not name.endswith("Exception"):
        said = data.get("error", data) if isinstance(data, dict) else data
        said = said.get("message") if isinstance(said, dict) else said
        name, data = _ERROR, {"message": said if isinstance(said, str) else ""}
    return _new("exception", name, data)


def _write(name: str | None, data: Any) -> bytes:
    """A new event; those that say themselves what they are, as a model's own do, are wrapped like a model's."""
    if name is None or name == _WRAPPING or (isinstance(data, dict) and data.get("type") == name):
        name, data = _WRAPPING, {_WRAPPED: b64encode(dump_json(data)).decode("ascii")}
    return _new("event", name, data)


def _new(kind: str, name: str, data: Any) -> bytes:
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    return _message(b"".join(_header(*header) for header in headers.items()), dump_json(data))


def _header(name: str, value: str) -> bytes:
    key, content = name.encode(), value.encode()
    return bytes([len(key)]) + key + bytes([_TEXT]) + len(content).to_bytes(2, "big") + content


FRAMING = Framing(splitter=_Splitter, parse=_parse, render=_render, write=_write, write_error=_write_error)
