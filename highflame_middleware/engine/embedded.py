"""The engine as a guard: pure computation on the calling thread, nothing sent anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..guard.rules import Rules
from ..types import GuardRequest, GuardResponse
from .policy import policy_of
from .rules import DEFAULT_REDACTED
from .window import EmbeddedWindow

__all__ = ["EmbeddedGuard"]


class EmbeddedGuard:
    """Judges texts by their form and wording: secrets, personal data, injections, hidden text, commands.

    Parameters
    ----------
    redact
        What is taken out of a text: types such as ``"email"``, or the groups
        ``"secrets"``, ``"pii"`` and ``"invisible"``. The rest is only reported.
    deny_tools
        Patterns, as of a shell, of tools that may not be called.
    allow
        Values that are never reported, such as the key of a documentation.
    injection_threshold
        The score, from 1 to 100 on Shield's scale, at which a prompt or tool result is denied.
    max_chars
        A longer text is a `GuardError`: whether it passes is for the caller's policy to say.
    rules
        What decides by the facts that the detectors tell; without them the built-in table
        (``engine/ruleset.py``), which stops injections, hidden text, destructive commands and denied tools.

    >>> verdict = EmbeddedGuard().evaluate(GuardRequest(content="Charge 4111 1111 1111 1111, please"))
    >>> verdict.decision.value, verdict.redacted_content
    ('modify', 'Charge [REDACTED:credit_card], please')
    """

    name = "embedded"
    local = True

    def __init__(
        self,
        *,
        redact: Iterable[str] = DEFAULT_REDACTED,
        deny_tools: Iterable[str] = (),
        allow: Iterable[str] = (),
        injection_threshold: int = 86,
        max_chars: int = 1_000_000,
        rules: Rules | None = None,
    ) -> None:
        self._policy = policy_of(
            redact=redact,
            deny_tools=deny_tools,
            allow=allow,
            injection_threshold=injection_threshold,
            max_chars=max_chars,
            rules=rules,
        )

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text; a text longer than ``max_chars`` is a `GuardError`."""
        verdict = self.window(request).judge(request.content)
        if not verdict.redaction_entries:
            return verdict
        parts, done = [], 0
        for entry in verdict.redaction_entries:
            parts += [request.content[done : entry.start_pos], entry.replacement]
            done = entry.end_pos
        return replace(verdict, redacted_content="".join((*parts, request.content[done:])))

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """The same: there is nothing to wait for."""
        return self.evaluate(request)

    def window(self, request: GuardRequest) -> EmbeddedWindow:
        """A window for a text that is still being written, which stands where the request says."""
        return EmbeddedWindow(self._policy, request)

    def __repr__(self) -> str:
        policy = self._policy
        return (
            f"EmbeddedGuard({len(policy.redacted)} types redacted, deny_tools={policy.deny_tools!r}, "
            f"injection_threshold={policy.injection_threshold})"
        )
