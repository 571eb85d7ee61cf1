"""Used proofs in Redis, for replicas none of which is to take a proof that another has taken."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, IdentityUnavailableError
from ..extras import require

if TYPE_CHECKING:
    from anyio.lowlevel import RunVar

__all__ = ["RedisProofs"]

_log = logging.getLogger("highflame_middleware.identity")
_MOST = 32  # connections of a process, and of an event loop; who finds none waits for one
_PAUSE = 1.0  # seconds after a fault in which nobody waits for what is gone


class RedisProofs:
    """The proofs that were used at any replica. Needs the extra ``[redis]``.

    ``url`` is such as ``redis://localhost:6379/0``, ``rediss://`` or ``unix://``; ``timeout`` is how many seconds
    an answer may take. A key is ``prefix`` and a digest: nothing of a caller is sent. Where there is no answer no
    proof is taken, for it might have been used: callers are told 503, and one warning is logged for each outage.
    Redis must not throw keys away before their time (``maxmemory-policy noeviction``).

    >>> from highflame_middleware.identity import Proofs
    >>> proofs = Proofs(replays=RedisProofs("redis://localhost:6379/0"))
    """

    def __init__(self, url: str, *, prefix: str = "highflame:proof:", timeout: float = 0.5) -> None:
        if not 0 < timeout <= 60:
            raise ConfigError(f"timeout={timeout!r} cannot be used: give seconds above zero, at most 60")
        redis = require("redis", extra="redis", needed="redis>=5")
        self._faults: tuple[type[Exception], ...] = (redis.RedisError, OSError, ValueError)
        self._url, self._prefix, self._timeout = url, prefix, timeout
        self._options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "max_connections": _MOST,
            "timeout": timeout,
        }
        try:
            redis.BlockingConnectionPool.from_url(url, **self._options)
        except (ValueError, AttributeError, TypeError):
            # Not `from` it: the address may hold a password.
            raise ConfigError("RedisProofs needs a url such as 'redis://localhost:6379/0'") from None
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._blocking: dict[int, Any] = {}
        self._per_loop: RunVar[Any] | None = None
        self._down_until = 0.0
        self._warned = False

    def add(self, owner: str, name: str, seconds: float) -> bool:
        """Keep a proof; false where any replica has it, an `IdentityUnavailableError` where nobody can tell."""
        with self._asked():
            return bool(self._client().set(self._key(owner, name), b"", nx=True, px=_milliseconds(seconds)))

    async def aadd(self, owner: str, name: str, seconds: float) -> bool:
        """The same without blocking the event loop, asyncio's or trio's."""
        import anyio  # noqa: PLC0415 - a part of httpx; only asynchronous callers need it

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # The asynchronous client does not know trio.
            return await anyio.to_thread.run_sync(self.add, owner, name, seconds, abandon_on_cancel=True)
        with self._asked():
            with anyio.fail_after(self._timeout):
                found = await self._aclient().set(self._key(owner, name), b"", nx=True, px=_milliseconds(seconds))
            return bool(found)

    def close(self) -> None:
        """Close the connections of blocking callers."""
        client = self._blocking.pop(os.getpid(), None)
        if client is not None:
            client.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; on trio, those of blocking callers, which it shares."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.close()
            return
        client = self._per_loop.get(None) if self._per_loop is not None else None
        if client is not None and self._per_loop is not None:
            self._per_loop.set(None)
            await client.connection_pool.disconnect()

    def __repr__(self) -> str:
        return f"RedisProofs(prefix={self._prefix!r})"

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Ask; whatever goes wrong is told as one error."""
        if time.monotonic() < self._down_until:
            raise _unknown()
        try:
            yield
        except self._faults as error:
            # Its own text may name the address, and with it a password.
            self._down_until = time.monotonic() + _PAUSE
            if not self._warned:
                self._warned = True
                _log.warning("used proofs cannot be had from Redis (%s): none is taken", type(error).__name__)
            raise _unknown() from None
        self._warned = False

    def _key(self, owner: str, name: str) -> str:
        return self._prefix + hashlib.sha256(f"{len(owner)} {owner} {name}".encode()).hexdigest()

    def _client(self) -> Any:
        # A forked worker has connections of its own, and threads that come at once share theirs.
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()  # the parent may have held it when it forked
        with self._lock:
            client = self._blocking.get(self._pid)
            if client is None:
                redis = require("redis", extra="redis", needed="redis>=5")
                retry = require("redis.retry", extra="redis", needed="redis>=5")
                client = self._blocking[self._pid] = self._made(redis, redis, retry)
            return client

    def _aclient(self) -> Any:
        import anyio.lowlevel  # noqa: PLC0415

        if self._per_loop is None:
            self._per_loop = anyio.lowlevel.RunVar(f"highflame_proofs_{id(self)}")
        client = self._per_loop.get(None)
        if client is None:
            redis = require("redis", extra="redis", needed="redis>=5")
            asynchronous = require("redis.asyncio", extra="redis", needed="redis>=5")
            retry = require("redis.asyncio.retry", extra="redis", needed="redis>=5")
            client = self._made(redis, asynchronous, retry)
            self._per_loop.set(client)
        return client

    def _made(self, redis: Any, module: Any, retry: Any) -> Any:
        # Once more, for a connection that has gone in the meantime: should the first attempt have been kept after
        # all, the second is refused.
        again = retry.Retry(redis.backoff.NoBackoff(), 1)
        pool = module.BlockingConnectionPool.from_url(
            self._url, retry=again, retry_on_error=[redis.ConnectionError], **self._options
        )
        return module.Redis(connection_pool=pool)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


def _unknown() -> IdentityUnavailableError:
    return IdentityUnavailableError("whether the proof was used before cannot be told now: come back later")
