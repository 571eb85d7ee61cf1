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

__all__ = ["CallContext", "bypass", "context", "current_context", "enter_context", "leave_context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Who a call is made for. ``route`` overrides the configured one; ``metadata`` goes to the guard.

    ``identity`` is what a verified token says (`highflame_middleware.identity.Identity`), where one was.
    """

    user: str | None = None
    role: str | None = None
    session: str | None = None
    account: str | None = None
    application: str | None = None
    route: str | None = None
    request_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    bypass: str | None = None
    identity: Any = field(default=None, repr=False)


class _Node:
    """One block's context: what it adds to those around it, put together when somebody asks."""

    __slots__ = ("_changes", "_found", "outer")

    def __init__(self, outer: _Node | None, changes: dict[str, Any]) -> None:
        self.outer, self._changes = outer, changes
        self._found: CallContext | None = None

    def context(self) -> CallContext:
        if self._found is None:
            changes = self._changes
            if self.outer is None or self.outer is _NOWHERE:
                # A copy of what was given: it is the caller's to change.
                metadata = {"metadata": dict(changes["metadata"])} if "metadata" in changes else {}
                self._found = CallContext(**{**changes, **metadata})
            else:
                around = self.outer.context()
                if "metadata" in changes:
                    changes = {**changes, "metadata": {**around.metadata, **changes["metadata"]}}
                self._found = replace(around, **changes)
        return self._found


_NOWHERE = _Node(None, {})
_CURRENT: ContextVar[_Node] = ContextVar("highflame_context", default=_NOWHERE)


def enter_context(fields: dict[str, Any]) -> None:
    """Begin a context as `context` does, for a door: with fields that it has made or checked itself.

    A verified ``identity`` may be among them. It costs next to nothing until somebody asks for it.
    """
    _CURRENT.set(_Node(_CURRENT.get(), fields))


def leave_context() -> None:
    """End the innermost context."""
    # Not by token: some frameworks leave a block in another copy of the context than it was entered in.
    outer = _CURRENT.get().outer
    if outer is not None:
        _CURRENT.set(outer)


def current_context() -> CallContext:
    """The context that a call made here would carry.

    >>> with context(user="ada", route="cheap"):
    ...     current_context().user
    'ada'
    >>> current_context().user is None
    True
    """
    return _CURRENT.get().context()


class _Scope:
    """Sets a context for a ``with`` or ``async with`` block; blocks nest, what the inner one omits stays.

    It has no state of its own, so threads and tasks may share one.
    """

    __slots__ = ("_changes",)

    def __init__(self, changes: dict[str, Any]) -> None:
        self._changes = changes

    def __enter__(self) -> CallContext:
        enter_context(self._changes)
        return _CURRENT.get().context()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave_context()

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
