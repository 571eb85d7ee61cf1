"""One run under guard: what a scope, a kickoff or a model's call asks when it has texts to be judged."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from highflame_middleware import GuardError, HighflameError
from highflame_middleware.caller import CallContext, current_context
from highflame_middleware.checkpoint import Checkpoint, Ruling, StepUp, Text, text_at, worst
from highflame_middleware.contexts import ModelContext
from highflame_middleware.flow import Flow, Op, arun, run
from highflame_middleware.types import Stage

from .approvals import aasked, asked
from .errors import abort_for
from .rulings import Rulings, key_of

__all__ = [
    "BLOCKED",
    "Do",
    "Options",
    "Run",
    "adrive",
    "caller_of",
    "current_run",
    "drive",
    "raise_worst",
    "standing_in",
]

_log = logging.getLogger("highflame_crewai")
_NOTICES = 1024
# In the place of the arguments of a call that is not to be made.
BLOCKED = "highflame_blocked"

_run: ContextVar[Run | None] = ContextVar("highflame_crewai_run", default=None)


def current_run() -> Run | None:
    """The run that this context is a part of."""
    return _run.get()


class Do(Op[Any]):
    """Something to be done, in either colour; ``later`` is awaited."""

    __slots__ = ("later", "now")

    def __init__(self, now: Callable[[], Any], later: Callable[[], Awaitable[Any]]) -> None:
        self.now, self.later = now, later


def drive(flow: Flow[Any]) -> Any:
    """Run a flow for blocking code."""
    return run(flow, lambda op: op.now())  # type: ignore[attr-defined]


async def adrive(flow: Flow[Any]) -> Any:
    """Run a flow for asynchronous code."""
    return await arun(flow, lambda op: op.later())  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a crew is guarded.

    ``on_denied_tool`` is ``answer`` (the model is told) or ``raise``; ``step_up_seconds`` is how long
    ``on_step_up`` may take; ``quiet`` runs leave no trace.
    """

    checkpoint: Checkpoint
    on_denied_tool: str = "answer"
    on_step_up: Callable[[StepUp], Any] | None = None
    step_up_seconds: float | None = 300.0
    caller: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = False


