"""Never run, only type-checked, by mypy and by pyright: the public surface as users write against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, assert_type

import httpx

from highflame_middleware import (
    BlockedError,
    CallContext,
    Decision,
    EmbeddedGuard,
    Gateway,
    Guard,
    GuardRequest,
    GuardResponse,
    Highflame,
    HighflameError,
    HighflameMiddleware,
    Instrumentation,
    Mode,
    Secret,
    Settings,
    Shield,
    Stage,
    bypass,
    context,
    current_context,
    instrument,
    uninstrument,
)
from highflame_middleware.instrumentation import SeamStatus
from highflame_middleware.testing import CapturedSpans, FakeGuard, ScriptedProvider, captured_spans


class Mine:
    """A guard of a user's own."""

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        assert_type(request.content, str)
        assert_type(request.stage, Stage | None)
        return GuardResponse(decision=Decision.ALLOW)

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        return self.evaluate(request)


def instrumenting() -> None:
    guard: Guard = Mine()
    handle = instrument(guard=guard, mode="monitor", deadline=1.5, fail_open=True)
    assert_type(handle, Instrumentation)
    assert_type(handle.status(), dict[str, SeamStatus])
    with instrument(settings=Settings(mode=Mode.ALERT, api_key=Secret("key"), gateway="highflame")) as inner:
        assert_type(inner, Instrumentation)
    instrument(gateway=None, guard=None, api_key=None)
    instrument(guard=lambda request: True)
    uninstrument()


def calling() -> None:
    with context(user="ada", metadata={"team": 1}) as caller:
        assert_type(caller, CallContext)
    assert_type(current_context(), CallContext)
    with bypass("a reason"):
        pass
    try:
        pass
    except BlockedError as error:
        assert_type(error.response, GuardResponse)
        assert_type(error.decision, Decision)
        assert_type(error.stage, Stage)
    except HighflameError:
        pass


async def calling_later() -> None:
    async with context(session="s") as caller:
        assert_type(caller, CallContext)


def asking() -> None:
    with Highflame("zid_sk_1", account_id="a", default_headers={"x-team": "core"}) as client:
        assert_type(client.guard.evaluate_prompt("hi", session_id="s"), GuardResponse)
        for event in client.guard.stream(GuardRequest(content="hi")):
            assert_type(event.verdict, GuardResponse | None)
        instrument(guard=client.as_guard(deadline=1.0))
    shield = Shield(client, mode="monitor")

    @shield.prompt
    def reply(message: str) -> int:
        return len(message)

    @shield.tool(tool_name="mail")
    async def send(to: str) -> bool:
        return bool(to)

    assert_type(reply("hi"), int)
    sending: Callable[[str], Coroutine[Any, Any, bool]] = send
    assert callable(sending)


async def asking_later() -> None:
    async with Highflame() as client:
        assert_type(await client.guard.aevaluate(GuardRequest(content="hi")), GuardResponse)
        async for event in client.guard.astream(content="hi", content_type="prompt", action="process_prompt"):
            assert_type(event.type, str)


def serving() -> None:
    gateway = Gateway(providers={"local": {"base_url": "http://localhost:11434/v1"}}, default="local", guard=None)
    httpx.Client(transport=gateway.transport(httpx))

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None: ...

    HighflameMiddleware(app, guard=EmbeddedGuard(redact=["secrets"]), mode="enforce", trusted_peers=["10.0.0.0/8"])
    HighflameMiddleware(gateway)


def testing() -> None:
    provider = ScriptedProvider([{"text": "hi"}])
    assert_type(provider.requests, list[Any])
    guard: Guard = FakeGuard(deny=["word"])
    instrument(guard=guard)
    with captured_spans() as spans:
        assert_type(spans, CapturedSpans)
