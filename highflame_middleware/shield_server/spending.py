"""What the calls of models have cost, by project; each is counted once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..contexts import ModelContext
from ..errors import ConfigError

__all__ = ["Ledger", "Price", "Recorded"]

_REMEMBERED = 48 * 3600.0  # seconds for which a repeated report records nothing
_MOST = 100_000  # reports that are remembered
_TENANTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens, which are millionths of a dollar for one. What is not given costs as much
    as an input token.

    >>> Price(input=3.0, output=15.0).of(ModelContext(input_tokens=1_000, output_tokens=100))
    4500
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None

    def __post_init__(self) -> None:
        for value in (self.input, self.output, self.cache_read, self.cache_write, self.cache_write_1h):
            if value is not None and not 0 <= value < 1e9:
                raise ConfigError(f"a price of {value!r} cannot be used: give US dollars for a million tokens")

    def of(self, used: ModelContext) -> int:
        """What tokens cost, in millionths of a dollar."""
        parts = (
            (used.input_tokens, self.input),
            (used.output_tokens, self.output),
            (used.cache_read_tokens, self.cache_read),
            (used.cache_write_tokens, self.cache_write),
            (used.cache_write_1h_tokens, self.cache_write_1h),
        )
        return round(sum((tokens or 0) * (self.input if price is None else price) for tokens, price in parts))


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a report: its price, whether one is known, and whether it was counted now."""

    cost_micros: int
    priced: bool
    recorded: bool


class Ledger:
    """Adds up costs in memory. Prices are by model, or by ``provider/model`` where providers differ."""

    def __init__(
        self, prices: Mapping[str, Price] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._prices = dict(prices or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._spent: OrderedDict[str, int] = OrderedDict()

    def record(self, tenant: str, usage_id: str, used: ModelContext) -> Recorded:
        """Count a call, unless it has been counted."""
        price = self._prices.get(f"{used.provider}/{used.model}") or self._prices.get(used.model or "")
        cost = price.of(used) if price is not None else 0
        with self._lock:
            now = self._clock()
            while self._seen and (len(self._seen) >= _MOST or next(iter(self._seen.values())) <= now):
                self._seen.popitem(last=False)
            if (tenant, usage_id) in self._seen:
                return Recorded(cost, price is not None, recorded=False)
            self._seen[tenant, usage_id] = now + _REMEMBERED
            self._spent[tenant] = self._spent.get(tenant, 0) + cost
            if len(self._spent) > _TENANTS:
                self._spent.popitem(last=False)
        return Recorded(cost, price is not None, recorded=True)

    def spent(self, tenant: str) -> int:
        """What has been counted for a tenant, in millionths of a dollar."""
        with self._lock:
            return self._spent.get(tenant, 0)
