"""Who is calling: a context that every LLM call inside it carries, and the audited way around the guard.

Both live in context variables of this library: never in OpenTelemetry baggage,
which HTTP instrumentation would send to every provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from .errors import ConfigError

__all__ = ["CallContext", "bypass", "context", "current_context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Who a call is made for. ``route`` overrides the configured one; ``metadata`` goes to the guard."""

    user: str | None = None
    role: str | None = None
    session: str | None = None
    account: str | None = None
    application: str | None = None
    route: str | None = None
    request_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    bypass: str | None = None


_NOBODY = CallContext()
_CURRENT: ContextVar[CallContext] = ContextVar("highflame_context", default=_NOBODY)
# The contexts around the current one, outermost first.
_AROUND: ContextVar[tuple[CallContext, ...]] = ContextVar("highflame_context_around", default=())


def current_context() -> CallContext:
    """The context that a call made here would carry.

    >>> with context(user="ada", route="cheap"):
    ...     current_context().user
    'ada'
    >>> current_context().user is None
    True
    """
    return _CURRENT.get()


class _Scope:
    """Sets a context for a ``with`` or ``async with`` block; blocks nest, what the inner one omits stays.

    It has no state of its own, so threads and tasks may share one.
    """

    __slots__ = ("_changes",)

    def __init__(self, changes: dict[str, Any]) -> None:
        self._changes = changes

    def __enter__(self) -> CallContext:
        outer = _CURRENT.get()
        changes = dict(self._changes)
        if "metadata" in changes:
            changes["metadata"] = {**outer.metadata, **changes["metadata"]}
        inner = replace(outer, **changes)
        _AROUND.set((*_AROUND.get(), outer))
        _CURRENT.set(inner)
        return inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not by token: some frameworks leave a block in another copy of the context than it was entered in.
        if around := _AROUND.get():
            _AROUND.set(around[:-1])
            _CURRENT.set(around[-1])

    async def __aenter__(self) -> CallContext:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def context(
    *,
    user: str | None = None,
    role: str | None = None,
    session: str | None = None,
    account: str | None = None,
    application: str | None = None,
    route: str | None = None,
    request_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> _Scope:
    """Say who the calls inside a ``with`` or ``async with`` block are made for.

    >>> with context(user="ada", metadata={"team": "core"}), context(session="s1"):
    ...     here = current_context()
    >>> here.user, here.session, here.metadata
    ('ada', 's1', {'team': 'core'})
    """
    given = {
        "user": user,
        "role": role,
        "session": session,
        "account": account,
        "application": application,
        "route": route,
        "request_id": request_id,
        "metadata": metadata,
    }
    found = {name: value for name, value in given.items() if value is not None}
    for name, value in found.items():
        if not isinstance(value, Mapping if name == "metadata" else str):
            wanted = "a mapping" if name == "metadata" else "a string"
            raise ConfigError(f"context({name}=…) was given {type(value).__name__}: it must be {wanted}")
    return _Scope(found)


def bypass(reason: str) -> _Scope:
    """Make the calls inside the block without a guard, each one audited under ``reason``.

    Routing and tracing stay. A reason is required: it is logged and traced with every call.

    >>> with bypass("replaying last night's evaluation set"):
    ...     current_context().bypass
    "replaying last night's evaluation set"
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigError("bypass() needs a reason in words: it is logged and traced with every call it covers")
    return _Scope({"bypass": reason.strip()})
