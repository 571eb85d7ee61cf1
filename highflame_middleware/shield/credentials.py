"""What a question to Shield is signed with: a token as it was given, or one that a service key is exchanged for."""

from __future__ import annotations

import base64
import copy
import json
import os
import threading
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Protocol

from ..errors import AuthenticationError, GuardError, GuardTimeoutError, InvalidResponseError
from ..flow import Flow
from ..types import Secret
from .answers import error_of
from .attempts import Clock, patiently
from .circuit import Circuit
from .fields import dump, load, number_of, table_of, text_of
from .flights import Flight
from .messages import Join, Outgoing

__all__ = ["Bearer", "Credentials", "ServiceKey", "Ticket", "is_service_key"]

_PREFIXES = ("zid_sk", "hf_sk", "hfa_")
_EARLY = 60.0  # seconds before its end that a token is replaced; half of its life where that is less
_LIFE = (1.0, 86_400.0)  # what a token's life is taken for, whatever is said of it
_UNSAID = 60.0  # the life of a token of which nothing is said
_AGAIN = 5.0  # seconds until the next try to replace a token that is still good
_LONGEST = 16_384  # characters of a token


def is_service_key(key: str) -> bool:
    """Whether a key has to be exchanged; any other is a token itself.

    >>> is_service_key("zid_sk_1"), is_service_key("eyJhbGciOi")
    (True, False)
    """
    return key.startswith(_PREFIXES)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token, and for whom it was given out where that is known."""

    token: Secret
    account_id: str | None = None
    project_id: str | None = None
    spent_at: float = field(default=float("inf"), compare=False)
    stale_at: float = field(default=float("inf"), compare=False)


class Credentials(Protocol):
    """Whatever signs questions."""

    def ticket(self, clock: Clock) -> Flow[Ticket]:
        """A token that is good now."""
        ...

    def refuse(self, ticket: Ticket) -> bool:
        """The token was not taken; whether there may be another."""
        ...


class Bearer:
    """A token as it was given. It cannot be renewed, and whether it is still good is for Shield to say:
    this machine's clock may be wrong."""

    __slots__ = ("_ticket",)

    def __init__(self, token: Secret) -> None:
        self._ticket = Ticket(token)

    def ticket(self, clock: Clock) -> Flow[Ticket]:  # noqa: ARG002 - there is nothing to wait for
        """The token."""
        yield from ()
        return self._ticket

    def refuse(self, ticket: Ticket) -> bool:  # noqa: ARG002
        """There is no other."""
        return False


