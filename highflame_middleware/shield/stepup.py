"""Answering a step_up: polling the token endpoint until somebody has approved (CIBA), or will not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import APIConnectionError, APIError, AuthenticationError, GuardTimeoutError, InvalidRequestError
from ..flow import Flow
from ..types import Challenge, GuardResponse, Secret
from .answers import error_of
from .attempts import Clock, patiently
from .credentials import read_ticket
from .fields import dump, load
from .messages import Outgoing, Pause
from .questions import seconds_of

if TYPE_CHECKING:
    from .service import Service

__all__ = ["answered"]

_GRANT = "urn:openid:params:grant-type:ciba"
_SLOWER = 5.0  # seconds more between two questions, when told to slow down
_LONGEST = 3600.0  # what a challenge without an end is taken to last
_SHORTEST = 0.05
_REFUSALS = {
    "access_denied": "the step_up was refused by whoever was asked",
    "expired_token": "the step_up was not answered in time",
}


def answered(service: Service, challenge: Challenge | GuardResponse, seconds: float | None) -> Flow[Secret]:
    """The token that stands for an answered challenge. Being asked to wait, an outage too, ends with its time."""
    found = challenge.challenge if isinstance(challenge, GuardResponse) else challenge
    if found is None or not found.auth_req_id:
        raise InvalidRequestError("this verdict has no challenge to be answered: auth_req_id is missing")
    lasts = found.expires_in if found.expires_in is not None else _LONGEST
    clock = Clock(min(lasts, seconds_of(seconds) if seconds is not None else _LONGEST))
    interval = max(found.interval, _SHORTEST)
    request = Outgoing(
        method="POST",
        url=service.token_url,
        headers={"content-type": "application/json", "accept": "application/json"},
        body=dump({"grant_type": _GRANT, "auth_req_id": found.auth_req_id}),
    )
    while True:
        if interval >= clock.left:
            raise GuardTimeoutError(f"the step_up was not answered within {clock.seconds:g} s")
        yield from Pause(interval)
        try:
            reply = yield from patiently(request, service.token_circuit, clock, attempts=1)
        except APIConnectionError:
            continue
        if reply.is_success:
            return read_ticket(load(reply.content)).token
        error = error_of(reply, asked="the token endpoint")
        told = error.title if isinstance(error, APIError) else ""
        if told == "slow_down":
            interval += _SLOWER
        elif told in _REFUSALS:
            raise AuthenticationError(_REFUSALS[told], status=reply.status, title=told)
        elif told != "authorization_pending" and reply.status < 500 and reply.status != 429:
            raise error
