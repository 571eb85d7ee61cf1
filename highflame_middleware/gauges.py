"""How a text that is still being written is judged: a gauge says how much of it may be let go.

Which gauge a text gets depends on the engine and on the setting ``stream``: an
engine with a window is asked as the text comes, any other on the whole text,
sentence by sentence, or afterwards. What is passed to a tool is always whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from .codecs.parts import Text
from .errors import GuardError, HighflameError
from .exchange import Exchange, judge
from .flow import Flow
from .guard.protocol import Progress, Window
from .types import Mode, RedactionEntry, Stage

__all__ = ["Gauge", "Step", "gauge_for"]

_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f\n]")


@dataclass(frozen=True, slots=True)
class Step:
    """How far a text is cleared, in characters from its beginning; what to change in it; why to stop."""

    cleared: int = 0
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
    if guard.window is not None:
        return _Windowed(exchange, text, written, guard.window(exchange.question(text._replace(value=""))))
    return _GAUGES[exchange.policy.stream](exchange, text, written)


class _Windowed:
    """The engine itself says how far no finding can begin any more."""

    def __init__(self, exchange: Exchange, text: Text, written: Sequence[str], window: Window) -> None:
        self._exchange, self._text, self._written = exchange, text, written
        self._window: Window | None = window

    def feed(self, piece: str) -> Flow[Step]:
        return _now(self._ask(piece))

    def finish(self) -> Flow[Step]:
        return _now(self._ask(None))

    def _ask(self, piece: str | None) -> Step:
        if self._window is None:
            return Step(self._length())
        try:
            progress = self._window.feed(piece) if piece is not None else self._window.finish()
        except Exception as error:  # noqa: BLE001 - an engine's fault is a missing verdict, whatever it is
            self._window = None
            fault = GuardError(f"the guard's window raised {type(error).__name__}; its cause is attached")
            fault.__cause__ = error
            ruling = self._exchange.settle(self._whole(), fault)
            return Step(self._length(), error=ruling.error)
        return self._step(progress)

    def _step(self, progress: Progress) -> Step:
        error = None
        if (verdict := progress.verdict) is not None:
            if verdict.allowed:
                # What the verdict changes has been changed on the way: it is only to be recorded.
                changed = bool(verdict.redaction_entries) and self._exchange.policy.mode.edits
                self._exchange.note(self._whole(), verdict, enforced=changed)
            else:
                error = self._exchange.settle(self._whole(), verdict).error
        return Step(progress.cleared, progress.entries, error)

    def _whole(self) -> Text:
        return self._text._replace(value="".join(self._written))

    def _length(self) -> int:
        return sum(map(len, self._written))


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
        self._pending = ""
        self._cleared = 0

    def feed(self, piece: str) -> Flow[Step]:
        # An end may need the character after it: the last one of what was there before is looked at again.
        searched = max(0, len(self._pending) - 1)
        self._pending += piece
        ends = [match.end() for match in _SENTENCE_END.finditer(self._pending, searched)]
        return self._judge(ends[-1]) if ends else _now(Step(self._cleared))

    def finish(self) -> Flow[Step]:
        return self._judge(len(self._pending))

    def _judge(self, end: int) -> Flow[Step]:
        part, self._pending = self._pending[:end], self._pending[end:]
        offset, self._cleared = self._cleared, self._cleared + end
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
    if not part:
        return Step(cleared)
    (ruling,) = yield from judge(exchange, [text._replace(value=part)])
    if ruling.text is None:
        return Step(cleared, error=ruling.error)
    entry = RedactionEntry(type="modify", start_pos=offset, end_pos=cleared, replacement=ruling.text)
    return Step(cleared, (entry,))
