"""A guard with a window that goes by words: it holds back no more than what one of them may begin with."""

from __future__ import annotations

from collections.abc import Sequence

from highflame_middleware.guard.protocol import Progress
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, RedactionEntry


class WordWindow:
    """Takes words out, and denies at others, as soon as they are whole."""

    def __init__(self, redact: Sequence[str], deny: Sequence[str]) -> None:
        self._redact, self._deny = redact, deny
        self._text = ""
        self._done = 0
        self._entries: tuple[RedactionEntry, ...] = ()

    def feed(self, text: str) -> Progress:
        self._text += text
        return self._advance(final=False)

    def finish(self) -> Progress:
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> Progress:
        if any(word in self._text for word in self._deny):
            return Progress(self._done, (), GuardResponse(decision=Decision.DENY, policy_reason="a word"))
        found: tuple[RedactionEntry, ...] = ()
        while places := [(at, word) for word in self._redact if (at := self._text.find(word, self._done)) >= 0]:
            at, word = min(places)
            self._done = at + len(word)
            found += (RedactionEntry(type="word", start_pos=at, end_pos=self._done, replacement="[redacted]"),)
        self._entries += found
        words = [*self._redact, *self._deny]
        open_end = max(
            (n for word in words for n in range(1, len(word)) if self._text.endswith(word[:n])), default=0
        )
        self._done = max(self._done, len(self._text) - (0 if final else open_end))
        verdict = None
        if final:
            decision = Decision.MODIFY if self._entries else Decision.ALLOW
            verdict = GuardResponse(decision=decision, redaction_entries=self._entries)
        return Progress(self._done, found, verdict)


class WindowedGuard(FakeGuard):
    """The fake guard with a window, for all but tool calls, which are judged whole."""

    def __init__(self, *, redact: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        super().__init__(redact=redact, deny=deny)
        self._given = (redact, deny)
        self.opened: list[GuardRequest] = []

    def window(self, request: GuardRequest) -> WordWindow:
        self.opened.append(request)
        return WordWindow(*self._given)
