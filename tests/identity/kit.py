"""How tokens are verified in these tests: over HTTP, in three colours, at whatever time it is said to be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from highflame_middleware.errors import IdentityError
from highflame_middleware.identity import AgentClaims, Authenticator, Identity, TokenVerifier
from highflame_middleware.testing.authority import Authority
from tests.shield.kit import COLOURS, run_in

RESOURCE = "https://api.example.test"
URL = f"{RESOURCE}/chat"

each_colour = pytest.mark.parametrize("colour", COLOURS)


class Clock:
    """A clock that goes as ours does, from wherever it is put: for tokens and for caches alike."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead

    def timer(self) -> float:
        return time.monotonic() + self.ahead


def verifier_of(authority: Authority, **options: Any) -> TokenVerifier:
    given: dict[str, Any] = {"issuer": authority.issuer, "resource": RESOURCE, **options}
    return TokenVerifier(**given)


def verify(colour: str, verifier: TokenVerifier, token: str, **asked: Any) -> AgentClaims:
    if colour == "blocking":
        return verifier.verify(token, **asked)

    async def main() -> AgentClaims:
        try:
            return await verifier.averify(token, **asked)
        finally:
            await verifier.aclose()

    found: AgentClaims = run_in(colour, main)
    return found


def authenticate(
    colour: str, authenticator: Authenticator, headers: Any, method: str = "POST", url: str = URL, **asked: Any
) -> Identity:
    if colour == "blocking":
        return authenticator.authenticate(headers, method, url, **asked)

    async def main() -> Identity:
        try:
            return await authenticator.aauthenticate(headers, method, url, **asked)
        finally:
            await authenticator.verifier.aclose()

    found: Identity = run_in(colour, main)
    return found


def refused(call: Callable[[], Any], *, quoting: str = "") -> IdentityError:
    """The error that a call ends in; it, its attributes and what caused it say nothing of the token."""
    with pytest.raises(IdentityError) as caught:
        call()
    error = caught.value
    if quoting:
        for part in quoting.split("."):
            assert len(part) < 8 or part not in f"{error!r} {vars(error)} {error.__cause__!r}"
    return error
