"""What users call: `guarded` for a block, `guard_crew` for one crew, flow, agent or model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import wrapt

from highflame_middleware import ConfigError, Settings

from .versions import require_crewai

if TYPE_CHECKING:
    from .running import Options, Run

__all__ = ["GuardedCrew", "guard_crew", "guarded"]

T = TypeVar("T")

# What begins a run, of whatever has it: crews, flows, agents, models.
_BEGIN = frozenset(
    {
        "acall",
        "akickoff",
        "akickoff_for_each",
        "astream",
        "call",
        "kickoff",
        "kickoff_async",
        "kickoff_for_each",
        "kickoff_for_each_async",
        "replay",
        "resume",
        "resume_async",
        "stream_events",
        "test",
        "train",
    }
)
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
        approve; without one such a call is denied), and ``user``, ``role``, ``session``, ``account``,
        ``application``, ``metadata`` as in `context`.

    Raises `MissingExtraError` where CrewAI is absent or too old, `UnprovenError` where the installed version would
    not enforce a denial. The block may be entered by several threads and tasks at once.
    """
    return _Scope(_options_of(settings, options))


def guard_crew(crew: T, settings: Settings | None = None, **options: Any) -> T:
    """The same crew, flow, agent or model, each of whose runs is guarded; ``options`` as for `guarded`.

    What comes back stands for what was given, and is no copy: `isinstance` holds, attributes are shared. Each
    kickoff is a run of its own. Whatever is called on the original is not guarded.
    """
    return GuardedCrew(crew, _options_of(settings, options))  # type: ignore[return-value]


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
    """Stands for a crew, a flow, an agent or a model, and guards what it does."""

    def __init__(self, crew: Any, options: Options) -> None:
        super().__init__(crew)
        self._self_options = options

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__wrapped__, name)
        if name in _BEGIN and callable(value):
            return _inside(value, self._self_options)
        if name == "copy" and callable(value):
            return lambda *args, **kwargs: GuardedCrew(value(*args, **kwargs), self._self_options)
        return value

    def __repr__(self) -> str:
        return f"GuardedCrew({type(self.__wrapped__).__name__})"


def _inside(method: Callable[..., Any], options: Options) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        async def later(*args: Any, **kwargs: Any) -> Any:
            with _begun(options):
                return await method(*args, **kwargs)

        return later

    def now(*args: Any, **kwargs: Any) -> Any:
        with _begun(options):
            return method(*args, **kwargs)

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
    if denied not in ("answer", "raise"):
        raise ConfigError(f"on_denied_tool={denied!r} must be 'answer' (tell the model) or 'raise' (stop the crew)")
    if step_up is not None and not callable(step_up):
        raise ConfigError(
            f"on_step_up={step_up!r} must be a function that is given a StepUp and says True or False"
        )
    options = Options(
        checkpoint=Checkpoint(settings, name="crewai", **given),
        on_denied_tool=denied,
        on_step_up=step_up,
        caller=caller,
    )
    installed()
    prove(options.checkpoint.settings)
    return options
