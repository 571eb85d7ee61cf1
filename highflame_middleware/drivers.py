"""Performing ops: the two thin shells that ask guards, with a deadline on every wait.

A local guard (pure computation, bounded by itself) is asked on the calling
thread. Any other may hang: a blocking one is asked on a daemon thread that can
be left behind, an asynchronous one in a cancel scope.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, cast

from .errors import GuardTimeoutError
from .exchange import Evaluate, Invoke, Leave, Policy, Race, Raced
from .flow import Op
from .guard.protocol import Binding, fault_of, read_answer
from .guard.verdict import Answer
from .types import GuardRequest

__all__ = ["aperform", "perform"]

# Evaluations of one call that run side by side, and threads of hung guards that a process puts up with.
_PARALLEL = 8
_MAX_THREADS = 64
# A local guard is asked on a thread of its own once its texts would hold up an event loop for milliseconds.
_LONG = 20_000
_POLL = 0.005

_threads = threading.BoundedSemaphore(_MAX_THREADS)


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _threads
    _threads = threading.BoundedSemaphore(_MAX_THREADS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def perform(op: Op[Any]) -> Any:
    """Perform an op for synchronous code."""
    if isinstance(op, Evaluate):
        return _evaluate(op.policy, op.requests)
    if isinstance(op, Race):
        return _race(op)
    if isinstance(op, Leave):
        return op.body.close() if op.body is not None else None
    assert isinstance(op, Invoke)
    return op.invoke()


async def aperform(op: Op[Any]) -> Any:
    """Perform an op for asynchronous code, on asyncio or trio."""
    if isinstance(op, Evaluate):
        return await _aevaluate(op.policy, op.requests)
    if isinstance(op, Race):
        return await _arace(op)
    if isinstance(op, Leave):
        return await op.body.aclose() if op.body is not None else None
    assert isinstance(op, Invoke)
    return await op.invoke()


def _evaluate(policy: Policy, requests: Sequence[GuardRequest]) -> list[Answer]:
    guard = policy.guard
    assert guard is not None
    if guard.local and guard.evaluate is not None:
        return [_answered(guard, guard.evaluate, request) for request in requests]
    return _on_threads([partial(_ask_blocking, guard, request) for request in requests], guard, policy.deadline)


async def _aevaluate(policy: Policy, requests: Sequence[GuardRequest]) -> list[Answer]:
    guard = policy.guard
    assert guard is not None
    if guard.local and guard.evaluate is not None and sum(len(request.content) for request in requests) <= _LONG:
        return [_answered(guard, guard.evaluate, request) for request in requests]
    answers: list[Answer] = [GuardTimeoutError(_late(guard, policy.deadline))] * len(requests)
    pending = iter(enumerate(requests))

    async def work(pending: Iterator[tuple[int, GuardRequest]]) -> None:
        for index, request in pending:
            answers[index] = await _aask(guard, request, policy.deadline)

    if len(requests) == 1:
        await work(pending)
        return answers
    import anyio  # noqa: PLC0415 - a part of httpx; only asynchronous callers need it

    async with anyio.create_task_group() as group:
        for _ in range(min(_PARALLEL, len(requests))):
            group.start_soon(work, pending)
    return answers


async def _aask(guard: Binding, request: GuardRequest, deadline: float) -> Answer:
    """One evaluation for asynchronous code."""
    import anyio  # noqa: PLC0415

    with anyio.move_on_after(deadline):
        try:
            if guard.aevaluate is None or guard.local:
                return await _in_thread(partial(_ask_blocking, guard, request))
            return read_answer(await guard.aevaluate(request))
        except Exception as error:  # noqa: BLE001 - whatever a guard raises is a missing verdict
            return fault_of(guard.name, error)
    return GuardTimeoutError(_late(guard, deadline))


def _race(op: Race) -> Raced:
    """The guard on a thread, the call here; a blocking call cannot be cut short, so it is heard to its end."""
    results: SimpleQueue[Sequence[Answer]] = SimpleQueue()
    answers: Sequence[Answer]
    if not _threads.acquire(blocking=False):
        answers = _evaluate(op.policy, op.requests)
        return Raced(answers) if op.stops(answers) else Raced(answers, *_outcome(op.invoke))
    _start_daemon(lambda: results.put(_evaluate(op.policy, op.requests)), _threads)
    reply, error = _outcome(op.invoke)
    # Each of its waits is bounded by itself; this is for a guard that computes without end.
    try:
        answers = results.get(timeout=2 * op.policy.deadline * len(op.requests))
    except Empty:
        assert op.policy.guard is not None
        answers = [GuardTimeoutError(_late(op.policy.guard, op.policy.deadline))] * len(op.requests)
    return Raced(answers, reply, error)


async def _arace(op: Race) -> Raced:
    """The guard in a task, the call here, which is cancelled when the guard says no."""
    import anyio  # noqa: PLC0415

    answers: Sequence[Answer] = ()
    reply: Any = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as calling:

            async def ask() -> None:
                nonlocal answers
                answers = await _aevaluate(op.policy, op.requests)
                if op.stops(answers):
                    calling.cancel()

            group.start_soon(ask)
            try:
                reply = await op.invoke()
            except Exception as error:  # noqa: BLE001 - the verdict comes first, and may be worse
                failure = error
    return Raced(answers, reply, failure)


def _outcome(invoke: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return invoke(), None
    except Exception as error:  # noqa: BLE001 - the verdict comes first, and may be worse
        return None, error


def _ask_blocking(guard: Binding, request: GuardRequest) -> Answer:
    """One evaluation for blocking code; a guard that is only asynchronous gets an event loop here."""
    if guard.evaluate is not None:
        return _answered(guard, guard.evaluate, request)
    assert guard.aevaluate is not None
    return _answered(guard, partial(asyncio.run, _awaited(guard.aevaluate, request)), None)


async def _awaited(aevaluate: Callable[[GuardRequest], Awaitable[Any]], request: GuardRequest) -> Any:
    return await aevaluate(request)


def _answered(guard: Binding, evaluate: Callable[..., Any], request: GuardRequest | None) -> Answer:
    try:
        return read_answer(evaluate(request) if request is not None else evaluate())
    except Exception as error:  # noqa: BLE001 - whatever a guard raises is a missing verdict
        return fault_of(guard.name, error)


def _late(guard: Binding, deadline: float) -> str:
    return f"The guard {guard.name!r} gave no verdict within {deadline:g} s (setting: deadline)"


def _on_threads(asks: Sequence[Callable[[], Answer]], guard: Binding, deadline: float) -> list[Answer]:
    """Run blocking evaluations on threads that may be left behind; each is waited for until its deadline."""
    results: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
    pending = list(enumerate(asks))[::-1]
    left = threading.Event()

    def work() -> None:
        while not left.is_set():
            try:
                index, ask = pending.pop()
            except IndexError:
                return
            results.put((index, ask()))

    answers: list[Answer] = [GuardTimeoutError(_late(guard, deadline))] * len(asks)
    workers = min(_PARALLEL, len(asks))
    # Each worker takes several texts in turn, so together they may take as many deadlines as each has turns.
    until = monotonic() + deadline * -(-len(asks) // workers)
    for _ in range(workers):
        if _threads.acquire(timeout=max(0.0, until - monotonic())):
            try:
                _start_daemon(work, _threads)
            except RuntimeError as error:
                left.set()
                return [fault_of(guard.name, error)] * len(asks)
    for _ in asks:
        try:
            index, answer = results.get(timeout=max(0.0, until - monotonic()))
        except Empty:
            break
        answers[index] = answer
    left.set()
    return answers


async def _in_thread(ask: Callable[[], Answer]) -> Answer:
    """Run a blocking evaluation on a thread that may be left behind; cancelling the wait leaves it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - we are running on it

        return cast("Answer", await trio.to_thread.run_sync(ask, abandon_on_cancel=True))
    threads = _threads
    while not threads.acquire(blocking=False):  # noqa: ASYNC110 - other threads give places back, not this loop
        await asyncio.sleep(_POLL)
    future: asyncio.Future[Answer] = loop.create_future()

    def deliver(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    def work() -> None:
        answer = ask()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, answer)

    _start_daemon(work, threads)
    return await future


def _start_daemon(work: Callable[[], None], threads: threading.Semaphore) -> None:
    """Start a thread that dies with the process, in the caller's context; it gives its place back when it ends."""
    context = contextvars.copy_context()

    def main() -> None:
        try:
            context.run(work)
        finally:
            threads.release()

    try:
        threading.Thread(target=main, name="highflame-guard", daemon=True).start()
    except RuntimeError:
        # No more threads: the process has too many, or is ending.
        threads.release()
        raise
