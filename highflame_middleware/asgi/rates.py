"""How often a caller may come: counted by user, account, key or address, with the limits package (``[limits]``).

A limit is written as that package writes it: ``100/minute``, ``5/second;1000/hour``. Windows slide. Whoever has no
user, account, application, session or key is counted by address, so that leaving it out gains nothing; who has
several keys is counted by each, so that adding one gains nothing. A proxy's own address is its callers' as long as
the server does not put theirs in its place. What is stored is a digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import ipaddress
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from ..errors import ConfigError, GuardError, HighflameError, QuotaError, UnreadableError
from ..extras import require

__all__ = ["BY", "Rates", "Spent"]

# What callers may be counted by.
BY = ("user", "account", "application", "session", "key", "address")
_KEYS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"x-highflame-apikey"})
# Keys of one request: a caller has one for us, and one for a provider.
_MOST_KEYS = 4
_NEEDED = {"extra": "limits", "needed": "limits>=5"}
# Seconds that a storage may take, and that one which fails is not asked again for.
_PATIENCE = 2.0

_log = logging.getLogger("highflame_middleware.asgi")


@dataclass(frozen=True, slots=True)
class Spent:
    """One request counted: headers for its reply, and why it is refused, if it is."""

    headers: tuple[tuple[str, str], ...] = ()
    error: HighflameError | None = None

    @property
    def lines(self) -> list[tuple[bytes, bytes]]:
        """The headers as they are sent."""
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]


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
        self._shared: anyio.lowlevel.RunVar[Any] = anyio.lowlevel.RunVar(f"highflame_rates_{id(self)}")
        self._rests_until = 0.0

    async def spend(
        self, fields: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]], client: Any, *, fail_open: bool
    ) -> Spent:
        """Count one request.

        Where its store fails, requests pass if ``fail_open``, else they are refused; one warning for each outage.
        """
        told: list[tuple[_Limit, int, float]] = []
        try:
            with anyio.fail_after(_PATIENCE):
                for limit in self._limits:
                    subjects = _subjects(limit.by, fields, headers, client)
                    hits = [await self._hit(limit, (limit.by, _digest(subject))) for subject in subjects]
                    passed, left, wait = min(hits, key=lambda hit: (*hit[:2], -hit[2]))
                    told.append((limit, left, wait))
                    if not passed:
                        message = (
                            f"Called more often than {_spoken(limit)} allows: wait {max(1, math.ceil(wait))} s"
                        )
                        return Spent(_headers(told), QuotaError(message, retry_after=wait))
        except UnreadableError as error:
            return Spent(_headers(told), error)
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

    async def aclose(self) -> None:
        """Close the running event loop's connections; a store that cannot do that is left as it is."""
        strategy = self._shared.get(None)
        if strategy is not None:
            self._shared.set(None)
            with anyio.move_on_after(_PATIENCE), suppress(Exception):
                await _closed(strategy)

    def _here(self) -> Any:
        strategy = self._shared.get(None)
        if strategy is None:
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
        self.storage = strategy.storage

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
    return strategies.SlidingWindowCounterRateLimiter(_asynchronous(stores, storage))


def _asynchronous(stores: Any, storage: str) -> Any:
    options = {"implementation": "redispy"} if storage.startswith("redis") else {}
    return stores.storage_from_string(f"async+{storage}", **options)


async def _closed(strategy: Any) -> None:
    """Close what a strategy's store has open: the clients, in the places where the limits package has them."""
    store = getattr(strategy.storage, "bridge", strategy.storage)
    sentinels = getattr(getattr(store, "sentinel", None), "sentinels", ())
    clients = [getattr(store, "storage", None), getattr(store, "storage_replica", None), *sentinels]
    for client in clients:
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is not None and inspect.isawaitable(closing := close()):
            await closing


def _shown_to_work(storage: str) -> None:
    """Whether there is such a store at all; nothing is asked of it."""
    stores = require("limits.storage", **_NEEDED)
    strategies = require("limits.strategies", **_NEEDED)
    errors = require("limits.errors", **_NEEDED)
    try:
        strategies.SlidingWindowCounterRateLimiter(stores.storage_from_string(storage))
        # It wants newer packages than the other.
        _asynchronous(stores, storage)
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


def _subjects(by: str, fields: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]], client: Any) -> list[str]:
    """Whom a request is counted as: one caller, but for one with several keys."""
    if by == "key":
        keys = list(dict.fromkeys(_keys(headers)))
        if len(keys) > _MOST_KEYS:
            raise UnreadableError(f"The request has more than {_MOST_KEYS} keys: send those that are needed")
        if keys:
            return [f"key {key}" for key in keys]
    elif by != "address" and fields.get(by):
        return [f"{by} {fields[by]}"]
    return ["address " + _network(client)]


def _keys(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """The keys that a request has, however they are spelled: whichever of them the application goes by is there."""
    for name, value in headers:
        lowered = name.lower()
        if lowered in _KEYS and (key := value.decode("latin-1").strip()):
            yield key.split(None, 1)[-1] if lowered == b"authorization" else key


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
