"""Asking a service once, however many attempts that takes: one flow for blocking and asynchronous callers."""

from __future__ import annotations

from collections.abc import Callable

from ..flow import Flow
from .answers import error_of, is_suspension
from .attempts import Clock, patiently
from .circuit import Circuit
from .credentials import Credentials, Ticket
from .messages import Incoming, Outgoing

__all__ = ["ask"]


def ask(
    build: Callable[[Ticket], Outgoing],
    credentials: Credentials,
    circuit: Circuit,
    clock: Clock,
    *,
    attempts: int,
    streamed: bool = False,
) -> Flow[Incoming]:
    """The answer to a question; a token that is refused is exchanged anew, once.

    A 401 that asks for a step_up is an answer, not a refusal of the token.
    """
    renewed = False
    while True:
        ticket = yield from credentials.ticket(clock)
        reply = yield from patiently(build(ticket), circuit, clock, attempts=attempts, streamed=streamed)
        if reply.status != 401 or is_suspension(reply):
            return reply
        if renewed or not credentials.refuse(ticket):
            raise error_of(reply)
        renewed = True
