"""What goes to Shield and what comes back, as plain values; and the ops that a flow asks a driver for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..flow import Op

if TYPE_CHECKING:
    from .flights import Flight

__all__ = ["MAX_REPLY", "Incoming", "Join", "Outgoing", "Pause", "Send"]

MAX_REPLY = 16 * 1024 * 1024  # bytes of an answer; what is longer is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request. Headers and body hold secrets and texts: they are in no repr."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Whom an error may name."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One answer, its header names in lower case; ``body`` is there where it is still to be read."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    body: Any = field(default=None, repr=False)

    @property
    def is_success(self) -> bool:
        """Whether it is what was asked for."""
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """Seconds that are asked for before the next attempt."""
        given = self.headers.get("retry-after", "").strip()
        if given.isascii() and given.isdigit():
            return float(given[:9])
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time()) if given else None
        except (ValueError, OverflowError):
            return None


class Send(Op[Incoming]):
    """Send a request, once, and read its answer; ``streamed`` leaves the body of a good one unread.

    An answer that is longer than ``most`` bytes, `MAX_REPLY` by default, is none.
    """

    __slots__ = ("most", "request", "seconds", "streamed")

    def __init__(
        self, request: Outgoing, seconds: float, *, streamed: bool = False, most: int | None = None
    ) -> None:
        self.request, self.seconds, self.streamed, self.most = request, seconds, streamed, most


class Pause(Op[None]):
    """Wait."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Join(Op[bool]):
    """Wait until somebody else's exchange has ended, on whatever thread or loop; false when it takes too long."""

    __slots__ = ("flight", "seconds")

    def __init__(self, flight: Flight, seconds: float) -> None:
        self.flight, self.seconds = flight, seconds
