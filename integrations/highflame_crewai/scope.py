"""Being inside a run: which run, which hooks, for whom. It holds in threads and tasks that are begun inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields
from typing import Any, TypeAlias

from crewai.hooks.dispatch import scoped_hooks

from highflame_middleware.caller import CallContext, bypass, context, current_context

from .hooks import merged, stand_by
from .running import Run, standing_in

__all__ = ["Carried", "carried", "entered"]

Carried: TypeAlias = Callable[[], AbstractContextManager[None]]


@contextmanager
def entered(run: Run, caller: dict[str, Any] | None = None) -> Iterator[None]:
    """Be inside a run, with ``caller`` said of whoever it is for."""
    stand_by()
    with ExitStack() as stack:
        reason = (caller or {}).pop("bypass", None)
        if caller:
            stack.enter_context(context(**caller))
        if reason:
            stack.enter_context(bypass(reason))
        stack.enter_context(scoped_hooks(merged()))
        stack.enter_context(standing_in(run))
        yield


def carried(run: Run) -> Carried:
    """How to be inside this run, for whom it is now, at a later time and place."""
    said = _said(current_context())
    return lambda: entered(run, dict(said))


def _said(caller: CallContext) -> dict[str, Any]:
    values = {item.name: getattr(caller, item.name) for item in fields(caller)}
    return {name: value for name, value in values.items() if value not in (None, {})}
