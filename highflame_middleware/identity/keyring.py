"""An issuer's keys, held and renewed: one fetch at a time for all threads and event loops, never on a caller's own.

Whoever needs a fetch waits for it; a caller that leaves takes nobody's fetch along, for it is made on a thread.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..errors import ConfigError, GuardError, IdentityUnavailableError, TokenError
from ..flow import Flow
from ..shield.attempts import Clock
from ..shield.flights import Flight
from ..shield.messages import Join, Outgoing, Pause, Send
from ..shield.transport import Transport
from .addresses import JWKS_PATH, below, is_safe, metadata_url
from .keys import Held, PublicKey, failed, fetched, read_keys, step
from .remembered import Remembered

__all__ = ["Keyring"]

_log = logging.getLogger("highflame_middleware.identity")

MAX_DOCUMENT = 1024 * 1024  # bytes of a set of keys, or of an issuer's description of itself
_APART = 1.0  # seconds between the beginnings of two fetches
_WAITING = 64  # callers that may wait for keys at a time
_MISSING = 1_024  # names that are known to be in no set
_MISSING_FOR = 5.0  # seconds


class Keyring:
    """The keys of one issuer.

    They are fetched when first needed, renewed in the background after two thirds of ``ttl`` seconds, and trusted
    no longer than that, or ``grace`` more while the issuer cannot be reached. Without ``jwks_url`` the issuer is
    asked where its keys are.
    """

    def __init__(
        self,
        *,
        issuer: str,
        jwks_url: str | None,
        algorithms: tuple[str, ...],
        transport: Transport,
        ttl: float = 300.0,
        grace: float = 300.0,
        timeout: float = 10.0,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self._issuer, self._given_url = issuer, jwks_url
        self._algorithms, self._transport = algorithms, transport
        self._timeout, self._timer = timeout, timer
        self._held = Held(ttl=ttl, early=ttl * 2 / 3, grace=grace, apart=_APART)
        self._missing: Remembered[bool] = Remembered(_MISSING, timer=timer)
        self._found_url: str | None = None
        self._fault = "it has not been asked yet"
        self._begin()

    def _begin(self) -> None:
        """What does not survive a fork: a lock that is held, a fetch whose thread is not there. Keys do."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._flight: Flight | None = None
        self._waiting = 0

    def key(self, kid: str, algorithm: str, clock: Clock) -> Flow[PublicKey]:
        """The key of a name; a `TokenError` where the issuer has none, however new."""
        if self._pid != os.getpid():
            self._begin()
        wanted_at, name = self._timer(), (kid, algorithm)
        held = self._held
        found = step(held, name, wanted_at=wanted_at, now=wanted_at)
        if found.key is not None and not found.fetch:
            return found.key
        with self._lock:
            if found.key is not None:
                if self._flight is None:
                    self._launch()
                return found.key
            if self._waiting >= _WAITING:
                raise IdentityUnavailableError("too many callers wait for keys of the issuer", code="overloaded")
            self._waiting += 1
        try:
            return (yield from self._awaited(name, wanted_at, clock))
        finally:
            with self._lock:
                self._waiting -= 1

    def _awaited(self, name: tuple[str, str], wanted_at: float, clock: Clock) -> Flow[PublicKey]:
        while True:
            with self._lock:
                now = self._timer()
                missing = self._missing.get(name) is not None
                found = step(self._held, name, wanted_at=wanted_at, now=now, missing=missing)
                if found.fetch and self._flight is None:
                    self._launch()
                flight = self._flight
            if found.key is not None:
                return found.key
            if found.is_unknown:
                self._missing.put(name, True, seconds=_MISSING_FOR)
                raise TokenError(
                    "the token names a key that its issuer does not have: get a new one", code="invalid_signature"
                )
            if found.has_failed:
                raise IdentityUnavailableError(f"the issuer's keys cannot be had: {self._fault}")
            if clock.left <= 0.0:
                raise IdentityUnavailableError(f"the issuer's keys did not come within {clock.seconds:g} s")
            if flight is not None:
                yield from Join(flight, clock.left)
            else:
                yield from Pause(min(found.wait, clock.left))

    def _launch(self) -> None:
        """Begin a fetch; the lock is held."""
        flight, asked_at = Flight(), self._timer()
        self._flight = flight
        thread = threading.Thread(
            target=self._fetch, args=(flight, asked_at), name="highflame-identity-keys", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # there are too many threads, or the interpreter is ending
            self._end(flight, failed(self._held, asked_at, self._timer()), "there is no thread to fetch them on")

    def _fetch(self, flight: Flight, asked_at: float) -> None:
        keys, fault = None, "a fault of this library"
        try:
            keys = read_keys(self._get(self._url()), self._algorithms)
        except (GuardError, ValueError) as error:
            fault = str(error)
        finally:
            if keys is None:
                _log.warning("no keys of the issuer %s: %s", self._issuer, fault)
                self._found_url = None
            with self._lock:
                held = self._held
                held = failed(held, asked_at, self._timer()) if keys is None else fetched(held, keys, asked_at)
                self._end(flight, held, fault)

    def _end(self, flight: Flight, held: Held, fault: str) -> None:
        if self._flight is flight:
            self._flight, self._held, self._fault = None, held, fault
        flight.land()

    def _url(self) -> str:
        """Where the keys are: as given, as the issuer says, or where ZeroID has them."""
        url = self._given_url or self._found_url
        if url is None:
            content = self._get(metadata_url(self._issuer), may_lack=True)
            self._found_url = url = self._read_metadata(content) if content else below(self._issuer, JWKS_PATH)
        return url

    def _read_metadata(self, content: bytes) -> str:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise ValueError("the issuer's description of itself is no JSON") from None
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError("what is found at the issuer describes another issuer")
        url = document.get("jwks_uri")
        if url is None:
            return below(self._issuer, JWKS_PATH)
        if not isinstance(url, str) or not is_safe(url):
            raise ValueError("the issuer names an address for its keys that is neither https nor on this machine")
        return url

    def _get(self, url: str, *, may_lack: bool = False) -> bytes:
        request = Outgoing(method="GET", url=url, headers={"accept": "application/json"})
        reply = self._transport.perform(Send(request, self._timeout, most=MAX_DOCUMENT))
        if reply.is_success:
            content: bytes = reply.content
            return content
        if may_lack and reply.status == 404:
            return b""
        raise ValueError(f"{request.host} answered {reply.status}")

    def __repr__(self) -> str:
        return f"Keyring(issuer={self._issuer!r}, {len(self._held.keys)} keys)"


def checked_algorithms(given: Any, known: Any) -> tuple[str, ...]:
    """Algorithms as they were given; a `ConfigError` for one that is not to be relied on here."""
    algorithms = tuple(given) if not isinstance(given, str) else (given,)
    if not algorithms or not all(name in known for name in algorithms):
        raise ConfigError(f"algorithms={given!r} cannot be used: choose from {', '.join(known)}")
    return algorithms
