"""The decorators: what goes into a function is judged before it runs, what comes out before anybody has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..config import UNSET, Settings, Unset
from ..contexts import ModelContext
from ..errors import ConfigError
from ..flow import Flow
from ..guard.protocol import GuardLike
from ..guard.verdict import DecisionEvent
from ..policy import policy_of
from ..shield.wire import CONTENT_TYPES
from ..types import GuardRequest, Mode, Stage
from .arguments import signed, text_argument
from .colours import Arguments, Outgoing, around_input, around_output
from .guarding import Guarding, Kind

if TYPE_CHECKING:
    from ..shield.client import Highflame

__all__ = ["Shield"]

F = TypeVar("F", bound=Callable[..., Any])

_SESSION = "session_id is a string, a function that gives one, or None for the session of the context"


class Shield:
    """Guards functions, methods, asynchronous functions and generators by decorating them.

    What a function receives, or gives back, is what the guard left of it; a
    verdict that stops is a `BlockedError` where the function is called, or
    where its generator is read. Modes, failure policy and the record are those
    of every other door.

    Parameters
    ----------
    guard
        A `Highflame` client, a guard, or what the settings accept; omitted, the settings' own.
    mode, fail_open, deadline, stream, on_decision, settings
        As for every door; what is omitted comes from environment, file and defaults.

    >>> shield = Shield("embedded")
    >>> @shield.prompt
    ... def reply(message: str) -> str:
    ...     return f"You wrote: {message}"
    >>> reply("Charge 4111 1111 1111 1111")
    'You wrote: Charge [REDACTED:credit_card]'
    """

    def __init__(
        self,
        guard: Any | GuardLike | str | Unset | None = UNSET,
        *,
        mode: Mode | str | Unset = UNSET,
        fail_open: bool | Unset = UNSET,
        deadline: float | Unset = UNSET,
        stream: str | Unset = UNSET,
        on_decision: Callable[[DecisionEvent], object] | Unset | None = UNSET,
        settings: Settings | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "guard": None if (client := _client(guard)) else guard,
            "mode": mode,
            "fail_open": fail_open,
            "deadline": deadline,
            "stream": stream,
            "on_decision": on_decision,
        }
        found = settings.with_changes(**given) if settings is not None else Settings.load(gateway=None, **given)
        if client is not None:
            found = found.with_changes(guard=client.as_guard(deadline=found.deadline))
        self._policy = policy_of(found)

    @overload
    def prompt(self, function: F, /) -> F: ...
    @overload
    def prompt(self, /, *, content_arg: str | None = None, **options: Any) -> Callable[[F], F]: ...
    def prompt(self, function: Any = None, /, *, content_arg: str | None = None, **options: Any) -> Any:
        """Judge a text that a function is given, as a user's prompt.

        ``content_arg`` names the argument, and has to where it could be several. Further options, here and
        below: ``mode``, ``session_id`` (a string, or a function called with each call; omitted, the session of
        `context`), ``model`` (a `ModelContext`), ``metadata``, ``optimize``.
        """

        def decorate(target: Any) -> Any:
            return self._on_text(target, _kind(Stage.PROMPT, options), content_arg)

        return _applied(decorate, function)

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(self, /, *, tool_name: str | None = None, **options: Any) -> Callable[[F], F]: ...
    def tool(self, function: Any = None, /, *, tool_name: str | None = None, **options: Any) -> Any:
        """Judge all arguments of a function, as the call of a tool that it is (by ``tool_name``, or its own).

        Strings among them may be edited; an edit of anything else cannot be applied, so it stops the call.
        """

        def decorate(target: Any) -> Any:
            return _rewrapped(target, lambda inner: self._on_arguments(inner, tool_name, options))

        return _applied(decorate, function)

    @overload
    def toolresponse(self, function: F, /) -> F: ...
    @overload
    def toolresponse(self, /, *, tool_name: str | None = None, **options: Any) -> Callable[[F], F]: ...
    def toolresponse(self, function: Any = None, /, *, tool_name: str | None = None, **options: Any) -> Any:
        """Judge what a function gives back, or yields, as the result of a tool.

        Strings that are yielded are judged as one text that grows; whatever is no string, as JSON by itself.
        """

        def decorate(target: Any) -> Any:
            return _rewrapped(
                target,
                lambda inner: self._on_result(
                    inner, _kind(Stage.TOOL_RESULT, options, tool=tool_name or _name_of(inner))
                ),
            )

        return _applied(decorate, function)

    @overload
    def modelresponse(self, function: F, /) -> F: ...
    @overload
    def modelresponse(self, /, **options: Any) -> Callable[[F], F]: ...
    def modelresponse(self, function: Any = None, /, **options: Any) -> Any:
        """Judge what a function gives back, or yields, as the reply of a model."""

        def decorate(target: Any) -> Any:
            kind = _kind(Stage.RESPONSE, options)
            return _rewrapped(target, lambda inner: self._on_result(inner, kind))

        return _applied(decorate, function)

    def __call__(
        self, *wrong: Any, content_type: str = "", action: str = "", content_arg: str | None = None, **options: Any
    ) -> Callable[[F], F]:
        """Judge a text that a function is given, under a content type and action of Shield's.

        >>> shield = Shield("embedded")
        >>> @shield(content_type="file", action="write_file", content_arg="content")
        ... def write(path: str, content: str) -> None: ...
        """
        if wrong or not content_type or not action:
            raise ConfigError(
                "a Shield is no decorator by itself: use @shield.prompt, .tool, .toolresponse or .modelresponse, "
                "or @shield(content_type=…, action=…)"
            )
        if content_type not in CONTENT_TYPES:
            raise ConfigError(f"content_type={content_type!r} is unknown: use one of {', '.join(CONTENT_TYPES)}")
        stage = GuardRequest(content="", content_type=content_type).stage
        assert stage is not None
        kind = _kind(stage, options, content_type=content_type, action=action)
        return lambda target: self._on_text(target, kind, content_arg)

    def __repr__(self) -> str:
        guard = self._policy.guard
        return f"Shield({guard.name if guard is not None else None!r}, mode={self._policy.mode.value!r})"

    # --- what is judged ------------------------------------------------------------------------------------------

    def _on_text(self, target: Any, kind: Kind, content_arg: str | None) -> Any:
        def decorate(inner: Callable[..., Any]) -> Callable[..., Any]:
            found = signed(inner)
            name = text_argument(found, content_arg)

            def before(args: tuple[Any, ...], given: dict[str, Any]) -> Flow[Arguments]:
                bound = found.bind(args, given)
                guarding, value = Guarding(kind, self._policy, found.name), bound.arguments[name]
                if value is None or isinstance(value, str):
                    bound.arguments[name] = yield from guarding.judged(value)
                else:
                    guarding.unreadable(f"{type(value).__name__} as {name}")
                return bound.args, bound.kwargs

            return around_input(inner, before)

        return _rewrapped(target, decorate)

    def _on_arguments(
        self, inner: Callable[..., Any], tool_name: str | None, options: Mapping[str, Any]
    ) -> Callable[..., Any]:
        found = signed(inner)
        kind = _kind(Stage.TOOL_CALL, options, tool=tool_name or found.name)

        def before(args: tuple[Any, ...], given: dict[str, Any]) -> Flow[Arguments]:
            bound = found.bind(args, given)
            own = {item.name: bound.arguments[item.name] for item in found.own}
            bound.arguments.update((yield from Guarding(kind, self._policy, found.name).judged(own)))
            return bound.args, bound.kwargs

        return around_input(inner, before)

    def _on_result(self, inner: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
        return around_output(inner, Outgoing(kind, self._policy, _name_of(inner)))


def _applied(decorate: Callable[[Any], Any], function: Any) -> Any:
    """A decorator that was used bare, or with options."""
    return decorate if function is None else decorate(function)


def _rewrapped(target: Any, decorate: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Decorate what is meant: within a static or class method, the function."""
    if isinstance(target, staticmethod | classmethod):
        return type(target)(decorate(target.__func__))
    if isinstance(target, type) or not callable(target):
        raise ConfigError(f"{target!r} cannot be decorated: give a function")
    return decorate(target)


