"""How a text that is still being written is judged: a gauge says how much of it may be let go.

Which gauge a text gets depends on the engine and on the setting ``stream``: an
engine with a window is asked as the text comes, any other on the whole text,
sentence by sentence, or afterwards. What is passed to a tool is always whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from .codecs.parts import Text
from .errors import GuardError, HighflameError
from .exchange import Exchange, judge
from .flow import Flow
from .guard.protocol import Progress, Window, fault_of
from .guard.verdict import Answer
from .types import Decision, Mode, RedactionEntry, Stage

__all__ = ["Gauge", "Step", "gauge_for"]

_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f\n]")


@dataclass(frozen=True, slots=True)
class Step:
    """How far a text is cleared, in characters from its beginning; what to change in it; why to stop.

    Nothing at all is cleared below zero: not even pieces that are empty.
    """

    cleared: int = -1
    entries: tuple[RedactionEntry, ...] = ()
    error: HighflameError | None = None


class Gauge(Protocol):
    """Judges one growing text. ``written`` is all of it so far, shared with the owner of the gauge."""

    def feed(self, piece: str) -> Flow[Step]:
        """The text, ``written`` included, has grown by a piece."""
        ...

    def finish(self) -> Flow[Step]:
        """The text has ended."""
        ...


def gauge_for(exchange: Exchange, text: Text, written: Sequence[str]) -> Gauge:
    """The gauge for the text that ``text`` is the first piece of."""
    guard = exchange.policy.guard
    assert guard is not None
    if text.stage is Stage.TOOL_CALL:
        return _Whole(exchange, text, written)
    if (window := guard.window_at(text.stage)) is not None:
        opening = partial(window, exchange.question(text._replace(value="")))
        return _Windowed(exchange, text, written, guard.name, opening)
    return _GAUGES[exchange.policy.stream](exchange, text, written)


class _Windowed:
    """The engine itself says how far no finding can begin any more."""

    def __init__(
        self, exchange: Exchange, text: Text, written: Sequence[str], name: str, opening: Callable[[], Window]
    ) -> None:
        self._exchange, self._text, self._written = exchange, text, written
        self._name, self._open = name, opening
        self._window: Window | None = None
        self._length = 0
        self._edited = False
        self._over = False

    def feed(self, piece: str) -> Flow[Step]:
        self._length += len(piece)
        return _now(self._ask(piece))

    def finish(self) -> Flow[Step]:
        return _now(self._ask(None))

    def _ask(self, piece: str | None) -> Step:
        if self._over:
            return Step(self._length)
        try:
            progress = self._advance(piece)
        except Exception as error:  # noqa: BLE001 - an engine's fault is a missing verdict, whatever it is
            return self._settle(fault_of(self._name, error))
        self._edited = self._edited or bool(progress.entries)
        verdict = progress.verdict
        if verdict is None or (verdict.allowed and piece is not None):
            return Step(progress.cleared, progress.entries)
        if verdict.decision is Decision.ALLOW or (verdict.allowed and self._edited):
            # What the verdict changes has been changed on the way: it is only to be recorded.
            changed = self._edited and self._exchange.policy.mode.edits
            self._exchange.note(self._whole(), verdict, enforced=changed)
            return Step(self._length, progress.entries)
        # What has not been changed on the way cannot be changed any more.
        return self._settle(replace(verdict, redacted_content=None, redaction_entries=()), progress.entries)

    def _advance(self, piece: str | None) -> Progress:
        if self._window is None:
            self._window = self._open()
        progress: Any = self._window.feed(piece) if piece is not None else self._window.finish()
        if not isinstance(progress, Progress) or (piece is None and progress.verdict is None):
            raise GuardError(f"The guard {self._name!r} has a window that gave no progress, or no verdict")
        return progress

    def _settle(self, answer: Answer, entries: tuple[RedactionEntry, ...] = ()) -> Step:
        """The last word on this text, before its end perhaps: stop, or let go of all that is still to come."""
        self._over = True
        return Step(self._length, entries, self._exchange.settle(self._whole(), answer).error)

    def _whole(self) -> Text:
        return self._text._replace(value="".join(self._written))


class _Whole:
    """Asked once, on the whole text."""

    def __init__(self, exchange: Exchange, text: Text, written: Sequence[str]) -> None:
        self._exchange, self._text, self._written = exchange, text, written

    def feed(self, piece: str) -> Flow[Step]:  # noqa: ARG002 - it stands in ``written``
        return _now(Step())

    def finish(self) -> Flow[Step]:
        return _judge_part(self._exchange, self._text, "".join(self._written), 0)


class _Sentences:
    """Asked on each sentence as soon as it is whole."""

    def __init__(self, exchange: Exchange, text: Text, written: Sequence[str]) -> None:  # noqa: ARG002
        self._exchange, self._text = exchange, text
        self._pending: list[str] = []
        self._cleared = 0

    def feed(self, piece: str) -> Flow[Step]:
        # An end may need the character after it: the last one of what was there before is looked at again.
        looked_at = (self._pending[-1][-1:] if self._pending else "") + piece
        self._pending.append(piece)
        ends = [match.end() for match in _SENTENCE_END.finditer(looked_at)]
        return self._judge(len(looked_at) - ends[-1]) if ends else _now(Step(self._cleared))

    def finish(self) -> Flow[Step]:
        return self._judge(0)

    def _judge(self, rest: int) -> Flow[Step]:
        """Judge what is pending, but for as many characters at its end."""
        pending = "".join(self._pending)
        part, self._pending = pending[: len(pending) - rest], [pending[len(pending) - rest :]]
        offset, self._cleared = self._cleared, self._cleared + len(part)
        return _judge_part(self._exchange, self._text, part, offset)


class _Afterwards:
    """Let go at once; asked at the end, for the record only."""

    def __init__(self, exchange: Exchange, text: Text, written: Sequence[str]) -> None:
        policy = exchange.policy
        reporting = replace(policy, mode=Mode.MONITOR) if policy.mode.edits else policy
        self._exchange = Exchange(exchange.call, reporting, exchange.recorder)
        self._text, self._written = text, written
        self._length = 0

    def feed(self, piece: str) -> Flow[Step]:
        self._length += len(piece)
        return _now(Step(self._length))

    def finish(self) -> Flow[Step]:
        return _judge_part(self._exchange, self._text, "".join(self._written), 0)


_GAUGES: Mapping[str, type[_Whole] | type[_Sentences] | type[_Afterwards]] = MappingProxyType(
    {"buffer": _Whole, "sentence": _Sentences, "passthrough": _Afterwards}
)


def _now(step: Step) -> Flow[Step]:
    """A flow that has its answer already."""
    yield from ()
    return step


def _judge_part(exchange: Exchange, text: Text, part: str, offset: int) -> Flow[Step]:
    """Have a part of a text judged; what it becomes is one entry over all of it."""
    cleared = offset + len(part)
    if not part and text.stage is not Stage.TOOL_CALL:
        return Step(cleared)
    (ruling,) = yield from judge(exchange, [text._replace(value=part)])
    if ruling.text is None:
        return Step(cleared, error=ruling.error)
    entry = RedactionEntry(type="modify", start_pos=offset, end_pos=cleared, replacement=ruling.text)
    return Step(cleared, (entry,))
