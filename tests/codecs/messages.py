"""Messages of the AWS event stream, as a service would write them."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any
from zlib import crc32

__all__ = ["header", "message", "wrapped"]


def header(name: str, value: str) -> bytes:
    """One header that is text."""
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()


def message(kind: str | None, payload: Any, *, extra: bytes = b"") -> bytes:
    """An event of a type; the payload as JSON, or bytes as they are, or none."""
    headers = extra
    if kind is not None:
        headers = header(":event-type", kind) + header(":content-type", "application/json")
        headers += header(":message-type", "event") + extra
    if payload is None:
        payload = b""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return body + struct.pack("!I", crc32(body))


def wrapped(data: Any, **beside: str) -> dict[str, str]:
    """The payload of a model's own event."""
    content = data.encode() if isinstance(data, str) else json.dumps(data, separators=(",", ":")).encode()
    return {"bytes": base64.b64encode(content).decode(), **beside}
