"""A guard that decides by words, and remembers what it was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..types import Decision, GuardRequest, GuardResponse, RedactionEntry

__all__ = ["FakeGuard"]


class FakeGuard:
    """Denies, defers or steps up texts that hold certain words, redacts others, allows the rest.

    ``fault`` is raised instead of an answer. ``local`` is true as with the
    embedded engine; set it to False to be asked as a remote guard would be.

    >>> FakeGuard(deny=["bomb"]).evaluate(GuardRequest(content="a bomb")).decision
    <Decision.DENY: 'deny'>
    """

    name = "fake"

    def __init__(
        self,
        *,
        deny: Sequence[str] = (),
        step_up: Sequence[str] = (),
        defer: Sequence[str] = (),
        redact: Sequence[str] = (),
        replacement: str = "[redacted]",
        fault: Exception | None = None,
        local: bool = True,
    ) -> None:
        self._words = {Decision.DENY: deny, Decision.STEP_UP: step_up, Decision.DEFER: defer}
        self._redact, self._replacement = redact, replacement
        self._fault = fault
        self.local = local
        self.requests: list[GuardRequest] = []

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text."""
        self.requests.append(request)
        if self._fault is not None:
            raise self._fault
        for decision, words in self._words.items():
            if any(word in request.content for word in words):
                return GuardResponse(decision=decision, policy_reason="a word of the fake guard")
        entries = tuple(
            RedactionEntry(type="word", start_pos=match.start(), end_pos=match.end(), replacement=self._replacement)
            for word in self._redact
            for match in re.finditer(re.escape(word), request.content)
        )
        decision = Decision.MODIFY if entries else Decision.ALLOW
        return GuardResponse(decision=decision, redaction_entries=entries)

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text, asynchronously."""
        return self.evaluate(request)
