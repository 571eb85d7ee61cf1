"""Replies that are nothing but text, judged while they stream: what is cleared leaves, the rest waits for more."""

from __future__ import annotations

import codecs
import re
from collections import deque

from ..codecs.parts import Text
from ..errors import GuardError, HighflameError, UnreadableError
from ..exchange import Exchange
from ..flow import Flow
from ..gauges import Step, gauge_for
from ..guard.redaction import apply_entries
from ..screens import MAX_HELD
from ..types import RedactionEntry, Stage

__all__ = ["TextScreen"]

# Character sets in which a text that is read and written again has the bytes that it had.
_FAITHFUL = re.compile(
    r"(utf[-_]?8|us-ascii|ascii|iso[-_]?8859-\d{1,2}|latin-?1|(windows-|cp)125\d|koi8-[ru])?", re.IGNORECASE
)


class TextScreen:
    """A reply that is one text from its first byte to its last.

    ``charset`` is what the reply says that it is written in, UTF-8 where it says
    nothing. One that turns out to be something else, or is too long, cannot be
    judged: then the failure policy speaks. Of an ``untyped`` one nobody said that
    it was text: bytes that are none pass.
    """

    def __init__(self, exchange: Exchange, charset: str = "", *, untyped: bool = False) -> None:
        self.stopped: HighflameError | None = None
        self._exchange, self._untyped = exchange, untyped
        self._holds = exchange.policy.holds
        self._readable = _is_faithful(charset)
        self._charset = charset if charset and self._readable else "utf-8"
        self._decoder = codecs.getincrementaldecoder(self._charset)()
        self._text = Text((), "", Stage.RESPONSE, "assistant")
        self._written: list[str] = []
        self._gauge = gauge_for(exchange, self._text, self._written)
        # What waits, from ``_from`` on, and what is to be changed in it.
        self._waiting: deque[str] = deque()
        self._entries: list[RedactionEntry] = []
        self._from = self._until = 0
        self._undecoded = b""
        self._blind = False

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """Take a chunk of the body; give what may be passed on now."""
        if self.stopped is not None:
            return b""
        if self._blind:
            return chunk
        try:
            if not self._readable:
                raise UnicodeError("a character set that is not read")
            piece = self._decoder.decode(chunk)
        except UnicodeError as error:
            return self._go_blind(chunk, f"cannot be read as text ({type(error).__name__})")
        self._undecoded = self._decoder.getstate()[0]
        if self._until + len(piece) > MAX_HELD:
            return self._go_blind(chunk, f"is longer than {MAX_HELD} characters")
        if not piece:
            return b"" if self._holds else chunk
        self._until += len(piece)
        self._written.append(piece)
        if self._holds:
            self._waiting.append(piece)
        out = self._settle((yield from self._gauge.feed(piece)))
        return out if self._holds else chunk

    def finish(self) -> Flow[bytes]:
        """The body has ended; give the rest."""
        if self.stopped is not None or self._blind:
            return b""
        if rest := self._undecoded:
            self._undecoded = b""
            return self._go_blind(rest, "ends within a character") if self._holds else b""
        return self._settle((yield from self._gauge.finish()))

    def refusal(self, error: HighflameError) -> bytes:
        """Why the text ends here, on a line of its own."""
        return f"\n[{error}]\n".encode(self._charset, "replace")

    def _settle(self, step: Step) -> bytes:
        if not self._holds:
            return b""
        if step.error is not None:
            self.stopped = step.error
            self._waiting.clear()
            return b""
        self._entries.extend(step.entries)
        return self._release(step.cleared)

    def _release(self, cleared: int) -> bytes:
        """What waits, up to where it is cleared, with its changes made."""
        count = min(cleared, self._until) - self._from
        if count <= 0:
            return b""
        waiting = "".join(self._waiting)
        self._waiting = deque([waiting[count:]])
        start, self._from = self._from, self._from + count
        entries = [
            RedactionEntry(
                type=entry.type,
                start_pos=entry.start_pos - start,
                end_pos=entry.end_pos - start,
                replacement=entry.replacement,
            )
            for entry in self._entries
        ]
        self._entries.clear()
        out = apply_entries(waiting[:count], entries)
        assert out is not None, "a gauge's redactions lie within what it has cleared"
        return out.encode(self._charset, "replace")

    def _go_blind(self, chunk: bytes, why: str) -> bytes:
        """The rest cannot be judged: stop, or where the policy lets it pass give all of it."""
        self._blind = True
        waiting = "".join(self._waiting).encode(self._charset, "replace")
        self._waiting.clear()
        exchange = self._exchange
        if not (self._untyped and not self._written):
            said = f"The reply to {exchange.call.path} {why}: it could not be guarded"
            exchange.note(self._text, GuardError(said), enforced=exchange.policy.strict)
            if exchange.policy.strict:
                self.stopped = UnreadableError(said)
                return b""
        return waiting + self._undecoded + chunk if self._holds else chunk


def _is_faithful(charset: str) -> bool:
    try:
        codecs.lookup(charset or "utf-8")
    except LookupError:
        return False
    return _FAITHFUL.fullmatch(charset) is not None
