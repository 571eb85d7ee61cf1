"""How an engine comes by the session of a text, and what it does where there is none to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ..errors import ConfigError, GuardError
from ..sessions import MemorySessions, Session, SessionFault, Sessions
from ..types import GuardRequest, GuardResponse

__all__ = ["Memory"]


class Memory:
    """Sessions, as an engine asks for them.

    Where they cannot be had, a text is judged without, and the verdict's ``eval_errors``
    say so; where they are ``required``, there is no verdict.
    """

    __slots__ = ("_required", "_sessions", "local")

    def __init__(self, sessions: Sessions | Literal["memory"] | None, *, required: bool) -> None:
        if sessions == "memory":
            sessions = MemorySessions()
        if sessions is not None and not isinstance(sessions, Sessions):
            raise ConfigError(
                f"sessions={type(sessions).__name__} cannot keep sessions: give 'memory', None, MemorySessions(…) "
                "or RedisSessions(…)"
            )
        if required and sessions is None:
            raise ConfigError("sessions_required=True needs sessions")
        self._sessions = sessions
        self._required = required
        self.local = sessions is None or sessions.local

    def recall(self, request: GuardRequest) -> Session | SessionFault | None:
        """The session of a text; nothing where it has none, and why where it cannot be had."""
        if self._sessions is None or not request.session_id:
            return None
        try:
            return self._sessions.load(request.session_id)
        except SessionFault as fault:
            self._insist(fault)
            return fault

    def keep(
        self, request: GuardRequest, changes: Sequence[Session], verdict: GuardResponse, fault: SessionFault | None
    ) -> GuardResponse:
        """Make the changes to the session, and say in the verdict if that cannot be done."""
        try:
            for change in changes:
                if self._sessions is not None and request.session_id:
                    self._sessions.add(request.session_id, change)
        except SessionFault as error:
            self._insist(error)
            fault = error
        if fault is None:
            return verdict
        told = (verdict.eval_errors, f"session unavailable: {fault}")
        return replace(verdict, eval_errors="; ".join(filter(None, told)))

    def glimpse(self, request: GuardRequest) -> Session | None:
        """The session as this process last saw it."""
        if self._sessions is None or not request.session_id:
            return None
        return self._sessions.peek(request.session_id)

    def defer(self, request: GuardRequest, change: Session) -> None:
        """Have a change made to the session, without waiting for it."""
        if self._sessions is not None and request.session_id:
            self._sessions.defer(request.session_id, change)

    def _insist(self, fault: SessionFault) -> None:
        if self._required:
            raise GuardError(f"The session cannot be had ({fault}), and sessions_required is set") from fault