def _kind(stage: Stage, options: Mapping[str, Any], **more: Any) -> Kind:
    """What a decorator's options say; a `ConfigError` for what they cannot."""
    given = dict(options)
    mode, session = given.pop("mode", None), given.pop("session_id", None)
    model, metadata = given.pop("model", None), given.pop("metadata", None)
    optimize = given.pop("optimize", None)
    if given:
        known = "mode, session_id, model, metadata, optimize"
        raise ConfigError(f"{next(iter(given))!r} is no option of this decorator: known are {known}")
    if mode is not None and mode not in list(Mode):
        raise ConfigError(f"mode={mode!r} is unknown: use one of {', '.join(Mode)}")
    if session is not None and not isinstance(session, str) and not callable(session):
        raise ConfigError(f"session_id={session!r} cannot be used: {_SESSION}")
    if not isinstance(model, ModelContext | None) or not isinstance(metadata, Mapping | None):
        raise ConfigError("model is a ModelContext, and metadata a mapping")
    return Kind(
        stage=stage,
        mode=Mode(mode) if mode is not None else None,
        session=session,
        model=model,
        metadata=metadata or {},
        optimize=bool(optimize),
        **more,
    )


def _client(guard: Any) -> Highflame | None:
    """The client that is meant, if one is."""
    from ..shield.client import Highflame  # noqa: PLC0415 - its room is loaded where somebody has one

    return guard if isinstance(guard, Highflame) else None


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
