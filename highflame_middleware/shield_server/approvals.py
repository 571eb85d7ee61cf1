"""What waits for a person: step_ups, the polling for their outcome, and passes that are good once, for one text."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from .tokens import Caller

__all__ = ["Approvals", "PendingApproval", "Poll"]

Outcome = Literal["pending", "approved", "denied", "used"]
# What a poller is told, in OAuth's words (CIBA); "approved" comes with a token.
Poll = Literal["approved", "authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_grant"]

_MOST = 10_000
_SLOWER = 5.0  # seconds by which whoever polls too fast has to wait longer


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingApproval:
    """A text that a policy lets pass only after a person has said so; the text itself is not here.

    ``digest`` stands for everything that the approval is bound to: who asks, the
    text, where it stands, its tool. ``reason`` is the policy's. ``expires_at``
    is a time of the clock that the server was given, in seconds.
    """

    auth_req_id: str = field(repr=False)
    digest: str
    account_id: str
    project_id: str
    caller: str
    action: str
    tool: str | None
    session_id: str | None
    reason: str | None
    policies: tuple[str, ...]
    expires_at: float


@dataclass(slots=True)
class _Entry:
    pending: PendingApproval
    caller: Caller
    outcome: Outcome = "pending"
    interval: float = 5.0
    polled_at: float = float("-inf")


class Approvals:
    """The approvals that are asked for, at most ten thousand, each until it expires. Callable from any thread."""

    def __init__(
        self, *, lifetime: float = 300.0, interval: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.lifetime, self.interval = lifetime, interval
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._asked: dict[str, str] = {}  # the ids by digest, of those that nobody has decided about

    def ask(self, caller: Caller, pending: PendingApproval) -> tuple[PendingApproval, bool]:
        """Ask for an approval, or find the one that is asked for already; and whether it is new."""
        with self._lock:
            now = self._clock()
            self._forget(now, room=1)
            known = self._entries.get(self._asked.get(pending.digest, ""))
            if known is not None:
                return known.pending, False
            id_ = secrets.token_urlsafe(32)
            made = replace(pending, auth_req_id=id_, expires_at=now + self.lifetime)
            self._entries[id_] = _Entry(made, caller, interval=self.interval)
            self._asked[made.digest] = id_
            return made, True

    def settle(self, auth_req_id: str, *, approved: bool) -> bool:
        """Say yes or no; false where nobody waits for it any more."""
        with self._lock:
            entry = self._entries.get(auth_req_id)
            if entry is None or entry.outcome != "pending" or self._clock() >= entry.pending.expires_at:
                return False
            entry.outcome = "approved" if approved else "denied"
            self._asked.pop(entry.pending.digest, None)
            return True

    def poll(self, auth_req_id: str) -> tuple[Poll, Caller | None, str]:
        """How it stands; where it is approved, for whom, and for what."""
        with self._lock:
            now = self._clock()
            entry = self._entries.get(auth_req_id)
            if entry is None:
                return "invalid_grant", None, ""
            if now >= entry.pending.expires_at:
                return "expired_token", None, ""
            if entry.outcome == "pending":
                too_soon = now - entry.polled_at < entry.interval
                entry.polled_at = now
                if too_soon:
                    entry.interval += _SLOWER
                return ("slow_down" if too_soon else "authorization_pending"), None, ""
            if entry.outcome == "denied":
                return "access_denied", None, ""
            if entry.outcome == "used":
                return "invalid_grant", None, ""
            return "approved", entry.caller, auth_req_id

    def use(self, auth_req_id: str, digest: str) -> bool:
        """Whether this very text has been approved, and not yet been let pass: it is now."""
        with self._lock:
            entry = self._entries.get(auth_req_id)
            if (
                entry is None
                or entry.outcome != "approved"
                or entry.pending.digest != digest
                or self._clock() >= entry.pending.expires_at
            ):
                return False
            entry.outcome = "used"
            return True

    def left(self, pending: PendingApproval) -> float:
        """The seconds until a request for an approval expires."""
        return round(max(0.0, pending.expires_at - self._clock()), 1)

    def waiting(self) -> tuple[PendingApproval, ...]:
        """What nobody has decided about yet, the oldest first."""
        with self._lock:
            now = self._clock()
            return tuple(
                entry.pending
                for entry in self._entries.values()
                if entry.outcome == "pending" and now < entry.pending.expires_at
            )

    def _forget(self, now: float, *, room: int = 0) -> None:
        """Drop what has been over for a while, and the oldest where there are too many."""
        while self._entries:
            id_, entry = next(iter(self._entries.items()))
            if len(self._entries) + room <= _MOST and now < entry.pending.expires_at + self.lifetime:
                break
            del self._entries[id_]
            if self._asked.get(entry.pending.digest) == id_:
                del self._asked[entry.pending.digest]
        # What has expired is asked for anew; a poller is still told that it has.
        for digest, id_ in list(self._asked.items()):
            if now < self._entries[id_].pending.expires_at:
                break
            del self._asked[digest]
