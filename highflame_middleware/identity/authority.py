"""Asking an authority something, within a time: its outages and nonsense are one error for all who ask."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import urlsplit

from ..errors import GuardError, IdentityUnavailableError
from ..flow import Flow
from ..shield.attempts import Clock, patiently
from ..shield.circuit import Circuit
from ..shield.messages import Incoming, Outgoing
from .keyring import MAX_DOCUMENT

__all__ = ["Line", "object_in"]

_log = logging.getLogger("highflame_middleware.identity")
_ATTEMPTS = 2


class Line:
    """The line to one address, for ``what`` is asked there: a circuit breaker, two attempts."""

    def __init__(self, url: str, *, what: str = "the token's standing") -> None:
        self.url, self.what = url, what
        self._circuit = Circuit(urlsplit(url).netloc)

    def ask(self, request: Outgoing, clock: Clock) -> Flow[Incoming]:
        """What is answered; an `IdentityUnavailableError` where that is nothing, or a fault."""
        try:
            reply = yield from patiently(request, self._circuit, clock, attempts=_ATTEMPTS)
        except GuardError as error:
            raise IdentityUnavailableError(f"{self.what} cannot be had: {error}") from error
        if reply.status >= 500 or reply.status == 429:
            raise IdentityUnavailableError(
                f"{self.what} cannot be had: {request.host} answered {reply.status}",
                retry_after=reply.retry_after or 1.0,
            )
        return reply


def object_in(reply: Incoming, host: str, *, what: str = "the token's standing") -> dict[str, Any]:
    """The object in an answer; an `IdentityUnavailableError` where there is none."""
    found: Any = None
    if len(reply.content) <= MAX_DOCUMENT:
        try:
            found = json.loads(reply.content)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        raise IdentityUnavailableError(f"{what} cannot be had: {host} answered with no JSON object")
    return found


def forgiven(error: IdentityUnavailableError, *, fail_open: bool) -> None:
    """Let pass what could not be checked, where that was asked for, and say so in the log; else raise."""
    if not fail_open:
        raise error
    _log.warning("a token passes without its standing being known (fail_open): %s", error)
