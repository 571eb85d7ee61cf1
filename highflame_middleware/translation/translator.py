"""What a format's translator is: wire JSON to a `Conversation` and its like, and back. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .conversation import Conversation, Delta, Reply

__all__ = ["StreamReader", "StreamWriter", "Translator", "UntranslatableError", "WrittenCall"]


class UntranslatableError(ValueError):
    """A call or reply holds what the other format has no words for; the message says what, by name only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCall:
    """A call in a format: the path below the API's base URL, the body, and the parameters that were left out."""

    path: str
    body: Any
    dropped: tuple[str, ...] = ()


class StreamReader(Protocol):
    """Reads one stream's events, in order."""

    def read(self, data: Any, event: str | None) -> Sequence[Delta]:
        """What one event says: its decoded data and its name."""
        ...

    def finish(self) -> Sequence[Delta]:
        """What is still to be said when the bytes have ended; at the latest now `Ended`, once."""
        ...


class StreamWriter(Protocol):
    """Writes one stream's events, in order."""

    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The events, name and data, that say a delta."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """One format. ``name`` is its codec's. Reading wrong shapes never raises anything but `UntranslatableError`.

    ``read_call`` takes the body and the path it is posted to; ``write_stream``
    the model to name where the stream names none. ``done`` is what ends a
    stream as bare text (OpenAI's ``[DONE]``), or nothing. ``answer_stream`` is
    ``write_stream`` for formats whose streams depend on what the call (its body,
    in this format) asked for. ``content_type`` is that of the streams it writes.
    """

    name: str
    read_call: Callable[[Any, str], Conversation]
    write_call: Callable[[Conversation], WrittenCall]
    read_reply: Callable[[Any], Reply]
    write_reply: Callable[[Reply], Any]
    read_stream: Callable[[], StreamReader]
    write_stream: Callable[[str | None], StreamWriter]
    done: str | None = None
    answer_stream: Callable[[str | None, Any], StreamWriter] | None = None
    content_type: str = "text/event-stream"