class Run:
    """The state of one run: what has been ruled on, which calls of tools have been stopped.

    Threads, tasks and crews inside a scope share it; runs know nothing of each other.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.checkpoint = options.checkpoint
        self.rulings = Rulings()
        self.activities: set[Any] = set()
        self._stopped: OrderedDict[str, HighflameError] = OrderedDict()
        self._over: OrderedDict[int, HighflameError] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def strict(self) -> bool:
        """Whether what cannot be judged must not pass."""
        return self.checkpoint.policy.strict

    def close(self) -> None:
        """End what an error has left open."""
        for activity in list(self.activities):
            activity.end()
        self.activities.clear()

    def judge(self, texts: Sequence[Text], **about: Any) -> list[Ruling]:
        """Rule on texts, each of them once in a run; ``about`` as `judged`."""
        return list(drive(self.judged(texts, **about)))

    def judged(
        self,
        texts: Sequence[Text],
        *,
        agent: Any = None,
        model: ModelContext | None = None,
        sent: bool = False,
        descriptions: Mapping[str, str] | None = None,
    ) -> Flow[list[Ruling]]:
        """The flow of `judge`, for code of either colour."""
        if self.checkpoint.policy.guard is None or not texts:
            return [Ruling() for _ in texts]
        caller = caller_of(agent)
        about = {"caller": caller, "model": model, "sent": sent, "descriptions": descriptions or {}}
        if caller.bypass is not None:
            # Its audit is all that is to come of it: nothing is remembered that was not judged.
            return (yield from self._asked(texts, **about))
        keys = [key_of(text, caller) for text in texts]
        found = {key: self.rulings.find(text, caller, sent=sent) for key, text in zip(keys, texts, strict=True)}
        asked = {key: text for key, text in zip(keys, texts, strict=True) if found[key] is None}
        if asked:
            fresh = yield from self._asked(list(asked.values()), **about)
            for (key, text), ruling in zip(asked.items(), fresh, strict=True):
                found[key] = settled = yield from self._approved(text, ruling)
                # Somebody's approval is good for one call.
                self.rulings.keep(text, caller, settled, once=settled is not ruling)
        return [found[key] or Ruling() for key in keys]

    def spend(self, text: Text, agent: Any) -> None:
        """A call is made: the next with the same arguments needs an approval of its own, if it needs any."""
        self.rulings.spend(text, caller_of(agent))

    def keep_reply(self, text: str, agent: Any) -> None:
        """Remember that a reply may pass as it is now."""
        self.rulings.keep(text_at(Stage.RESPONSE, text), caller_of(agent), Ruling())

    def keep_notice(self, notice: str, tool: str, agent: Any) -> None:
        """Remember that words of our own may stand in the place of a tool's result."""
        self.rulings.keep(text_at(Stage.TOOL_RESULT, notice, tool=tool), caller_of(agent), Ruling())

    def stop(self, notice: str, error: HighflameError, *, tool: str, agent: Any) -> dict[str, str]:
        """Remember why a tool is not to be run; the arguments that stand in the place of its own from now on."""
        instead = {BLOCKED: notice}
        self.rulings.keep(text_at(Stage.TOOL_CALL, json.dumps(instead), tool=tool), caller_of(agent), Ruling())
        with self._lock:
            self._stopped[notice] = error
            while len(self._stopped) > _NOTICES:
                self._stopped.popitem(last=False)
        return instead

    def stopped(self, notice: str) -> HighflameError | None:
        """Why a tool is not to be run."""
        with self._lock:
            return self._stopped.get(notice)

    def let_end(self, agent: Any, error: HighflameError) -> None:
        """Remember that an agent is to come to its end: some versions tell it of the error, and let it go on."""
        with self._lock:
            self._over[id(agent)] = error
            while len(self._over) > _NOTICES:
                self._over.popitem(last=False)

    def over(self, agent: Any) -> HighflameError | None:
        """What an agent that goes on is to come to its end by; it is forgotten with that, or as it begins anew."""
        with self._lock:
            return self._over.pop(id(agent), None) if agent is not None else None

    def fault(self, error: BaseException, doing: str) -> Exception | None:
        """What a fault of this adapter's own comes to: an error to raise, or None where the policy is to go on."""
        _log.error("highflame_crewai failed while %s (%s)", doing, type(error).__name__, exc_info=error)
        if not self.strict:
            return None
        broken = GuardError(f"highflame_crewai failed while {doing}: {type(error).__name__}; its cause is attached")
        broken.forgivable = False
        broken.__cause__ = error
        return abort_for(broken)

    def _asked(self, texts: Sequence[Text], **about: Any) -> Flow[list[Ruling]]:
        checkpoint = self.checkpoint
        rulings = yield from Do(
            lambda: checkpoint.judge(texts, **about),
            lambda: checkpoint.ajudge(texts, **about),
        )
        return list(rulings)

    def _approved(self, text: Text, ruling: Ruling) -> Flow[Ruling]:
        """The ruling as it stands once whoever may approve has been asked; who cannot be asked does not approve."""
        ask = self.options.on_step_up
        step = StepUp.of(ruling, text.tool or "", text.value) if ask is not None else None
        if ask is None or step is None:
            return ruling
        seconds = self.options.step_up_seconds
        answer = yield from Do(lambda: asked(ask, step, seconds), lambda: aasked(ask, step, seconds))
        return Ruling() if answer is True else ruling


def caller_of(agent: Any) -> CallContext:
    """Who a text is judged for: as `context` says; its session, where that says none, is the crew's or agent's."""
    caller = current_context()
    if caller.session is not None or agent is None:
        return caller
    crew = getattr(agent, "crew", None)
    owner = crew if crew is not None and getattr(crew, "id", None) is not None else agent
    identity = getattr(owner, "id", None)
    return replace(caller, session=str(identity)) if identity is not None else caller


@contextmanager
def standing_in(run: Run | None) -> Iterator[None]:
    """Make a run the one that this context is a part of."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def raise_worst(rulings: Sequence[Ruling]) -> None:
    """Raise what counts, where texts are stopped."""
    if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
        raise abort_for(error)
