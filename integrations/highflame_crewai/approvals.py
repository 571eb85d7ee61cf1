"""Asking somebody to approve a call of a tool, in code of either colour, for so long and no longer.

Whatever is not a plain ``True`` in time is no approval: another value, an error, silence.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from highflame_middleware.checkpoint import StepUp

__all__ = ["aasked", "asked"]

_log = logging.getLogger("highflame_crewai")


def asked(ask: Callable[[StepUp], Any], step: StepUp, seconds: float | None) -> Any:
    """What a callback says, for a hook, which blocks: on a thread of its own, that may be left behind."""
    said: list[Any] = []

    def answer() -> None:
        said.append(_settled(ask(step)))

    thread = _begin(answer, lambda: None)
    thread.join(seconds)
    if thread.is_alive():
        _late(seconds)
        return False
    return said[0] if said else False


async def aasked(ask: Callable[[StepUp], Any], step: StepUp, seconds: float | None) -> Any:
    """The same without blocking the event loop, on which a callback's coroutine runs."""
    try:
        return await asyncio.wait_for(_answered(ask, step), seconds)
    except TimeoutError:
        _late(seconds)
    except Exception:  # noqa: BLE001 - whatever it is, it is no approval
        _raised()
    return False


async def _answered(ask: Callable[[StepUp], Any], step: StepUp) -> Any:
    if inspect.iscoroutinefunction(ask):
        return await ask(step)
    said: list[Any] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(ended.set)
        except RuntimeError:
            _log.debug("on_step_up has answered when nobody waited for it any more")

    _begin(lambda: said.append(ask(step)), tell)
    await ended.wait()
    answer = said[0] if said else False
    return await answer if inspect.isawaitable(answer) else answer


def _begin(work: Callable[[], Any], then: Callable[[], None]) -> threading.Thread:
    context = contextvars.copy_context()

    def run() -> None:
        try:
            context.run(work)
        except BaseException:  # noqa: BLE001 - whatever it is, it is no approval; the thread ends here
            _raised()
        finally:
            then()

    thread = threading.Thread(target=run, name="highflame-step-up", daemon=True)
    thread.start()
    return thread


def _settled(answer: Any) -> Any:
    if not inspect.isawaitable(answer):
        return answer

    async def main(waiting: Awaitable[Any]) -> Any:
        return await waiting

    return asyncio.run(main(answer))


def _raised() -> None:
    _log.exception("on_step_up raised: the call is not approved")


def _late(seconds: float | None) -> None:
    _log.error("on_step_up gave no answer within %s seconds: the call is not approved", seconds)
