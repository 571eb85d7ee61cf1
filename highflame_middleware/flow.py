"""Typed generator flows: what happens is written once, how it is done is the driver's.

A *flow* is a generator that yields `Op`s, requests for I/O, and receives their
answers. `run` drives it for synchronous callers, `arun` for asynchronous ones.
Errors of an op are thrown *into* the flow, so a flow handles them with an
ordinary ``try``. Three rules keep flows honest: a flow never does I/O itself,
never yields an op in a ``finally`` (a cancelled caller would wait for it), and
is driven to its end within one call of a driver.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Ask(Op[int]):
...     question: str
>>> def doubled(question: str) -> Flow[int]:
...     answer = yield from Ask(question)
...     return 2 * answer
>>> run(doubled("how many?"), lambda op: 21)
42
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar, cast

__all__ = ["Flow", "Op", "arun", "run"]

T = TypeVar("T")
R = TypeVar("R")


class Op(Generic[T]):
    """A request for I/O whose answer has the type ``T``; ``yield from`` it inside a flow."""

    __slots__ = ()

    def __iter__(self) -> Generator[Op[Any], Any, T]:
        return cast(T, (yield self))


Flow: TypeAlias = Generator[Op[Any], Any, R]


def run(flow: Flow[R], perform: Callable[[Op[Any]], Any]) -> R:
    """Drive a flow to its end, performing its ops one after the other."""
    try:
        op = next(flow)
        while True:
            try:
                answer = perform(op)
            except BaseException as error:  # noqa: BLE001 - thrown into the flow, which decides
                op = flow.throw(error)
            else:
                op = flow.send(answer)
    except StopIteration as stop:
        return cast(R, stop.value)
    finally:
        flow.close()


async def arun(flow: Flow[R], perform: Callable[[Op[Any]], Awaitable[Any]]) -> R:
    """Drive a flow to its end, awaiting its ops one after the other."""
    try:
        op = next(flow)
        while True:
            try:
                answer = await perform(op)
            except BaseException as error:  # noqa: BLE001 - thrown into the flow, which decides
                op = flow.throw(error)
            else:
                op = flow.send(answer)
    except StopIteration as stop:
        return cast(R, stop.value)
    finally:
        flow.close()
