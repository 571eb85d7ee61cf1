"""Guards one text while it is being written, or in one go when it is all there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter

from ..errors import GuardError
from ..guard.protocol import Progress
from ..sessions.vault import Drawer
from ..types import GuardRequest, GuardResponse, RedactionEntry, Stage
from . import invisible
from .disguise import is_disguised, is_fake
from .docket import RESTORED, Docket
from .echoes import Echo, Echoes
from .policy import Policy
from .quotes import Quotes
from .release import REACH, release
from .sessions import Past
from .tape import Tape
from .values.finding import Finding, Tail

__all__ = ["EmbeddedWindow"]

_RUN = 2 * REACH  # characters without a break after which they are released in parts


class EmbeddedWindow:
    """A text gives the same redactions and the same decision in whatever pieces it comes.

    >>> from highflame_middleware.engine import EmbeddedGuard
    >>> from highflame_middleware.types import GuardRequest
    >>> window = EmbeddedGuard().window(GuardRequest(content=""))
    >>> [window.feed(piece).cleared for piece in ("Card 4111 1111 ", "1111 1111", ", thanks")]
    [5, 5, 26]
    """

    __slots__ = (
        "_cleared",
        "_docket",
        "_drawer",
        "_echoed",
        "_echoes",
        "_judged",
        "_known",
        "_length",
        "_past",
        "_policy",
        "_quotes",
        "_raw",
        "_runs",
        "_scope",
        "_seconds",
        "_spared",
        "_tail",
        "_tape",
        "_verdict",
    )

    def __init__(
        self, policy: Policy, request: GuardRequest, *, past: Past | None = None, drawer: Drawer | None = None
    ) -> None:
        self._policy = policy
        self._past = past
        self._docket = Docket(policy, request, past)
        self._scope = request.session_id or ""
        # What a model is to read is put into the drawer, what it wrote gets its values back from there.
        is_json = request.stage is Stage.TOOL_CALL
        self._drawer = drawer if request.to_model else None
        self._echoes = Echoes(drawer, is_json=is_json) if drawer is not None and not request.to_model else None
        self._echoed: list[Echo] = []  # the ones still to be put back
        self._spared = _sparing(policy, drawer if self._echoes is not None else None)
        self._tape = Tape()
        self._quotes = Quotes() if request.stage is Stage.TOOL_CALL else None
        self._tail: tuple[str, Tail] | None = None  # of what goes on where the tape begins
        self._known = 0  # where in the written text the last look ended
        self._raw = ""  # the end of the written text, from a little before `_judged`
        self._judged = 0  # how far its invisible characters have been judged
        self._runs: list[invisible.Run] = []  # the ones still to be taken out
        self._length = 0
        self._cleared = 0
        self._seconds = 0.0
        self._verdict: GuardResponse | None = None

    def feed(self, text: str) -> Progress:
        """Take the next piece of the text."""
        return self._advance(text, final=False)

    def finish(self) -> Progress:
        """The text has ended: clear the rest of it and give the verdict on the whole."""
        return self._advance("", final=True)

    def judge(self, text: str) -> GuardResponse:
        """The verdict on a text that is complete."""
        verdict = self._advance(text, final=True).verdict
        assert verdict is not None
        return verdict

    def _advance(self, text: str, *, final: bool) -> Progress:
        began = perf_counter()
        entries: tuple[RedactionEntry, ...] = ()
        if self._verdict is None:
            self._read(text, final=final)
            cleared, stopped = self._cleared, self._docket.denied
            if not stopped:
                entries = self._settle(final=final)
                if self._docket.denied:  # because of what stands in this very piece
                    self._cleared, entries = cleared, ()
            self._seconds += perf_counter() - began
            if final or self._docket.denied:
                self._verdict = self._docket.verdict(self._seconds * 1_000)
                if self._past is not None:
                    self._verdict = self._past.close(self._verdict)
        return Progress(self._cleared, entries, self._verdict)

    def _read(self, text: str, *, final: bool) -> None:
        self._length += len(text)
        if self._length > self._policy.max_chars:
            raise GuardError(
                f"the text is longer than max_chars={self._policy.max_chars}, so it was not judged: "
                "send it in parts, or give the engine a greater max_chars"
            )
        self._docket.read(self._tape.read(text), final=final, ascii_only=text.isascii())
        if self._tape.stuffed:
            self._docket.stuff()
        if self._quotes is not None:
            self._quotes.read(text)
        if self._past is not None:
            self._past.read(text)
        if self._echoes is not None:
            self._echoed += self._echoes.read(text, final=final)
        self._look(text, final=final)

    def _look(self, text: str, *, final: bool) -> None:
        """Judge the invisible characters, all but those that the text ends with so far."""
        raw = self._raw + text
        first = self._length - len(raw)
        end = len(raw) if final else invisible.opens_at(raw)
        for run in invisible.find(raw, self._judged - first, end):
            self._docket.hide(run)
            if "invisible" in self._policy.redacted:
                self._runs.append(replace(run, start=first + run.start, end=first + run.end))
        self._judged = first + end
        self._raw = raw[max(0, end - invisible.CONTEXT) :]

    def _settle(self, *, final: bool) -> tuple[RedactionEntry, ...]:
        """Clear what nothing reaches across any more; give what is taken out of it."""
        entries: list[RedactionEntry] = []
        if self._tail is not None:
            self._go_on(*self._tail, entries, final=final)
        if self._tail is None:
            self._release(entries, final=final)
            if self._tail is None:
                self._cleared = min(self._tape.written(self._tape.start), self._judged)
        return self._with_others(entries)

    def _go_on(self, type_: str, tail: Tail, entries: list[RedactionEntry], *, final: bool) -> None:
        """Take out more of the finding that the last piece ended in."""
        tape = self._tape
        end, goes_on = tail(tape.text, tape.start, final)
        if end > tape.start:
            stop = tape.written(end - 1) + 1
            entries.append(self._docket.redact(type_, self._cleared, stop, goes_on=True))
            self._cleared = stop
            tape.settle(end)
        if not goes_on:
            self._tail = None

    def _release(self, entries: list[RedactionEntry], *, final: bool) -> None:
        tape = self._tape
        run = not final and len(tape.text) - max(tape.limit, tape.start) > _RUN
        known = len(tape.text) if final or run else tape.limit
        if not final and (known <= tape.start or tape.written(known) == self._known):
            return  # nothing that was not there the last time
        self._known = tape.written(known)
        limit = known - REACH if run else known
        released = release(tape.text, tape.start, limit, known, self._policy, final=final, spared=self._spared)
        for type_ in released.noted:
            self._docket.note(type_)
        entries += [self._take_out(finding, final=final) for finding in released.taken]
        if released.tail is not None:
            self._tail = (released.taken[-1].type, released.tail)
            self._cleared = entries[-1].end_pos
        tape.settle(released.cut)

    def _take_out(self, finding: Finding, *, final: bool) -> RedactionEntry:
        start, end = self._tape.written(finding.start), self._tape.written(finding.end - 1) + 1
        quoted = self._quotes is not None and self._quotes.outside(start)
        value = self._value(finding, final=final)
        word: str | None = None
        if self._drawer is not None and value is not None and finding.type in self._policy.vaulted:
            word = self._drawer.put(finding.type, value) if "\\" not in value else None
        if word is None:
            asked = self._docket.asked(finding.type)
            word = self._policy.disguise.of(finding.type, value, scope=self._scope, asked=asked)
        return self._docket.redact(finding.type, start, end, replacement=word, quoted=quoted)

    def _value(self, finding: Finding, *, final: bool) -> str | None:
        """What has been found, unless it is of a kind that a stream lets go of before its end is known.

        That is what has breaks in it, and what is in a word so long that it is not waited for.
        """
        if finding.tail is not None:
            end = self._tape.word_ends(finding.start, REACH, final=final)
            if end is None or end < finding.end:
                return None
        return self._tape.text[finding.start : finding.end]

    def _with_others(self, entries: list[RedactionEntry]) -> tuple[RedactionEntry, ...]:
        """The entries and, in order among them, what else is cleared and in none of them."""
        if self._echoed:
            entries = sorted((*entries, *self._put_back(entries)), key=lambda entry: entry.start_pos)
        if not self._runs:
            return tuple(entries)
        cleared = [run for run in self._runs if run.end <= self._cleared]
        self._runs = self._runs[len(cleared) :]
        starts = [entry.start_pos for entry in entries]
        for run in cleared:
            before = bisect_right(starts, run.start) - 1
            if before < 0 or entries[before].end_pos <= run.start:
                entries.append(self._docket.redact("invisible", run.start, run.end))
        return tuple(sorted(entries, key=lambda entry: entry.start_pos))

    def _put_back(self, entries: Sequence[RedactionEntry]) -> Iterator[RedactionEntry]:
        """What puts values back into the text that is cleared, but for parts of what has been taken out."""
        cleared = [echo for echo in self._echoed if echo.end <= self._cleared]
        self._echoed = self._echoed[len(cleared) :]
        for echo in cleared:
            after = bisect_right(entries, echo.start, key=lambda entry: entry.end_pos)
            if after == len(entries) or echo.end <= entries[after].start_pos:
                yield self._docket.redact(RESTORED, echo.start, echo.end, replacement=echo.value)


def _sparing(policy: Policy, drawer: Drawer | None) -> Callable[[str, str], bool]:
    """Which values are none: what we have put there, and what a caller is told who knows it already."""
    invents, holds = policy.disguise.invents, drawer.holds if drawer is not None else None
    if not invents and holds is None:
        return is_disguised
    return lambda type_, value: (
        is_disguised(type_, value) or (invents and is_fake(type_, value)) or (holds is not None and holds(value))
    )
