"""How often a caller may come: counted by user, account, key or address, with the limits package (``[limits]``).

A limit is written as that package writes it: ``100/minute``, ``5/second;1000/hour``. Windows slide. Whoever has no
user, account, application, session or key is counted by address, so that leaving it out gains nothing; a proxy's
own address is its callers' as long as the server does not put theirs in its place. What is stored is a digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from ..errors import ConfigError, GuardError, HighflameError, QuotaError
from ..extras import require

__all__ = ["BY", "Rates", "Spent"]

# What callers may be counted by.
BY = ("user", "account", "application", "session", "key", "address")
_KEYS = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"x-highflame-apikey")
_NEEDED = {"extra": "limits", "needed": "limits>=5"}
# Seconds that a storage may take, and that one which fails is not asked again for.
_PATIENCE = 2.0

_log = logging.getLogger("highflame_middleware.asgi")


@dataclass(frozen=True, slots=True)
class Spent:
    """One request counted: headers for its reply, and why it is refused, if it is."""

    headers: tuple[tuple[str, str], ...] = ()
    error: HighflameError | None = None


@dataclass(frozen=True, slots=True)
class _Limit:
    by: str
    item: Any
    policy: str


class Rates:
    """Counts requests. Stores are opened when they are first needed, for each event loop anew."""

    def __init__(self, given: Mapping[str, str], *, storage: str = "memory://") -> None:
        if not isinstance(given, Mapping) or not given:
            raise ConfigError(f"rate_limits={given!r} must be a table such as {{'user': '100/minute'}}")
        self._limits = tuple(limit for by, text in given.items() for limit in _limits_of(by, text))
        self._storage = storage
        self._local: Any = None
        if storage == "memory://":
            counters = require("highflame_middleware.asgi.counters", **_NEEDED)
            strategies = require("limits.strategies", **_NEEDED)
            self._local = strategies.SlidingWindowCounterRateLimiter(counters.Counters())
        elif not isinstance(storage, str) or "://" not in storage or storage.startswith("async+"):
            raise ConfigError(f"rate_storage={storage!r} is no address of a store: give 'redis://host:6379/0'")
        else:
            _shown_to_work(storage)
        self._shared: anyio.lowlevel.RunVar[Any] = anyio.lowlevel.RunVar("highflame_rates")
        self._rests_until = 0.0

    async def spend(
        self, fields: Mapping[str, Any], head: Mapping[bytes, bytes], client: Any, *, fail_open: bool
    ) -> Spent:
        """Count one request.

        Where its store fails, requests pass if ``fail_open``, else they are refused; one warning for each outage.
        """
        told: list[tuple[_Limit, int, float]] = []
        try:
            with anyio.fail_after(_PATIENCE):
                for limit in self._limits:
                    ids = (limit.by, _digest(_subject(limit.by, fields, head, client)))
                    passed, left, wait = await self._hit(limit, ids)
                    told.append((limit, left, wait))
                    if not passed:
                        message = (
                            f"Called more often than {_spoken(limit)} allows: wait {max(1, math.ceil(wait))} s"
                        )
                        return Spent(_headers(told), QuotaError(message, retry_after=wait))
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            return self._unknown(error, fail_open=fail_open)
        return Spent(_headers(told))

    async def _hit(self, limit: _Limit, ids: tuple[str, str]) -> tuple[bool, int, float]:
        if self._local is not None:
            passed = self._local.hit(limit.item, *ids)
            stats = self._local.get_window_stats(limit.item, *ids)
        else:
            if time.monotonic() < self._rests_until:
                raise ConnectionError("the store has just failed")
            strategy = self._here()
            passed = await strategy.hit(limit.item, *ids)
            stats = await strategy.get_window_stats(limit.item, *ids)
        # Of a window that nothing is known to leave soon it is enough to say that it ends.
        wait = min(max(0.0, stats.reset_time - time.time()), float(limit.item.get_expiry()))
        return bool(passed), int(stats.remaining), wait

    def _here(self) -> Any:
        try:
            return self._shared.get()
        except LookupError:
            strategy = _opened(self._storage)
            self._shared.set(strategy)
            return strategy

    def _unknown(self, error: Exception, *, fail_open: bool) -> Spent:
        now = time.monotonic()
        if now >= self._rests_until:
            _log.warning(
                "requests cannot be counted (%s: %s); they are %s",
                type(error).__name__,
                error,
                "let through" if fail_open else "refused",
            )
            self._rests_until = now + 1.0
        if fail_open:
            return Spent()
        return Spent((("retry-after", "1"),), GuardError("How often this caller came cannot be counted now"))


class _Threaded:
    """A blocking strategy, asked in threads: for trio, which the asynchronous stores do not know."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    async def hit(self, *args: Any) -> Any:
        return await self._asked(partial(self._strategy.hit, *args))

    async def get_window_stats(self, *args: Any) -> Any:
        return await self._asked(partial(self._strategy.get_window_stats, *args))

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)


