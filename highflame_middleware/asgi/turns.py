"""How many guards are asked at once, and for how long anybody waits for that."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel

from ..drivers import aperform
from ..errors import ConfigError, GuardTimeoutError
from ..exchange import Evaluate
from ..flow import Op

__all__ = ["Turns"]


class Turns:
    """Places for evaluations by guards that are not computed here; what gets none in time has no verdict.

    Nothing is made before it is needed, and for each event loop anew: a process may fork in between.
    """

    def __init__(self, limit: int) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigError(f"max_evaluations={limit!r} cannot be used: give a number, 1 or more")
        self._limit = limit
        # Older versions of anyio tell them apart by name.
        name = f"highflame_turns_{id(self)}"
        self._places: anyio.lowlevel.RunVar[anyio.Semaphore] = anyio.lowlevel.RunVar(name)

    async def perform(self, op: Op[Any]) -> Any:
        """Perform an op, an evaluation in its turn."""
        if isinstance(op, Evaluate) and op.policy.guard is not None and not op.policy.guard.local:
            return await self._in_turn(op)
        return await aperform(op)

    async def _in_turn(self, op: Evaluate) -> Any:
        places = self._here()
        try:
            with anyio.fail_after(op.policy.deadline):
                await places.acquire()
        except TimeoutError:
            late = f"No turn to ask a guard within {op.policy.deadline:g} s: {self._limit} are being asked"
            return [GuardTimeoutError(late)] * len(op.requests)
        try:
            return await aperform(op)
        finally:
            places.release()

    def _here(self) -> anyio.Semaphore:
        try:
            return self._places.get()
        except LookupError:
            places = anyio.Semaphore(self._limit)
            self._places.set(places)
            return places
