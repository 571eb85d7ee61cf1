"""Shield as a guard: each text is a question over the network, bounded by the deadline."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from ..types import Decision, GuardRequest, GuardResponse, Mode, Stage
from .resources import GuardResource

__all__ = ["ShieldGuard"]

_ALLOWED = GuardResponse(decision=Decision.ALLOW)


class Client(Protocol):
    """What asks Shield: `Highflame`."""

    @property
    def guard(self) -> GuardResource:
        """Its questions about texts."""
        ...


class ShieldGuard:
    """Asks Highflame Shield about each text.

    Whatever keeps it from answering is a `GuardError`, which the failure policy decides about; a key that is not
    taken, or a question that Shield refuses, stops even where ``fail_open`` is set. Where the mode only reports,
    the verdict says what Shield would have decided.

    >>> from highflame_middleware import Highflame
    >>> Highflame(api_key="zid_sk_1").as_guard().local
    False
    """

    name = "shield"
    local = False

    def __init__(self, client: Client, *, deadline: float | None = None) -> None:
        self._client = client
        self._deadline = deadline

    @property
    def client(self) -> Client:
        """What it asks with."""
        return self._client

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text."""
        asked = _asked(request)
        if asked is None:
            return _ALLOWED
        return _reported(asked, self._client.guard.evaluate(asked, timeout=self._deadline))

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text, asynchronously."""
        asked = _asked(request)
        if asked is None:
            return _ALLOWED
        return _reported(asked, await self._client.guard.aevaluate(asked, timeout=self._deadline))

    def __repr__(self) -> str:
        return f"ShieldGuard({self._client!r})"


def _asked(request: GuardRequest) -> GuardRequest | None:
    """The question to ask, if any: Shield refuses an empty text, but a call without arguments is one."""
    if request.content:
        return request
    return replace(request, content="{}") if request.stage is Stage.TOOL_CALL else None


def _reported(request: GuardRequest, verdict: GuardResponse) -> GuardResponse:
    """The verdict as the failure policy and the record want it.

    Told not to stop anything, Shield says allow, and beside it what it would have said: that is for the record.
    Told to redact, it lets pass in any case, with what is left of the text.
    """
    if not request.mode.blocks and (actual := verdict.actual_decision) is not None and actual is not Decision.ALLOW:
        return replace(verdict, decision=actual)
    if request.mode is Mode.MODIFY and verdict.decision is Decision.ALLOW and verdict.redacted_content is not None:
        return replace(verdict, decision=Decision.MODIFY)
    return verdict
