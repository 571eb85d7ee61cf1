"""How a function is wrapped, whatever its colour: plain, asynchronous, a generator, an asynchronous generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..drivers import aperform, perform
from ..exchange import Policy
from ..flow import Flow, arun, run
from .guarding import Guarding, Kind
from .streams import Yielded

__all__ = ["Arguments", "Before", "Outgoing", "around_input", "around_output"]

# A function's arguments, as it is to be called with them; and what makes them of those it was called with.
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
Before: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Flow[Arguments]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Judges what a function gives back: a value, or what is still to come of one."""

    kind: Kind
    policy: Policy
    name: str

    def given(self, value: Any) -> Any:
        """The result of a plain function: it may be an iterator, or something to be awaited."""
        if (later := self._later(value)) is not None:
            return later
        if inspect.isawaitable(value):
            return self._awaited(value)
        return run(self._guarding().judged(value), perform)

    async def agiven(self, value: Any) -> Any:
        """The result of an asynchronous function."""
        if (later := self._later(value)) is not None:
            return later
        return await arun(self._guarding().judged(value), aperform)

    async def _awaited(self, value: Any) -> Any:
        return await self.agiven(await value)

    def _later(self, value: Any) -> Any:
        if isinstance(value, AsyncIterator):
            return self.ayielded(value)
        return self.yielded(value) if isinstance(value, Iterator) else None

    def yielded(self, source: Iterator[Any]) -> Generator[Any, None, Any]:
        """What an iterator yields, and a generator returns in the end."""
        guarding = self._guarding()
        items = Yielded(guarding)
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration as stop:
                    result = stop.value
                    break
                yield from run(items.feed(item), perform)
            yield from run(items.finish(), perform)
            return run(guarding.judged(result), perform)
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()

    async def ayielded(self, source: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """What an asynchronous iterator yields."""
        items = Yielded(self._guarding())
        try:
            async for item in source:
                for ready in await arun(items.feed(item), aperform):
                    yield ready
            for ready in await arun(items.finish(), aperform):
                yield ready
        finally:
            if (close := getattr(source, "aclose", None)) is not None:
                await close()

    def _guarding(self) -> Guarding:
        return Guarding(self.kind, self.policy, self.name)


def around_input(inner: Callable[..., Any], before: Before) -> Callable[..., Any]:
    """A function that runs with what is left of its arguments."""
    if inspect.isasyncgenfunction(inner):

        @functools.wraps(inner)
        async def asyncgen(*args: Any, **given: Any) -> AsyncGenerator[Any, Any]:
            args, given = await arun(before(args, given), aperform)
            source = inner(*args, **given)
            advance = source.__anext__()
            try:
                while True:
                    try:
                        item = await advance
                    except StopAsyncIteration:
                        return
                    try:
                        advance = source.asend((yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - what is thrown in is the function's to handle
                        advance = source.athrow(error)
            finally:
                await source.aclose()

        return asyncgen
    if inspect.isgeneratorfunction(inner):

        @functools.wraps(inner)
        def generator(*args: Any, **given: Any) -> Generator[Any, Any, Any]:
            args, given = run(before(args, given), perform)
            return (yield from inner(*args, **given))

        return generator
    if _is_asynchronous(inner):

        @functools.wraps(inner)
        async def coroutine(*args: Any, **given: Any) -> Any:
            args, given = await arun(before(args, given), aperform)
            return await inner(*args, **given)

        return coroutine

    @functools.wraps(inner)
    def function(*args: Any, **given: Any) -> Any:
        args, given = run(before(args, given), perform)
        return inner(*args, **given)

    return function


def around_output(inner: Callable[..., Any], outgoing: Outgoing) -> Callable[..., Any]:
    """A function that gives back what is left of its result."""
    if inspect.isasyncgenfunction(inner):

        @functools.wraps(inner)
        async def asyncgen(*args: Any, **given: Any) -> AsyncGenerator[Any, None]:
            items = outgoing.ayielded(inner(*args, **given))
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        return asyncgen
    if inspect.isgeneratorfunction(inner):

        @functools.wraps(inner)
        def generator(*args: Any, **given: Any) -> Generator[Any, None, Any]:
            return (yield from outgoing.yielded(inner(*args, **given)))

        return generator
    if _is_asynchronous(inner):

        @functools.wraps(inner)
        async def coroutine(*args: Any, **given: Any) -> Any:
            return await outgoing.agiven(await inner(*args, **given))

        return coroutine

    @functools.wraps(inner)
    def function(*args: Any, **given: Any) -> Any:
        return outgoing.given(inner(*args, **given))

    return function


def _is_asynchronous(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - an object that is called asynchronously
    )
