"""What users call: `guarded` for a block, `guard_crew` for one crew, flow, agent, task or model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from copy import copy, deepcopy
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import wrapt

from highflame_middleware import ConfigError, Settings

from .versions import require_crewai

if TYPE_CHECKING:
    from .running import Options, Run

__all__ = ["GuardedCrew", "guard_crew", "guarded"]

T = TypeVar("T")

# One of these has whatever does anything that can be guarded: crews, flows and agents, tasks, models.
_BEGIN = ("kickoff", "execute_sync", "call")
_CALLER = ("user", "role", "session", "account", "application", "metadata")


def guarded(settings: Settings | None = None, **options: Any) -> AbstractContextManager[None]:
    """Guard everything that CrewAI does inside a ``with`` block, in its threads and tasks too.

    Parameters
    ----------
    settings
        As for every door; omitted, ``options``, environment, file and defaults.
    options
        Settings as keywords, and besides: ``on_denied_tool`` (``"answer"``: the model is told why, and goes on;
        ``"raise"``: the crew stops), ``on_step_up`` (a function that is given a `StepUp` and says True to
        approve; without one such a call is denied), ``step_up_seconds`` (how long it may take: 300; after that the
        call is denied), and ``user``, ``role``, ``session``, ``account``,
        ``application``, ``metadata`` as in `context`.

    Raises `MissingExtraError` where CrewAI is absent or too old, `UnprovenError` where the installed version would
    not enforce a denial. The block may be entered by several threads and tasks at once.
    """
    return _Scope(_options_of(settings, options))


def guard_crew(crew: T, settings: Settings | None = None, **options: Any) -> T:
    """The same crew, flow, agent, task or model, all that it does guarded; ``options`` as for `guarded`.

    What comes back stands for what was given, and is no copy: `isinstance` holds, attributes are shared, and it may
    be a part of a crew that is not guarded. Each kickoff is a run of its own. Whatever is called on the original is
    not guarded. Raises `ConfigError` for anything else.
    """
    ready = _options_of(settings, options)
    if isinstance(crew, type) or not any(callable(getattr(crew, name, None)) for name in _BEGIN):
        said = crew.__name__ if isinstance(crew, type) else type(crew).__name__
        raise ConfigError(f"guard_crew takes a crew, flow, agent, task or model, and {said} is none of them")
    return GuardedCrew(crew, ready)  # type: ignore[return-value]


# What has been entered in this context, and by which scope; the innermost last. One variable for all scopes: a
# context never lets go of a variable that was set in it.
_entered: ContextVar[tuple[tuple[_Scope, AbstractContextManager[None]], ...]] = ContextVar(
    "highflame_crewai_scopes", default=()
)


class _Scope(AbstractContextManager[None]):
    """A block; each time it is entered is a run of its own."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def __enter__(self) -> None:
        inside = _begun(self._options)
        inside.__enter__()
        _entered.set((*_entered.get(), (self, inside)))

    def __exit__(self, *error: Any) -> bool | None:
        around = _entered.get()
        at = max(index for index, (scope, _) in enumerate(around) if scope is self)
        _entered.set((*around[:at], *around[at + 1 :]))
        return around[at][1].__exit__(*error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *error: Any) -> bool | None:
        return self.__exit__(*error)


class GuardedCrew(wrapt.ObjectProxy):  # type: ignore[misc]
    """Stands for a crew, a flow, an agent, a task or a model, and guards what it does.

    Each of its methods is a run: which of them come to ask a model differs between versions, and who calls one in
    vain has lost nothing.
    """

    def __init__(self, crew: Any, options: Options) -> None:
        super().__init__(crew)
        self._self_options = options

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__wrapped__, name)
        if name.startswith("_") or not inspect.isroutine(value):
            return value
        # A function that is kept in a field is somebody else's.
        return _inside(value, self) if getattr(value, "__self__", None) is not None else value

    def _self_for(self, result: Any) -> Any:
        """What a method gives back: a copy or a fork is guarded as this is."""
        if result is self.__wrapped__:
            return self
        return GuardedCrew(result, self._self_options) if type(result) is type(self.__wrapped__) else result

    def __copy__(self) -> GuardedCrew:
        return GuardedCrew(copy(self.__wrapped__), self._self_options)

    def __deepcopy__(self, memo: dict[int, Any]) -> GuardedCrew:
        return GuardedCrew(deepcopy(self.__wrapped__, memo), self._self_options)

    def __repr__(self) -> str:
        return f"GuardedCrew({type(self.__wrapped__).__name__})"


def _inside(method: Callable[..., Any], kept: GuardedCrew) -> Callable[..., Any]:
    options = kept._self_options  # noqa: SLF001
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def later(*args: Any, **kwargs: Any) -> Any:
            with _begun(options):
                return await method(*args, **kwargs)

        return later

    @wraps(method)
    def now(*args: Any, **kwargs: Any) -> Any:
        with _begun(options):
            return kept._self_for(method(*args, **kwargs))  # noqa: SLF001

    return now


@contextmanager
def _begun(options: Options) -> Iterator[None]:
    from .running import Run  # noqa: PLC0415 - CrewAI takes seconds to import
    from .scope import entered  # noqa: PLC0415

    run: Run = Run(options)
    try:
        with entered(run, dict(options.caller)):
            yield
    finally:
        run.close()


def _options_of(settings: Settings | None, given: dict[str, Any]) -> Options:
    """What was given, validated; and CrewAI, whose seams are put in place and proven."""
    require_crewai()
    from highflame_middleware.checkpoint import Checkpoint  # noqa: PLC0415

    from .proof import prove  # noqa: PLC0415
    from .running import Options  # noqa: PLC0415
    from .seams import installed  # noqa: PLC0415

    said = {name: given.pop(name, None) for name in _CALLER}
    caller = {name: value for name, value in said.items() if value is not None}
    denied, step_up = given.pop("on_denied_tool", "answer"), given.pop("on_step_up", None)
    seconds = given.pop("step_up_seconds", 300.0)
    if denied not in ("answer", "raise"):
        raise ConfigError(f"on_denied_tool={denied!r} must be 'answer' (tell the model) or 'raise' (stop the crew)")
    if step_up is not None and not callable(step_up):
        raise ConfigError(
            f"on_step_up={step_up!r} must be a function that is given a StepUp and says True or False"
        )
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
        raise ConfigError(f"step_up_seconds={seconds!r} must be a number of seconds above 0, or None for no limit")
    options = Options(
        checkpoint=Checkpoint(settings, name="crewai", **given),
        on_denied_tool=denied,
        on_step_up=step_up,
        step_up_seconds=seconds,
        caller=caller,
    )
    installed()
    prove(options.checkpoint.settings)
    return options
