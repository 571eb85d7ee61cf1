"""Sessions in Redis, for guards in several processes: what one adds, all see."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from contextlib import suppress
from time import monotonic
from typing import Any

from ..errors import ConfigError
from ..extras import require
from .memory import MemorySessions, checked
from .session import EMPTY, LISTS, MOST_COUNTED, MOST_FIRSTS, Session, SessionFault, key_of, merged

__all__ = ["RedisSessions"]

_logger = logging.getLogger("highflame_middleware.sessions")
_MOST_DEFERRED = 1_000  # sessions with changes that wait to be written
_FLUSHED = 32  # of them, with one call
_PAUSE = 1.0  # seconds after a fault in which nothing is asked for: no call is to wait for what is gone
_LONGEST = 4_096  # characters of one field

# One session is one hash, and one list for each of its lists. All of a change is made, or nothing of it.
_SCRIPT = """
local change = cjson.decode(ARGV[2])
local hash = KEYS[1]
for name, by in pairs(change.counts) do
  local count = tonumber(redis.call('HGET', hash, 'c:' .. name) or '0') + by
  redis.call('HSET', hash, 'c:' .. name, string.format('%.0f', math.min(count, tonumber(ARGV[3]))))
end
for name, score in pairs(change.peaks) do
  local peak = redis.call('HGET', hash, 'p:' .. name)
  if not peak or tonumber(peak) < score then
    redis.call('HSET', hash, 'p:' .. name, string.format('%.0f', score))
  end
end
for name, first in pairs(change.firsts) do
  if redis.call('HLEN', hash) < tonumber(ARGV[4]) then
    redis.call('HSETNX', hash, 'f:' .. name, first)
  end
end
local found = {redis.call('HGETALL', hash)}
redis.call('PEXPIRE', hash, ARGV[1])
for place, name in ipairs(change.order) do
  local list = KEYS[place + 1]
  for _, item in ipairs(change.lists[name] or {}) do
    redis.call('RPUSH', list, item)
  end
  redis.call('LTRIM', list, -change.most[place], -1)
  redis.call('PEXPIRE', list, ARGV[1])
  found[place + 1] = redis.call('LRANGE', list, 0, -1)
