"""What a guard is: one question, one answer; and a window, for engines that can guard a stream as it runs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ..errors import ConfigError, GuardError
from ..types import Decision, GuardRequest, GuardResponse, RedactionEntry, Stage

__all__ = [
    "AsyncGuard",
    "Binding",
    "BlockingGuard",
    "Guard",
    "GuardLike",
    "Progress",
    "Window",
    "bind",
    "fault_of",
    "read_answer",
]


@runtime_checkable
class Guard(Protocol):
    """Anything that can judge a text. One of the two methods is enough; the other runs in a thread."""

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text; called from synchronous code."""
        ...

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text; called from asynchronous code."""
        ...


class BlockingGuard(Protocol):
    """A guard that only blocks."""

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text."""
        ...


class AsyncGuard(Protocol):
    """A guard that is only asynchronous."""

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text."""
        ...


# Whatever `bind` accepts.
GuardLike: TypeAlias = BlockingGuard | AsyncGuard | Callable[[GuardRequest], object]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a window has got with one text.

    ``cleared`` counts the characters, from the beginning of the text, in which
    no finding can begin or go on any more; it never falls. ``entries`` are the
    redactions that became certain since the last call, in the offsets of the
    whole text, all of them before ``cleared``. ``verdict`` is set by `Window.finish`,
    and by `Window.feed` as soon as the text is to be stopped.
    """

    cleared: int
    entries: tuple[RedactionEntry, ...] = ()
    verdict: GuardResponse | None = None


class Window(Protocol):
    """Guards one text while it is still being written. Its work per call is O(new text)."""

    def feed(self, text: str) -> Progress:
        """Take the next piece of the text."""
        ...

    def finish(self) -> Progress:
        """The text has ended: clear the rest of it and give the verdict on the whole."""
        ...


@dataclass(frozen=True, slots=True)
class Binding:
    """A guard as the drivers call it.

    ``local`` says that an evaluation is pure computation with a bound of its
    own, so it may run on the calling thread. ``window_stages`` are where its window may be
    used, if not everywhere: an object says so with an attribute of that name.
    """

    name: str
    evaluate: Callable[[GuardRequest], GuardResponse] | None
    aevaluate: Callable[[GuardRequest], Awaitable[GuardResponse]] | None
    window: Callable[[GuardRequest], Window] | None = None
    local: bool = False
    window_stages: frozenset[Stage] | None = None

    def window_at(self, stage: Stage) -> Callable[[GuardRequest], Window] | None:
        """What opens a window for texts at a stage, if anything does."""
        return self.window if self.window_stages is None or stage in self.window_stages else None


def bind(guard: object) -> Binding:
    """Accept a guard object or a plain callable; anything else is a `ConfigError`.

    A callable takes a `GuardRequest` and returns a `GuardResponse`, a
    `Decision`, or a bool (whether to allow). It may be asynchronous.

    >>> bind(lambda request: "secret" not in request.content).name
    '<lambda>'
    """
    if isinstance(guard, type):
        raise ConfigError(f"guard={guard.__name__} is a class: give an object of it, {guard.__name__}()")
    evaluate, aevaluate = getattr(guard, "evaluate", None), getattr(guard, "aevaluate", None)
    if inspect.iscoroutinefunction(evaluate):
        evaluate, aevaluate = None, aevaluate or evaluate
    if evaluate is not None or aevaluate is not None:
        return Binding(
            name=str(getattr(guard, "name", None) or type(guard).__name__),
            evaluate=evaluate,
            aevaluate=aevaluate,
            window=getattr(guard, "window", None),
            local=bool(getattr(guard, "local", False)),
            window_stages=getattr(guard, "window_stages", None),
        )
    if not callable(guard):
        raise ConfigError(
            f"guard={guard!r} cannot judge a text: give 'embedded', None, a callable that takes a GuardRequest, "
            "or an object with evaluate() or aevaluate()"
        )
    name = str(getattr(guard, "__name__", type(guard).__name__))
    if inspect.iscoroutinefunction(guard) or inspect.iscoroutinefunction(type(guard).__call__):
        return Binding(name=name, evaluate=None, aevaluate=_answering_later(guard))
    return Binding(name=name, evaluate=_answering(guard), aevaluate=None)


def read_answer(answer: Any) -> GuardResponse:
    """What a guard returned, as a verdict; whatever is none is a fault of the guard, never an allow."""
    if isinstance(answer, GuardResponse):
        return answer
    if isinstance(answer, bool):
        return GuardResponse(decision=Decision.ALLOW if answer else Decision.DENY)
    if isinstance(answer, str):
        return GuardResponse(decision=Decision(answer))
    raise GuardError(f"the guard returned {type(answer).__name__}: return a GuardResponse, a Decision or a bool")


def fault_of(name: str, error: Exception) -> GuardError:
    """What a guard raised, as a missing verdict: its cause is attached, for it may quote the text."""
    if isinstance(error, GuardError):
        return error
    fault = GuardError(f"The guard {name!r} raised {type(error).__name__}; its cause is attached")
    # What is wrong with how it is set up does not pass: nobody would see that nothing is guarded.
    fault.forgivable = not isinstance(error, ConfigError)
    fault.__cause__ = error
    return fault


def _answering(guard: Callable[[GuardRequest], Any]) -> Callable[[GuardRequest], GuardResponse]:
    def evaluate(request: GuardRequest) -> GuardResponse:
        return read_answer(guard(request))

    return evaluate


def _answering_later(guard: Callable[[GuardRequest], Any]) -> Callable[[GuardRequest], Awaitable[GuardResponse]]:
    async def aevaluate(request: GuardRequest) -> GuardResponse:
        return read_answer(await guard(request))

    return aevaluate