class ServiceKey:
    """A key that is exchanged for tokens, of some scope if that is said, one exchange at a time for all threads.

    A token is used until a minute before its end, or half of its life where that is sooner; then it is replaced,
    by whoever comes first, while the others go on with it as long as it is good. Its life is counted from when
    it came, so that clocks that disagree do no harm.
    """

    def __init__(
        self, key: Secret, *, token_url: str, circuit: Circuit, attempts: int = 3, scope: str = ""
    ) -> None:
        self._key, self._scope = key, scope
        self._token_url = token_url
        self._circuit = circuit
        self._attempts = attempts
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held: Ticket | None = None
        self._flight: Flight | None = None

    def ticket(self, clock: Clock) -> Flow[Ticket]:
        """A token that is good now: the one that is held, or what the exchange in flight brings."""
        while True:
            held, flight, leads = self._choose()
            if flight is None:
                assert held is not None
                return held
            if leads:
                return (yield from self._lead(flight, held, clock))
            landed = yield from Join(flight, clock.left)
            if not landed:
                raise GuardTimeoutError(f"no token came from the token endpoint within {clock.seconds:g} s")
            if flight.error is not None:
                raise copy.copy(flight.error)
            if flight.result is not None:
                # Straight from the exchange: a token may be so short-lived that it is stale by now.
                return flight.result  # type: ignore[no-any-return]

    def refuse(self, ticket: Ticket) -> bool:
        """Forget a token that was not taken, unless another has taken its place by now."""
        with self._lock:
            if self._held is not None and self._held.token == ticket.token:
                self._held = None
        return True

    def _choose(self) -> tuple[Ticket | None, Flight | None, bool]:
        """The token to use; or the exchange to wait for, and whether it is this caller's to make."""
        if self._pid != os.getpid():
            # In a forked process nobody ends the exchange that the parent was making, or lets go of its lock.
            self._forget()
        with self._lock:
            held, now = self._held, monotonic()
            if held is not None and now >= held.spent_at:
                held = None
            if held is not None and now < held.stale_at:
                return held, None, False
            if self._flight is not None and not self._flight.is_abandoned:
                return (held, None, False) if held is not None else (None, self._flight, False)
            self._flight = Flight()
            return held, self._flight, True

    def _lead(self, flight: Flight, held: Ticket | None, clock: Clock) -> Flow[Ticket]:
        """Make the exchange, and tell whoever waits for it how it ended."""
        try:
            # While another is still good, there has to be time left to use it.
            ticket = yield from self._exchange(clock if held is None else clock.half())
        except GuardError as error:
            if held is not None and not isinstance(error, AuthenticationError):
                held = replace(held, stale_at=monotonic() + _AGAIN)
                self._end(flight, held, held)
                return held
            # Out of time is this caller's fault alone: whoever waits may have more of it.
            self._end(flight, None, None, None if isinstance(error, GuardTimeoutError) else error)
            raise
        except BaseException:
            self._end(flight, held, None)
            raise
        self._end(flight, ticket, ticket)
        return ticket

    def _end(self, flight: Flight, held: Ticket | None, result: Any, error: Exception | None = None) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight, self._held = None, held
        flight.land(result, error)

    def _exchange(self, clock: Clock) -> Flow[Ticket]:
        request = Outgoing(
            method="POST",
            url=self._token_url,
            headers={"content-type": "application/json", "accept": "application/json"},
            body=dump(
                {
                    "grant_type": "api_key",
                    "api_key": self._key.reveal(),
                    **({"scope": self._scope} if self._scope else {}),
                }
            ),
        )
        reply = yield from patiently(request, self._circuit, clock, attempts=self._attempts)
        if not reply.is_success:
            raise error_of(reply, asked="the token endpoint")
        return read_ticket(load(reply.content))

    def __repr__(self) -> str:
        return f"ServiceKey(token_url={self._token_url!r})"


def read_ticket(payload: Any) -> Ticket:
    """The token in an answer of the token endpoint; an `InvalidResponseError` where there is none.

    >>> read_ticket({"access_token": "t", "expires_in": 3600, "account_id": "a"}).account_id
    'a'
    """
    answer = table_of(payload)
    token = text_of(answer.get("access_token"))
    if not token or len(token) > _LONGEST or not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidResponseError("the token endpoint answered with no token that a header could carry")
    now, life = monotonic(), _life_of(answer.get("expires_in"), token)
    return Ticket(
        Secret(token),
        account_id=_sendable(answer.get("account_id")),
        project_id=_sendable(answer.get("project_id")),
        spent_at=now + life,
        stale_at=now + life - min(_EARLY, life / 2),
    )


def _life_of(said: Any, token: str) -> float:
    """How many seconds a token is good for: as the answer says, or as the token itself does."""
    life = number_of(said)
    if life is None and isinstance(said, str) and said.strip().isascii() and said.strip().isdigit():
        life = float(said.strip()[:9])
    if life is None:
        claims = _claims(token)
        began, ends = number_of(claims.get("iat")), number_of(claims.get("exp"))
        # Both by the same clock, which need not be this machine's.
        life = ends - began if began is not None and ends is not None else _UNSAID
    return min(max(life, _LIFE[0]), _LIFE[1])


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself, unverified; it is our own. Nothing for what is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        return table_of(json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))))
    except (ValueError, RecursionError):
        return {}


def _sendable(value: Any) -> str | None:
    found = text_of(value)
    return found if found and found.isascii() and found.isprintable() else None