end
return found
"""


class RedisSessions:
    """Sessions that processes share. Needs the extra ``[redis]``, and Redis 6 or newer.

    Parameters
    ----------
    url
        Such as ``"redis://localhost:6379/0"``, ``rediss://`` or ``unix://``; or ``client``,
        a blocking client of the application's own, with time limits of its own.
    ttl
        Seconds that a session is kept after it was last used.
    prefix
        What every key begins with. After it comes a hash: no session's id is ever sent.
    timeout
        Seconds to wait for a connection, and for an answer.

    Asynchronous callers are served from a thread: a guard with these sessions waits there,
    never on an event loop. Where Redis cannot be had, a verdict is made without the session,
    ``eval_errors`` says so, and one warning is logged for each outage.
    """

    local = False

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        ttl: float = 3_600.0,
        prefix: str = "highflame:session:",
        timeout: float = 0.25,
    ) -> None:
        if (url is None) == (client is None):
            raise ConfigError("RedisSessions needs a url, such as 'redis://localhost:6379/0', or else a client")
        self._ttl = checked("ttl", ttl, least=0.001)
        wait = checked("timeout", timeout, least=0.001)
        redis = require("redis", extra="redis", needed="redis>=5")
        self._faults: tuple[type[Exception], ...] = (redis.RedisError, OSError, ValueError)
        if client is None:
            try:
                client = redis.Redis.from_url(url, socket_timeout=wait, socket_connect_timeout=wait)
            except ValueError:
                # Not `from` it: the address may hold a password.
                raise ConfigError("RedisSessions needs a url such as 'redis://localhost:6379/0'") from None
        self._client, self._prefix = client, prefix
        self._script = client.register_script(_SCRIPT)
        self._mirror = MemorySessions(ttl=min(ttl, 600.0))
        self._lock = threading.Lock()
        self._deferred: OrderedDict[str, Session] = OrderedDict()
        self._down_until = 0.0
        self._warned = False

    def load(self, session_id: str) -> Session:
        """The session as it is now; what was deferred is written first."""
        self._flush()
        session = self._apply(key_of(session_id), EMPTY)
        self._remember(session_id, session)
        return session

    def add(self, session_id: str, change: Session) -> None:
        """Make a change to the session."""
        self._remember(session_id, self._apply(key_of(session_id), change))

    def peek(self, session_id: str) -> Session:
        """The session as this process last saw it: what other processes have added since is not in it."""
        return self._mirror.peek(session_id)

    def defer(self, session_id: str, change: Session) -> None:
        """Keep a change to be written with the next call of `load`; at most a thousand sessions wait."""
        self._mirror.add(session_id, change)
        self._put_off(key_of(session_id), change)

    def close(self) -> None:
        """Write what was deferred, if it can be, and close the connections."""
        with suppress(SessionFault):
            self._flush()
        self._client.close()

    def __repr__(self) -> str:
        return f"RedisSessions(prefix={self._prefix!r}, ttl={self._ttl:g})"

    def _remember(self, session_id: str, session: Session) -> None:
        self._mirror.forget(session_id)
        self._mirror.add(session_id, session)

    def _put_off(self, key: str, change: Session) -> None:
        with self._lock:
            self._deferred[key] = merged(self._deferred.get(key, EMPTY), change)
            while len(self._deferred) > _MOST_DEFERRED:
                self._deferred.popitem(last=False)

    def _flush(self) -> None:
        for _ in range(_FLUSHED):
            with self._lock:
                if not self._deferred:
                    return
                key, change = self._deferred.popitem(last=False)
            try:
                self._apply(key, change)
            except SessionFault:
                self._put_off(key, change)
                raise

    def _apply(self, key: str, change: Session) -> Session:
        """Make a change where the sessions are, and give what came of it."""
        if monotonic() < self._down_until:
            raise SessionFault("Redis did not answer a moment ago")
        name = f"{self._prefix}{{{key}}}"
        order = list(LISTS)
        told = {
            "counts": dict(change.counts),
            "peaks": dict(change.peaks),
            "firsts": dict(change.firsts),
            "lists": {one: list(items) for one, items in change.lists.items()},
            "order": order,
            "most": [LISTS[one] for one in order],
        }
        arguments = [int(self._ttl * 1_000), json.dumps(told), MOST_COUNTED, MOST_FIRSTS]
        try:
            found = self._script(keys=[name, *(f"{name}:{one}" for one in order)], args=arguments)
            session = _read(found, order)
        except self._faults as error:
            # Its own text may name the address, and with it a password.
            self._down_until = monotonic() + _PAUSE
            if not self._warned:
                self._warned = True
                _logger.warning("Sessions cannot be had from Redis (%s): verdicts go without", type(error).__name__)
            raise SessionFault(f"Redis: {type(error).__name__}") from error
        self._warned = False
        return session


def _read(found: Any, order: list[str]) -> Session:
    """The session that the script's answer spells; a ValueError for anything else."""
    if not isinstance(found, list) or len(found) != len(order) + 1:
        raise ValueError("the answer has another shape")
    flat = [_text(item) for item in found[0]]
    kinds: dict[str, dict[str, str]] = {"c": {}, "p": {}, "f": {}}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        kind, _, rest = name.partition(":")
        if kind in kinds:
            kinds[kind][rest] = value
    return Session(
        {name: int(value) for name, value in kinds["c"].items()},
        {name: int(value) for name, value in kinds["p"].items()},
        kinds["f"],
        {name: tuple(map(_text, items)) for name, items in zip(order, found[1:], strict=True) if items},
    )


def _text(item: Any) -> str:
    text = item.decode() if isinstance(item, bytes) else item
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError("a field is no text, or longer than any that is written")
    return text
