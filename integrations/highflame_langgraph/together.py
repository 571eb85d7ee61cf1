"""Calls of one reply that one node runs: decided on together, before any of them is made.

An interrupt has its node run again from the start. Had a call been made beside one
that waits for an approval, it would be made again with each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from langchain_core.messages import AIMessage
from langgraph.prebuilt.tool_node import ToolCallRequest

from highflame_middleware.checkpoint import Flow, Invoke

__all__ = ["Together", "calls_beside"]

V = TypeVar("V")

_SENT = "__pregel_push"  # how a task is called that runs what it was sent, and nothing else
_SCRATCHPAD = "__pregel_scratchpad"  # one for each run of a node

_MAX_OPEN = 10_000


def calls_beside(request: ToolCallRequest) -> Sequence[Mapping[str, Any]]:
    """All calls that the node of a request runs, its own included."""
    own = request.tool_call
    if _SENT in (request.runtime.config.get("metadata") or {}).get("langgraph_triggers", ()):
        return [own]
    for messages in _lists_in(request.state):
        last = next((one for one in reversed(messages) if isinstance(one, AIMessage)), None)
        if last is not None and any(call is own or call == own for call in last.tool_calls):
            return last.tool_calls
    return [own]


class Together(Generic[V]):
    """Values that are made once for all calls of a node's run, by the first of them, while the others wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[int, _Run[V]] = {}

    def once(
        self, request: ToolCallRequest, calls: Sequence[Any], make: Callable[[], Flow[V]], *, blocking: bool
    ) -> Flow[V]:
        """The value for a request: made, or that of the call that came first; an error is everybody's."""
        scratchpad = (request.runtime.config.get("configurable") or {}).get(_SCRATCHPAD)
        if scratchpad is None or len(calls) < 2:
            return (yield from make())
        with self._lock:
            run = self._open.get(id(scratchpad))
            if run is None or run.calls != list(calls):
                run = _Run(scratchpad, list(calls), Lock() if blocking else asyncio.Lock())
                self._open[id(scratchpad)] = run
                if len(self._open) > _MAX_OPEN:
                    # Calls that were called off before they began.
                    del self._open[next(iter(self._open))]
        try:
            return (yield from run.made(make))
        finally:
            with self._lock:
                run.there += 1
                if run.there == len(run.calls) and self._open.get(id(scratchpad)) is run:
                    del self._open[id(scratchpad)]


@dataclass(slots=True)
class _Run(Generic[V]):
    """One run of a node; it holds what it is known by, so that nothing else can be taken for it."""

    scratchpad: Any
    calls: list[Any]
    lock: Any
    there: int = 0
    value: list[V] = field(default_factory=list)
    error: Exception | None = None

    def made(self, make: Callable[[], Flow[V]]) -> Generator[Any, Any, V]:
        yield from Invoke(self.lock.acquire)
        try:
            if self.error is not None:
                raise self.error
            if not self.value:
                try:
                    self.value.append((yield from make()))
                except Exception as error:
                    self.error = error
                    raise
            return self.value[0]
        finally:
            self.lock.release()


def _lists_in(state: Any) -> list[list[Any]]:
    if isinstance(state, list):
        return [state]
    fields = state if isinstance(state, Mapping) else getattr(state, "__dict__", {})
    return [value for value in fields.values() if isinstance(value, list)]
