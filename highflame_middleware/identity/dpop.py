"""Proofs of possession (DPoP, RFC 9449): who presents a token shows that it holds the key that it was made for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os
import re
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError, IdentityUnavailableError, TokenError
from ..flow import Flow, Op, run
from ..types import Secret
from .keyring import checked_algorithms
from .keys import ALGORITHMS, read_key
from .tokens import opened, text_in, verified

__all__ = ["Keep", "Nonces", "Proofs", "ReplayStore", "SeenProofs", "normalized", "token_hash"]

_TYPES = frozenset({"dpop+jwt"})
_LONGEST = 8_192  # characters of a proof
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")
_PORTS = {"http": 80, "https": 443}
_SOCKETS = {"ws": "http", "wss": "https"}  # their handshakes are requests
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_PLAIN = re.compile("[A-Za-z0-9._~-]")


class ReplayStore(Protocol):
    """Where proofs that were used are kept; shared by replicas where one proof must not pass at two of them.

    One that asks over a network has an asynchronous ``aadd`` too. Whatever it cannot tell it refuses, with an
    `IdentityUnavailableError`.
    """

    def add(self, owner: str, name: str, seconds: float) -> bool:
        """Keep a proof's name, by its key's thumbprint, for some seconds; false where it is kept already."""
        ...


class Keep(Op[bool]):
    """Keep a proof that is otherwise good; false where it was used already."""

    __slots__ = ("name", "owner", "seconds", "store")

    def __init__(self, store: ReplayStore, owner: str, name: str, seconds: float) -> None:
        self.store, self.owner, self.name, self.seconds = store, owner, name, seconds

    def perform(self) -> bool:
        """Keep it, for blocking callers."""
        return _told(self.store.add(self.owner, self.name, self.seconds))

    async def aperform(self) -> bool:
        """Keep it, for asynchronous callers; a store that asks nobody else has no ``aadd``."""
        add: Any = getattr(self.store, "aadd", None)
        return _told(await add(self.owner, self.name, self.seconds)) if add is not None else self.perform()


def _told(kept: Any) -> bool:
    """What a store says; a coroutine, say, which is as good as true, is no word of it."""
    if not isinstance(kept, int):
        close = getattr(kept, "close", None)
        if close is not None:
            close()
        raise ConfigError(
            f"the ReplayStore gave {type(kept).__name__}: add is to give True or False, and only aadd to be awaited"
        )
    return bool(kept)


class SeenProofs:
    """The proofs that were used in this process.

    It never forgets one before its time: when it is full, calls are refused, and one key can fill an eighth of it.

    >>> seen = SeenProofs()
    >>> seen.add("key", "proof-1", 60), seen.add("key", "proof-1", 60)
    (True, False)
    """

    def __init__(self, most: int = 65_536, *, timer: Callable[[], float] = time.monotonic) -> None:
        if most < 8:
            raise ConfigError(f"most={most!r} cannot be used: give 8 or more")
        self._most, self._timer = most, timer
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._names: set[tuple[str, str]] = set()
        self._ends: deque[tuple[float, tuple[str, str]]] = deque()
        self._owners: Counter[str] = Counter()

    def add(self, owner: str, name: str, seconds: float) -> bool:
        """Keep a proof; false where it was used already, `IdentityUnavailableError` where there is no room."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            now = self._timer()
            while self._ends and self._ends[0][0] <= now:
                self._drop(self._ends.popleft()[1])
            entry = (owner, name)
            if entry in self._names:
                return False
            if len(self._names) >= self._most or self._owners[owner] >= self._most // 8:
                raise IdentityUnavailableError("too many proofs at a time: come back later", code="overloaded")
            self._names.add(entry)
            self._owners[owner] += 1
            # All are kept equally long, so that they end in the order in which they came.
            self._ends.append((now + seconds, entry))
            return True

    def _drop(self, entry: tuple[str, str]) -> None:
        self._names.discard(entry)
        self._owners[entry[0]] -= 1
        if not self._owners[entry[0]]:
            del self._owners[entry[0]]

    def __len__(self) -> int:
        return len(self._names)


