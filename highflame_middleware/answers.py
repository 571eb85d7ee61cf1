"""A gateway's own answers: a screen that finds them in a reply before the guard takes them for a model's.

Under the guard's own screen, or alone where there is none: a refusal of the
gateway's stops the call, or goes on to the caller with a mark on it.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

from .codecs import framing_for
from .codecs.framing import Framing
from .errors import BlockedError, HighflameError
from .exchange import Exchange
from .flow import Flow
from .guard.verdict import DecisionEvent
from .nested import Nested
from .route import DECISION_HEADER, Refusal, bears_traces, decision_in, may_refuse, refusal_in
from .screens import MAX_HELD, Screen, refusal_of

__all__ = ["AnswerScreen", "answers_screened"]

# What of a stream is looked at: a refusal is its first words.
_FIRST_EVENTS = 4
_FIRST_BYTES = 1024 * 1024


def answers_screened(
    inner: Screen | None,
    exchange: Exchange,
    *,
    dialect: str,
    status: int,
    headers: MutableMapping[str, str],
    raises: bool,
) -> Screen | None:
    """The screen for a reply that came through a gateway: ``inner``, with this one before it where it may refuse.

    ``headers`` are the reply's, and get the mark of a refusal that is not raised.
    """
    if not may_refuse(dialect, status) or decision_in(headers) == "allow":
        return inner
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    framing = framing_for(kind or ("text/event-stream" if exchange.call.stream else "application/json"))
    if framing is None and kind and kind != "application/json" and not kind.endswith("+json"):
        return inner
    return AnswerScreen(
        inner, exchange, dialect=dialect, status=status, headers=headers, framing=framing, raises=raises
    )


class AnswerScreen:
    """Holds the beginning of a reply until it is known whether the gateway wrote it; the rest is for ``inner``."""

    def __init__(
        self,
        inner: Screen | None,
        exchange: Exchange,
        *,
        dialect: str,
        status: int,
        headers: MutableMapping[str, str],
        framing: Framing | None,
        raises: bool,
    ) -> None:
        self.stopped: HighflameError | None = None
        self._inner, self._exchange, self._codec = Nested(inner, exchange), exchange, exchange.call.codec
        self._dialect, self._status, self._headers = dialect, status, headers
        self._framing, self._raises = framing, raises
        self._splitter = framing.splitter() if framing is not None else None
        self._held = bytearray()
        self._events = 0
        self._looking = True

    @property
    def concluded(self) -> bool:
        """Whether the reply has said that it ends here, whatever bytes are still to come."""
        return self._inner.concluded

    def feed(self, chunk: bytes) -> Flow[bytes]:
        if self.stopped is not None:
            return b""
        if not self._looking:
            return (yield from self._on(chunk))
        self._held += chunk
        if self._splitter is None:
            return b"" if len(self._held) <= MAX_HELD else (yield from self._leave())
        try:
            events = self._splitter.feed(chunk)
        except ValueError:
            return (yield from self._leave())
        if any(self._settled(raw) for raw in events) or len(self._held) > _FIRST_BYTES:
            return (yield from self._leave())
        return b""

    def finish(self) -> Flow[bytes]:
        if self.stopped is not None:
            return b""
        rest = b""
        if self._looking:
            if self._splitter is None:
                raw = bytes(self._held)
                self._look(_json(raw) if bears_traces(self._status, self._headers, raw) else None)
            elif last := self._splitter.finish():
                self._settled(last)
            rest = yield from self._leave()
        if self.stopped is None:
            rest += yield from self._inner.finish()
            self.stopped = self._inner.stopped
        return rest

    def refusal(self, error: HighflameError) -> bytes:
        if (screen := self._inner.screen) is not None:
            return screen.refusal(error)
        return refusal_of(self._codec, self._framing, error)

    def _settled(self, raw: bytes) -> bool:
        """Whether it is known now who wrote the stream, one event further on."""
        assert self._framing is not None
        if not self._looking:
            return True
        try:
            event = self._framing.parse(raw)
        except ValueError:
            return True
        if event.text is None or not event.is_json:
            return False
        self._events += 1
        return self._look(event.data) or self._events >= _FIRST_EVENTS

    def _look(self, body: Any) -> bool:
        found = refusal_in(self._dialect, self._status, self._headers, body)
        if found is not None:
            self._looking = False
            self._note(found)
            if self._raises:
                self.stopped = BlockedError(found.verdict, found.stage)
            else:
                self._headers[DECISION_HEADER] = found.verdict.decision.value
        return found is not None

    def _leave(self) -> Flow[bytes]:
        """It is the model's, as far as can be seen, or is handed on all the same: the rest is the guard's."""
        self._looking = False
        held = bytes(self._held)
        self._held.clear()
        return (yield from self._on(held)) if self.stopped is None else b""

    def _on(self, chunk: bytes) -> Flow[bytes]:
        out = yield from self._inner.feed(chunk)
        self.stopped = self._inner.stopped
        return out

    def _note(self, found: Refusal) -> None:
        verdict = found.verdict
        self._exchange.recorder.decide(
            DecisionEvent(
                guard=f"{self._dialect} gateway",
                stage=found.stage,
                mode=self._exchange.policy.mode,
                decision=verdict.decision.value,
                enforced=True,
                reason=verdict.policy_reason,
                signals=tuple(f"{signal.name}:{signal.severity}" for signal in verdict.signals),
            )
        )


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
