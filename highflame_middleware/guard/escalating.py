"""Two guards, of which the second is asked where the first is in doubt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeGuard

from ..errors import ConfigError, GuardError
from ..flow import Flow, Op, arun, run
from ..types import Decision, GuardRequest, GuardResponse, Stage
from .protocol import Binding, GuardLike, Window, bind, fault_of, read_answer
from .redaction import apply_modify
from .rules import canonical, strongest

__all__ = ["EscalatingGuard"]

_SCORES = ("injection_score", "jailbreak_score")


@dataclass(frozen=True, slots=True)
class _Ask(Op[GuardResponse]):
    """Have one of the two guards judge a text."""

    guard: Binding
    request: GuardRequest


class EscalatingGuard:
    """Asks ``first``, and ``to`` where that lets a text pass and yet its score is in the grey band.

    The graver of the two decisions counts, so ``to`` may stop what ``first`` let pass, and never the other way
    about. It is asked about what ``first`` has left of a text: a value that is taken out here is not sent to it.
    It is asked once at most each time that a text is judged.

    Parameters
    ----------
    first
        As a rule an `EmbeddedGuard`; a guard whose verdicts have scores in their ``context``.
    to
        Any guard: Shield (``client.as_guard(deadline=1.5)``), a classifier. Give it a limit of its own that is
        shorter than the door's ``deadline``, or else its delay is an outage of both.
    between
        The scores, from 0 to 100, at which ``to`` is asked; both are in the band.
    scores
        Which of the first verdict's scores count; the highest of them does.
    stages
        Where texts are escalated. There, a stream has no window: it is judged as ``stream`` says. Elsewhere
        the window is the first guard's.
    required
        Whether a ``to`` that gives no verdict is a `GuardError`. Else the first verdict stands, and its
        ``eval_errors`` say so; but a key that is refused is an error in any case.

    >>> first = lambda request: GuardResponse(decision=Decision.ALLOW, context={"injection_score": 60})
    >>> guard = EscalatingGuard(first, to=lambda request: "please" in request.content)
    >>> guard.evaluate(GuardRequest(content="now!")).decision.value
    'deny'
    """

    name = "escalating"

    def __init__(
        self,
        first: GuardLike,
        *,
        to: GuardLike,
        between: tuple[int, int] = (40, 85),
        scores: Iterable[str] = _SCORES,
        stages: Iterable[Stage | str] = (Stage.PROMPT, Stage.TOOL_RESULT),
        required: bool = False,
    ) -> None:
        self._first, self._to = bind(first), bind(to)
        self._low, self._high = _band(between)
        if isinstance(scores, str) or isinstance(stages, str):
            raise ConfigError(
                "scores and stages are lists of names: give a tuple, such as scores=('injection_score',)"
            )
        self._scores = tuple(scores)
        try:
            self._stages = frozenset(map(Stage, stages))
        except ValueError as error:
            raise ConfigError(f"stages: {error}; there are {', '.join(Stage)}") from None
        self._required = required
        #: Where a stream is judged in a window, if the first guard has one.
        self.window_stages = frozenset(Stage) - self._stages

    @property
    def local(self) -> bool:
        """Whether both are pure computation."""
        return all(guard.local and guard.evaluate is not None for guard in (self._first, self._to))

    @property
    def window(self) -> Callable[[GuardRequest], Window] | None:
        """The first guard's, for texts that are not escalated."""
        return self._first.window

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text."""
        return run(self._judge(request), _perform)

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text, asynchronously."""
        return await arun(self._judge(request), _aperform)

    def _judge(self, request: GuardRequest) -> Flow[GuardResponse]:
        first = yield from _Ask(self._first, request)
        if not self._is_in_doubt(request, first):
            return first
        is_json = request.stage is Stage.TOOL_CALL
        left = request.content
        if first.decision is Decision.MODIFY:
            changed = apply_modify(request.content, first, is_json=is_json)
            if changed is None:
                return first  # which nobody can act on: it will be stopped
            left = changed
        try:
            second = yield from _Ask(self._to, replace(request, content=left))
        except Exception as error:
            fault = fault_of(self._to.name, error)
            if self._required or not fault.forgivable:
                raise fault from error
            return _told(first, fault)
        if second.decision is Decision.MODIFY and first.decision is Decision.MODIFY:
            # Its offsets count in a text that the caller has never seen: only the outcome can be told.
            second = replace(
                second, redacted_content=apply_modify(left, second, is_json=is_json), redaction_entries=()
            )
        return _graver(first, second)

    def _is_in_doubt(self, request: GuardRequest, verdict: GuardResponse) -> bool:
        if not verdict.allowed or request.stage not in self._stages:
            return False
        facts = canonical(verdict.context)
        scores = [score for name in self._scores if _is_number(score := facts.get(name))]
        return bool(scores) and self._low <= max(scores) <= self._high

    def __repr__(self) -> str:
        return f"EscalatingGuard({self._first.name!r}, to={self._to.name!r}, between=({self._low}, {self._high}))"


def _perform(op: Op[Any]) -> GuardResponse:
    assert isinstance(op, _Ask)
    guard, request = op.guard, op.request
    if guard.evaluate is not None:
        return read_answer(guard.evaluate(request))
    assert guard.aevaluate is not None
    import anyio  # noqa: PLC0415 - a part of httpx; only a guard that is asynchronous alone needs it

    return read_answer(anyio.run(_awaited, guard.aevaluate, request))


async def _aperform(op: Op[Any]) -> GuardResponse:
    assert isinstance(op, _Ask)
    guard, request = op.guard, op.request
    if guard.local and guard.evaluate is not None:
        return read_answer(guard.evaluate(request))
    if guard.aevaluate is not None:
        return read_answer(await guard.aevaluate(request))
    assert guard.evaluate is not None
    import anyio.to_thread  # noqa: PLC0415

    return read_answer(await anyio.to_thread.run_sync(partial(guard.evaluate, request), abandon_on_cancel=True))


async def _awaited(aevaluate: Callable[[GuardRequest], Awaitable[Any]], request: GuardRequest) -> Any:
    return await aevaluate(request)


def _told(verdict: GuardResponse, fault: GuardError) -> GuardResponse:
    """The verdict, with what kept the other guard from giving one."""
    told = (verdict.eval_errors, f"not escalated: {fault}")
    return replace(verdict, eval_errors="; ".join(filter(None, told)))


def _graver(first: GuardResponse, second: GuardResponse) -> GuardResponse:
    """The verdict that counts, with what the other one found beside it."""
    counts, other = first, second
    if second.decision is not Decision.ALLOW and strongest(first.decision, second.decision) is second.decision:
        counts, other = second, first
    return replace(
        counts,
        signals=tuple(dict.fromkeys((*first.signals, *second.signals))),
        determining_policies=(*counts.determining_policies, *other.determining_policies),
        latency_ms=first.latency_ms + second.latency_ms,
        session_delta=counts.session_delta or other.session_delta,
        eval_errors="; ".join(filter(None, (first.eval_errors, second.eval_errors))) or None,
        context={**other.context, **counts.context},
    )


def _is_number(score: object) -> TypeGuard[float]:
    return isinstance(score, int | float) and not isinstance(score, bool)


def _band(between: tuple[int, int]) -> tuple[int, int]:
    try:
        low, high = between
        fits = _is_number(low) and _is_number(high) and 0 <= low <= high <= 100
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigError(f"between={between!r} cannot be used: give two scores from 0 to 100, the lower one first")
    return low, high
