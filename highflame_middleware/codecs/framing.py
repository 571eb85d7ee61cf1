"""How a stream's bytes are cut into events, and how an event is written back: one framing for each content type.

A framing knows bytes and JSON, no API format; a codec's reader knows the
format and no bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Event", "Framing", "Splitter"]


@dataclass(slots=True)
class Event:
    """One event: its bytes, its name, and its data: decoded JSON, or the text itself where it is none.

    ``foreign`` says that it is none: its lines are of no field, its text is all of it.
    """

    raw: bytes
    name: str | None = None
    text: str | None = None
    data: Any = None
    is_json: bool = False
    foreign: bool = False

    @property
    def done(self) -> bool:
        """Whether this is OpenAI's end-of-stream marker."""
        return self.text is not None and self.text.startswith("[DONE]")


class Splitter(Protocol):
    """Cuts a byte stream into events, wherever the chunks were cut; what cannot be cut raises `ValueError`."""

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished event are held."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are whole now."""
        ...

    def finish(self) -> bytes:
        """What is left: an event that was never finished, or nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Framing:
    """One way of writing events as bytes.

    ``parse`` raises `ValueError` for bytes that are no event; ``render`` writes
    an event with other data, leaving all the rest of it as it was;
    ``write`` writes a new event, by name and data, and ``write_error`` the one
    that tells a reader of an error.
    """

    splitter: Callable[[], Splitter]
    parse: Callable[[bytes], Event]
    render: Callable[[Event, Any], bytes]
    write: Callable[[str | None, Any], bytes]
    write_error: Callable[[str | None, Any], bytes]