def _opened(storage: str) -> Any:
    stores = require("limits.storage", **_NEEDED)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        strategies = require("limits.strategies", **_NEEDED)
        return _Threaded(strategies.SlidingWindowCounterRateLimiter(stores.storage_from_string(storage)))
    strategies = require("limits.aio.strategies", **_NEEDED)
    options = {"implementation": "redispy"} if storage.startswith("redis") else {}
    return strategies.SlidingWindowCounterRateLimiter(stores.storage_from_string(f"async+{storage}", **options))


def _shown_to_work(storage: str) -> None:
    """Whether there is such a store at all; nothing is asked of it."""
    stores = require("limits.storage", **_NEEDED)
    strategies = require("limits.strategies", **_NEEDED)
    errors = require("limits.errors", **_NEEDED)
    try:
        strategies.SlidingWindowCounterRateLimiter(stores.storage_from_string(storage))
    except (errors.ConfigurationError, NotImplementedError, ValueError, ImportError) as error:
        scheme = storage.partition("://")[0]
        raise ConfigError(f"rate_storage: a {scheme!r} store cannot be used: {error}") from None


def _limits_of(by: Any, text: Any) -> list[_Limit]:
    if by not in BY:
        raise ConfigError(f"rate_limits: {by!r} is nothing to count by: use {', '.join(BY)}")
    try:
        items = require("limits", **_NEEDED).parse_many(text)
    except ValueError as error:
        raise ConfigError(f"rate_limits: {text!r} is no limit ({error}): give '100/minute'") from None
    named = [f"{by}-{index}" if index else by for index in range(len(items))]
    return [
        _Limit(by, item, f'"{name}";q={item.amount};w={item.get_expiry()}')
        for name, item in zip(named, items, strict=True)
    ]


def _subject(by: str, fields: Mapping[str, Any], head: Mapping[bytes, bytes], client: Any) -> str:
    if by == "key":
        key = next((value for name in _KEYS if (value := head.get(name))), None)
        if key is not None:
            return "key " + key.decode("latin-1")
    elif by != "address" and fields.get(by):
        return f"{by} {fields[by]}"
    return "address " + _network(client)


def _network(client: Any) -> str:
    """A caller's address; of the newer ones the network, for whoever has one has all of it."""
    host = str(client[0]) if client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
    return str(address)


def _digest(subject: str) -> str:
    return hashlib.blake2b(subject.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _spoken(limit: _Limit) -> str:
    return f"{limit.item.amount} in {limit.item.get_expiry()} s by {limit.by}"


def _headers(told: list[tuple[_Limit, int, float]]) -> tuple[tuple[str, str], ...]:
    """The headers of draft-ietf-httpapi-ratelimit-headers."""
    policy = ", ".join(limit.policy for limit, _, _ in told)
    state = ", ".join(
        f"{limit.policy.partition(';')[0]};r={left};t={max(0, math.ceil(wait))}" for limit, left, wait in told
    )
    return (("ratelimit-policy", policy), ("ratelimit", state))
