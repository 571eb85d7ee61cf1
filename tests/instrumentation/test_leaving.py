"""A stream that is left before its end, with every SDK: the upstream is let go, and one span ended, once."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits import PIECES, Kit, installed_kits
from tests.servers import Answer, Respond, Seen, Server

Start = Callable[..., Instrumentation]

# The plainest way of streaming, by the SDK's kit.
STREAMS = ("chat stream", "messages stream", "stream", "converse stream", "v2 chat stream")
ROWS = [
    pytest.param(kit, name, kind, id=f"{kit.sdk}-{name}-{kind}")
    for kit in installed_kits()
    for name, case in kit.cases.items()
    for kind in case.kinds
    if name in STREAMS and not kit.sdk.startswith("httpx") and kit.possible(case)
]

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine method 'aclose':RuntimeWarning"),
    # Whoever drops a stream leaves its socket to the collector, with or without us.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def endless(kit: Kit) -> Respond:
    """A stream that begins and then never ends."""

    def respond(seen: Seen) -> Answer:
        answer = kit.speaking(PIECES * 4)(seen)
        chunks = list(answer.chunks)
        return replace(answer, chunks=chunks[: len(chunks) // 2], length=None, hang=True)

    return respond


def items_of(value: Any) -> Any:
    return value["stream"] if isinstance(value, dict) else value


def leave(value: Any) -> None:
    stream = items_of(value)
    if hasattr(stream, "close"):
        stream.close()
    else:
        stream.__exit__(None, None, None)


async def aleave(value: Any) -> None:
    stream = items_of(value)
    for name in ("aclose", "close"):
        if (close := getattr(stream, name, None)) is not None:
            done = close()
            if inspect.isawaitable(done):
                await done
            return
    await stream.__aexit__(None, None, None)


def start(kit: Kit, gateway: Server, routed: Start) -> None:
    gateway.respond = endless(kit)
    # Held back until a verdict on the whole, an endless stream would never begin.
    routed(guard=FakeGuard(redact=["SECRET"]), stream="passthrough", carries=("*",))


def ended_once(spans: CapturedSpans) -> bool:
    until = time.monotonic() + 3
    while not spans.finished and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    time.sleep(0.05)
    return len(spans.finished) == 1


def begin(kit: Kit, name: str, client: Any) -> Any:
    """The stream, with its first item read."""
    value = kit.cases[name].call(client)
    next(iter(items_of(value)))
    return value


@asynccontextmanager
async def opened(kit: Kit, provider: Server) -> AsyncIterator[Any]:
    """An asynchronous client, kept open for as long as its stream is looked at."""
    client = kit.make("async", provider.url)
    if not hasattr(client, "__aenter__"):
        yield client
        return
    async with client as entered:
        yield entered


async def abegin(kit: Kit, name: str, client: Any) -> Any:
    value = kit.cases[name].call(client)
    if inspect.isawaitable(value):
        value = await value
    await anext(aiter(items_of(value)))
    return value


@pytest.mark.parametrize(("kit", "name", "kind"), ROWS)
def test_closed(
    kit: Kit,
    name: str,
    kind: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    if not kit.closing:
        pytest.skip("this version of the SDK does not close what lies under its streams")
    start(kit, gateway, routed)
    if kind == "sync":
        client = kit.make("sync", provider.url)
        leave(begin(kit, name, client))
        assert gateway.left.wait(5)
    else:

        async def call() -> None:
            async with opened(kit, provider) as client:
                await aleave(await abegin(kit, name, client))
                assert await asyncio.to_thread(gateway.left.wait, 5), "closed while the loop runs"

        asyncio.run(call())
    assert ended_once(highflame_spans)
    assert highflame_spans.finished[0].attributes.get("error.type") is None


@pytest.mark.parametrize(("kit", "name", "kind"), ROWS)
def test_dropped(
    kit: Kit,
    name: str,
    kind: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    start(kit, gateway, routed)
    if kind == "sync":
        client = kit.make("sync", provider.url)
        begin(kit, name, client)
        assert ended_once(highflame_spans)
    else:

        async def call() -> None:
            async with opened(kit, provider) as client:
                await abegin(kit, name, client)
                assert await asyncio.to_thread(ended_once, highflame_spans)

        asyncio.run(call())


@pytest.mark.parametrize(("kit", "name", "kind"), [row for row in ROWS if row.values[2] == "async"])
def test_cancelled(
    kit: Kit,
    name: str,
    kind: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    start(kit, gateway, routed)

    async def read(client: Any, begun: asyncio.Event) -> None:
        value = await abegin(kit, name, client)
        begun.set()
        async for _ in items_of(value):
            pass

    async def call() -> None:
        async with opened(kit, provider) as client:
            begun = asyncio.Event()
            task = asyncio.create_task(read(client, begun))
            await asyncio.wait_for(begun.wait(), 5)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task
            assert await asyncio.to_thread(gateway.left.wait, 5), "closed while the loop runs"
            assert await asyncio.to_thread(ended_once, highflame_spans)

    asyncio.run(call())
