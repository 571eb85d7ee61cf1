"""One request to a service, and its retries: all waits are parts of one total, and an open circuit ends them.

Below `credentials`, whose tokens are asked for in the same way as whatever they sign.
"""

from __future__ import annotations

import random
from time import monotonic

from ..errors import APIConnectionError, GuardError, GuardTimeoutError
from ..flow import Flow
from .answers import retries
from .circuit import Circuit
from .messages import Incoming, Outgoing, Pause, Send

__all__ = ["Clock", "patiently"]

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class Clock:
    """What is left of the time that one logical call may take.

    >>> Clock(5.0).left <= 5.0
    True
    """

    __slots__ = ("_until", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; never below zero."""
        return max(0.0, self._until - monotonic())

    def half(self) -> Clock:
        """Half of what is left."""
        return Clock(self.left / 2)

    def check(self, host: str) -> float:
        """What is left; a `GuardTimeoutError` where nothing is."""
        if (left := self.left) <= 0.0:
            raise GuardTimeoutError(f"{host} gave no answer within {self.seconds:g} s")
        return left


def _attempt(request: Outgoing, circuit: Circuit, clock: Clock, *, streamed: bool = False) -> Flow[Incoming]:
    """One attempt, which the circuit hears of; none where it is open."""
    left = clock.check(request.host)
    circuit.enter()
    try:
        reply = yield from Send(request, left, streamed=streamed)
    except GuardError:
        circuit.fail()
        raise
    except BaseException:
        # Cancelled, or a fault of our own: neither says anything of the host.
        circuit.release()
        raise
    if reply.status >= 500:
        circuit.fail()
    else:
        circuit.succeed()
    return reply


def patiently(
    request: Outgoing, circuit: Circuit, clock: Clock, *, attempts: int, streamed: bool = False
) -> Flow[Incoming]:
    """The answer after as many attempts as it takes: what the last one was answered, or the fault it ended in."""
    made = 0
    while True:
        made += 1
        reply, fault = None, None
        try:
            reply = yield from _attempt(request, circuit, clock, streamed=streamed)
        except APIConnectionError as error:
            if circuit.is_open:
                raise
            fault = error
        if reply is not None and not retries(reply):
            return reply
        pause = _pause(made, reply)
        if made < attempts and pause < clock.left:
            yield from Pause(pause)
            continue
        if reply is not None:
            return reply
        assert fault is not None
        raise fault


def _pause(made: int, reply: Incoming | None) -> float:
    """Twice as long each time, give or take a quarter; at least as long as the service asks for."""
    backoff: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (made - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
    asked = reply.retry_after if reply is not None else None
    return backoff if asked is None else max(backoff, asked)
