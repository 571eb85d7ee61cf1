"""The guard on a connection's frames: what may be sent of each, and which that were received may be read.

One frame is one event. What is received goes through the same hold-back as a
streamed reply; a connection goes on for as long as it likes, so the screen is
a new one whenever nothing is held and no text is open.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

from ..bodies import internal_fault
from ..codecs.framing import Event
from ..codecs.lines import SEGMENTS
from ..codecs.parts import Text, dump_json, edits_of, rewrite
from ..drivers import perform
from ..errors import HighflameError, UnreadableError
from ..exchange import Exchange, judge
from ..flow import Flow, run
from ..guard.verdict import worst
from ..screens import MAX_HELD, EventScreen
from ..types import Stage

__all__ = ["Frame", "Frames", "joined"]

Frame: TypeAlias = str | bytes

# How much is read before what was judged is forgotten, once nothing is held.
_REMEMBERED = 256 * 1024


class Frames:
    """The frames of one connection. ``ready`` are those to be read next, ``stopped`` is why there are no more."""

    def __init__(self, exchange: Exchange) -> None:
        codec = exchange.call.codec
        assert codec is not None
        self.exchange = exchange
        self.ready: deque[Frame] = deque()
        self.stopped: HighflameError | None = None
        self.looks = exchange.policy.guard is not None or exchange.recorder.recording
        self._codec = codec
        reader = codec.open_stream()
        self._streaming = replace(codec, open_stream=lambda: reader)
        self._framing = replace(SEGMENTS, parse=self._parse)
        self._screen = EventScreen(exchange, self._streaming, self._framing)
        self._seen = 0
        self._are_texts: deque[bool] = deque()
        self._binary = False
        self._over = False
        exchange.returned = True

    @property
    def waits(self) -> bool:
        """Whether judging may wait for something, so that whoever reads could be cancelled meanwhile."""
        guard = self.exchange.policy.guard
        return guard is not None and not guard.local

    def sent(self, frame: Frame) -> Flow[Frame]:
        """The frame to send in the place of one: edited where the guard says so. Raises where it says no."""
        try:
            return (yield from self._admitted(frame))
        except UnreadableError:
            if self.exchange.policy.strict:
                raise
            return frame
        except HighflameError:
            raise
        except Exception as error:
            if self.exchange.policy.holds:
                raise
            internal_fault(error, "reading a frame that is sent")
            return frame

    def _admitted(self, frame: Frame) -> Flow[Frame]:
        if self.exchange.policy.guard is None:
            return frame
        body, is_json = _decoded(frame)
        if is_json:
            texts = self._codec.read_call(body).texts
        elif isinstance(frame, str) and frame:
            texts = (Text((), frame, Stage.PROMPT),)
        else:
            return frame
        rulings = yield from judge(self.exchange, texts, sent=True)
        if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
            raise error
        edits = [
            (text, ruling.text) for text, ruling in zip(texts, rulings, strict=False) if ruling.text is not None
        ]
        if not edits:
            return frame
        edited = rewrite(body, edits_of(edits))
        written = dump_json(edited) if is_json else str(edited).encode("utf-8", "replace")
        return written.decode("utf-8", "replace") if isinstance(frame, str) else written

    def received(self, frame: Frame) -> Flow[None]:
        """Take a frame that was received; what may be read now is ``ready``."""
        if not self.looks:
            self.ready.append(frame)
            return
        raw = frame.encode("utf-8", "replace") if isinstance(frame, str) else bytes(frame)
        self._binary = not isinstance(frame, str)
        self._are_texts.append(isinstance(frame, str))
        self._seen += len(raw)
        try:
            out = yield from self._screen.advance(raw)
        except Exception as error:
            if self.exchange.policy.holds:
                raise
            self.looks = False
            internal_fault(error, "reading a frame that was received")
            out = [raw]
        self._hand_on(out)
        if self._seen > _REMEMBERED and self._screen.idle:
            self._seen = 0
            self._screen = EventScreen(self.exchange, self._streaming, self._framing)

    def concluded(self) -> Flow[None]:
        """Nothing more is received: what was held is judged as it is."""
        if not self._over and self.looks:
            self._over = True
            self._hand_on((yield from self._screen.conclude()))

    def end(self, error: BaseException | None = None) -> None:
        """The connection is over."""
        if error is not None:
            self.exchange.recorder.fail(error)
        else:
            self.exchange.recorder.end()

    def leave(self) -> None:
        """The caller closes the connection: what came is judged for the record, where that is free."""
        if not self.waits and self.stopped is None:
            with suppress(Exception):
                run(self.concluded(), perform)
        self.end()

    def _hand_on(self, out: Iterable[bytes]) -> None:
        for raw in out:
            if self._are_texts:
                self.ready.append(raw.decode("utf-8", "replace") if self._are_texts.popleft() else raw)
        if self._screen.stopped is not None and self.stopped is None:
            self.stopped = self._screen.stopped
            self.end(self.stopped)

    def _parse(self, raw: bytes) -> Event:
        """A frame as an event: sound and the like, which is binary and no JSON, holds nothing to judge."""
        if not self._binary:
            return SEGMENTS.parse(raw)
        try:
            body, is_json = _decoded(raw)
        except UnreadableError as error:
            raise ValueError(str(error)) from None
        return Event(raw, text="", data=body, is_json=True) if is_json else Event(raw)


def _decoded(frame: Frame) -> tuple[Any, bool]:
    """A frame's JSON, and whether it is any; JSON too deep to be read raises `UnreadableError`."""
    if frame.lstrip()[:1] not in ("{", "[", b"{", b"["):
        return frame, False
    try:
        return json.loads(frame), True
    except ValueError:
        return frame, False
    except RecursionError:
        raise UnreadableError("A frame holds JSON that is nested too deeply to be read") from None


def joined(parts: list[Any]) -> Frame:
    """One frame of the fragments that a caller would send one by one."""
    total = 0
    for part in parts:
        total += len(part)
        if total > MAX_HELD:
            raise UnreadableError(f"A message in fragments is longer than the {MAX_HELD} bytes kept to guard it")
    if all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return b"".join(bytes(part) for part in parts)
