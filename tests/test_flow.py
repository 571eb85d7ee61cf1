"""Flows: the two drivers do the same, errors and cancellation go into the flow, and nothing is left open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from highflame_middleware.flow import Flow, Op, arun, run


@dataclass(frozen=True)
class Ask(Op[Any]):
    what: Any


@dataclass
class Story:
    """What happened inside a flow, in order."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append(line)


def answer(op: Op[Any]) -> Any:
    """Raise what is asked for if it can be raised, else give it back."""
    assert isinstance(op, Ask)
    if isinstance(op.what, BaseException):
        raise op.what
    return op.what


def drive(kind: str, flow: Flow[Any], perform: Callable[[Op[Any]], Any] = answer) -> Any:
    if kind == "sync":
        return run(flow, perform)

    async def aperform(op: Op[Any]) -> Any:
        await asyncio.sleep(0)
        return perform(op)

    async def main() -> Any:
        return await arun(flow, aperform)

    return asyncio.run(main())


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_answers_come_back_in_order(kind: str) -> None:
    def flow() -> Flow[list[int]]:
        out = []
        for number in range(3):
            out.append((yield from Ask(number)))
        return out

    assert drive(kind, flow()) == [0, 1, 2]


def test_a_flow_without_ops_runs_to_its_end(kind: str) -> None:
    def flow() -> Flow[str]:
        yield from ()
        return "done"

    assert drive(kind, flow()) == "done"


def test_flows_nest(kind: str) -> None:
    def inner(number: int) -> Flow[int]:
        return 10 * (yield from Ask(number))

    def outer() -> Flow[int]:
        return (yield from inner(1)) + (yield from inner(2))

    assert drive(kind, outer()) == 30


FAULTS: list[BaseException] = [
    ValueError("v"),
    KeyboardInterrupt(),
    SystemExit(1),
    asyncio.CancelledError(),
    GeneratorExit(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_an_error_is_thrown_into_the_flow_and_out_of_it(kind: str, fault: BaseException) -> None:
    story = Story()

    def flow() -> Flow[None]:
        try:
            yield from Ask(fault)
        except BaseException as error:
            story(f"saw {type(error).__name__}")
            raise
        finally:
            story("closed")

    async def aperform(op: Op[Any]) -> Any:
        return answer(op)

    def stepped() -> None:
        """Without an event loop, which has ideas of its own about these errors."""
        coroutine = arun(flow(), aperform)
        try:
            coroutine.send(None)
        finally:
            coroutine.close()

    with pytest.raises(type(fault)):
        run(flow(), answer) if kind == "sync" else stepped()
    assert story.lines == [f"saw {type(fault).__name__}", "closed"]


def test_a_flow_may_handle_an_error_and_go_on(kind: str) -> None:
    def flow() -> Flow[list[Any]]:
        out: list[Any] = []
        for what in (ValueError("first"), "second", KeyError("third")):
            try:
                out.append((yield from Ask(what)))
            except (ValueError, KeyError) as error:
                out.append(type(error).__name__)
        return out

    assert drive(kind, flow()) == ["ValueError", "second", "KeyError"]


def test_a_flow_may_end_on_an_error(kind: str) -> None:
    def flow() -> Flow[str]:
        try:
            yield from Ask(ValueError())
        except ValueError:
            return "handled"
        return "not reached"

    assert drive(kind, flow()) == "handled"


def test_a_flow_may_raise_another_error_and_keeps_the_cause(kind: str) -> None:
    def flow() -> Flow[None]:
        try:
            yield from Ask(ValueError("inner"))
        except ValueError as error:
            raise RuntimeError("outer") from error

    with pytest.raises(RuntimeError, match="outer") as caught:
        drive(kind, flow())
    assert str(caught.value.__cause__) == "inner"


def test_an_error_of_the_flow_itself_needs_no_op(kind: str) -> None:
    def flow() -> Flow[None]:
        yield from ()
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        drive(kind, flow())


def test_a_stop_iteration_of_an_op_does_not_end_the_flow_quietly() -> None:
    """Blocking code that runs an iterator dry must not look like a flow that has returned."""

    def flow() -> Flow[str]:
        yield from Ask(StopIteration("dry"))
        return "not reached"

    with pytest.raises(RuntimeError):
        run(flow(), answer)


def test_cancellation_reaches_the_flow_which_is_closed_at_once() -> None:
    story = Story()

    def flow() -> Flow[None]:
        try:
            yield from Ask("forever")
        except asyncio.CancelledError:
            story("cancelled")
            raise
        finally:
            story("closed")

    async def wait(op: Op[Any]) -> None:
        story("asked")
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(arun(flow(), wait))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert story.lines == ["asked", "cancelled", "closed"]


def test_a_coroutine_that_is_dropped_closes_its_flow() -> None:
    story = Story()

    def flow() -> Flow[None]:
        try:
            yield from Ask("forever")
        finally:
            story("closed")

    class Never:
        def __await__(self) -> Iterator[None]:
            yield

    async def wait(op: Op[Any]) -> Any:
        await Never()

    coroutine = arun(flow(), wait)
    coroutine.send(None)
    coroutine.close()
    assert story.lines == ["closed"]


def test_a_flow_that_is_not_finished_is_closed_when_its_driver_fails() -> None:
    """Whatever the driver dies of, the flow's ``finally`` has run before the error is seen."""
    story = Story()

    def flow() -> Flow[None]:
        try:
            yield  # type: ignore[misc] # what no flow may do: it is no op
        finally:
            story("closed")

    with pytest.raises(AssertionError):
        run(flow(), answer)
    assert story.lines == ["closed"]