class Nonces:
    """What a proof has to carry so that it cannot have been made long before: changes every ``seconds``.

    Replicas that share the ``secret`` know each other's; nothing is kept.

    >>> nonces = Nonces(secrets.token_hex(32))
    >>> nonces.holds(nonces.current()), nonces.holds("made-up")
    (True, False)
    """

    def __init__(
        self, secret: str | Secret | None = None, *, seconds: float = 120.0, clock: Callable[[], float] = time.time
    ) -> None:
        given = secret.reveal() if isinstance(secret, Secret) else secret
        if given is not None and len(given) < 32:
            raise ConfigError("the nonces' secret has fewer than 32 characters: give a long random string")
        if not 1 <= seconds < math.inf:
            raise ConfigError(f"seconds={seconds!r} cannot be used: give 1 or more")
        self._key = given.encode("utf-8", "surrogateescape") if given is not None else secrets.token_bytes(32)
        self._seconds, self._clock = seconds, clock

    def current(self) -> str:
        """The one to use now."""
        return self._at(self._slot())

    def holds(self, nonce: Any) -> bool:
        """Whether it is the one to use now, or was just before."""
        if not isinstance(nonce, str) or not nonce.isascii():
            return False
        slot = self._slot()
        now, before = (hmac.compare_digest(nonce, self._at(slot - back)) for back in (0, 1))
        return now or before

    def _slot(self) -> int:
        return int(self._clock() // self._seconds)

    def _at(self, slot: int) -> str:
        digest = hmac.digest(self._key, b"dpop-nonce:%d" % slot, "sha256")
        return base64.urlsafe_b64encode(digest[:18]).decode()


class Proofs:
    """Checks proofs. ``max_age`` is how many seconds one is good for, ``leeway`` how far clocks may differ.

    ``replays`` keeps those that were used (in this process, by default); with ``nonces`` each has to carry one.
    """

    def __init__(
        self,
        *,
        algorithms: Sequence[str] = ("ES256", "RS256"),
        max_age: float = 60.0,
        leeway: float = 5.0,
        replays: ReplayStore | None = None,
        nonces: Nonces | None = None,
    ) -> None:
        for name, value in (("max_age", max_age), ("leeway", leeway)):
            if not 0 <= value <= 600:
                raise ConfigError(f"{name}={value!r} cannot be used: give seconds, at most 600")
        self.algorithms = checked_algorithms(algorithms, ALGORITHMS)
        self.nonces = nonces
        self._max_age, self._leeway = max_age, leeway
        self._replays: ReplayStore = SeenProofs() if replays is None else replays

    def check(self, proof: str, *, token: str, jkt: str, method: str, url: str, now: float) -> None:
        """See that a proof is for this token, this request, this moment, and was not used; a `TokenError` else."""
        run(self.checked(proof, token=token, jkt=jkt, method=method, url=url, now=now), _kept)

    def checked(self, proof: str, *, token: str, jkt: str, method: str, url: str, now: float) -> Flow[None]:
        """The same as a flow: last of all, and only where it is good, the proof is kept."""
        try:
            name = self._read(proof, token=token, jkt=jkt, method=method, url=url, now=now)
            # Longer than it can be good for: from the earliest moment at which it could come until its last.
            if not (yield from Keep(self._replays, jkt, name, self._max_age + 2 * self._leeway)):
                raise TokenError("the proof was used before: make one for each request")
        except TokenError as error:
            if error.code == "use_dpop_nonce":
                raise
            raise TokenError(str(error), code="invalid_dpop_proof") from None

    async def aclose(self) -> None:
        """Close the running event loop's connections to where used proofs are kept."""
        close: Any = getattr(self._replays, "aclose", None)
        if close is not None:
            await close()

    def _read(self, proof: str, *, token: str, jkt: str, method: str, url: str, now: float) -> str:
        """The name of a proof that is good, unless it was used before."""
        if len(proof) > _LONGEST:
            raise TokenError(f"the proof has more than {_LONGEST} characters")
        header = opened(proof, self.algorithms, types=_TYPES, what="proof")
        given = header.get("jwk")
        if not isinstance(given, Mapping) or any(name in given for name in _PRIVATE):
            raise TokenError("the proof has to carry its public key, and only that (jwk)")
        key = read_key(given, (header["alg"],))
        if key is None:
            raise TokenError("the proof's key cannot be used: P-256 with ES256, or RSA of 2048 bits with RS256")
        payload = verified(proof, key, what="proof")
        if not hmac.compare_digest(key.thumbprint, jkt):
            raise TokenError("the proof is by another key than the token is for")
        if text_in(payload, "htm", what="proof") != method:
            raise TokenError("the proof is for another method (htm)")
        if normalized(text_in(payload, "htu", longest=_LONGEST, what="proof")) != normalized(url):
            raise TokenError("the proof is for another address (htu)")
        if not hmac.compare_digest(text_in(payload, "ath", what="proof").encode(), token_hash(token).encode()):
            raise TokenError("the proof is for another token (ath)")
        self._check_moment(payload, now)
        if self.nonces is not None and not self.nonces.holds(payload.get("nonce")):
            raise TokenError(
                "the proof lacks the nonce of now: make one with the nonce in the header DPoP-Nonce",
                code="use_dpop_nonce",
                nonce=self.nonces.current(),
            )
        return text_in(payload, "jti", what="proof")

    def _check_moment(self, payload: Mapping[str, Any], now: float) -> None:
        made = payload.get("iat")
        if isinstance(made, bool) or not isinstance(made, int | float):
            raise TokenError("the proof does not say when it was made (iat)")
        # Compared as they came: a number without bounds, or that is none, is in no window.
        if not now - self._max_age - self._leeway < made < now + self._leeway:
            raise TokenError("the proof was not made just now: check both clocks (iat)")


def _kept(op: Op[Any]) -> Any:
    assert isinstance(op, Keep)
    return op.perform()


def token_hash(token: str) -> str:
    """What a proof has to say of the token that it comes with."""
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode("ascii", "replace")).digest()).rstrip(b"=").decode()


def normalized(url: str) -> tuple[str, str, int, str]:
    """An address as it is compared: without query and fragment, whatever is spelled two ways spelled one.

    >>> normalized("HTTPS://API.example.com:443/%7Eada/%2f?x=1") == normalized("https://api.example.com/~ada/%2F")
    True
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise TokenError("an address cannot be read (htu)") from None
    scheme = _SOCKETS.get(parts.scheme, parts.scheme)
    if scheme not in _PORTS or not host:
        raise TokenError("an address is not a whole one: it has to begin with https:// (htu)")
    path = _ESCAPE.sub(_respelled, parts.path) or "/"
    return scheme, host.rstrip("."), _PORTS[scheme] if port is None else port, path


def _respelled(escape: re.Match[str]) -> str:
    character = unquote(escape.group(), "latin-1")
    return character if _PLAIN.fullmatch(character) else escape.group().upper()
