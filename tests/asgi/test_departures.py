"""Callers who leave before they are answered: the guard's work and the application's end with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from highflame_middleware import HighflameMiddleware
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardResponse
from tests.gateway_kit import BACKENDS, PATIENCE, asking, body_of, scope_of

CALL = body_of(asking("Hi!"))
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


class Caller:
    """A caller who leaves when ``leave`` is called; ``sent`` is what they got until then."""

    def __init__(self, content: bytes = CALL) -> None:
        self.sent: list[Any] = []
        self._content: bytes | None = content
        self._left = anyio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Any:
        if self._content is not None:
            content, self._content = self._content, None
            return {"type": "http.request", "body": content, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)


def visit(app: Callable[[Caller, list[str]], Any], *, backend: str, guard: Any = None, **options: Any) -> list[str]:
    """What is noted while an application is visited; ``app`` is made for the caller and the notes."""
    notes: list[str] = []

    async def run() -> None:
        caller = Caller()
        chosen = guard(caller, notes) if guard is not None else FakeGuard()
        guarded = HighflameMiddleware(app(caller, notes), guard=chosen, deadline=PATIENCE, **options)
        with anyio.fail_after(PATIENCE):
            await guarded(scope_of(), caller.receive, caller.send)
        notes.append(f"{len(caller.sent)} sent")

    anyio.run(run, backend=backend)
    return notes


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody listens from the beginning, so that no test has to wait for that."""
    monkeypatch.setattr("highflame_middleware.asgi.departures._PROMPT", 0)


async def turns() -> None:
    """Let everything happen that is about to."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def work_until_cancelled(caller: Caller, notes: list[str]) -> None:
    try:
        caller.leave()
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        notes.append("cancelled")
        raise


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_does_not_listen_is_cancelled(backend: str, begun: bool) -> None:
    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if begun:
                await send(START)
                await send({"type": "http.response.body", "body": b": hi\n\n", "more_body": True})
            await work_until_cancelled(caller, notes)

        return serve

    assert visit(app, backend=backend) == ["cancelled", f"{2 if begun else 0} sent"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_application_may_be_left_to_finish(backend: str) -> None:
    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await turns()
            caller.leave()
            await turns()
            notes.append("finished")

        return serve

    assert visit(app, backend=backend, cancel_on_disconnect=False) == ["finished", "0 sent"]
    assert visit(app, backend=backend) == ["0 sent"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("stage", "options"), [("prompt", {}), ("response", {}), ("prompt", {"cancel_on_disconnect": False})]
)
def test_the_guards_work_is_cancelled(backend: str, stage: str, options: dict[str, Any]) -> None:
    def guard(caller: Caller, notes: list[str]) -> Any:
        async def judge(request: Any) -> GuardResponse:
            if request.stage.label == stage:
                await work_until_cancelled(caller, notes)
            return GuardResponse(decision=Decision.ALLOW)

        return judge

    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            notes.append("called")
            await send(START)
            await send({"type": "http.response.body", "body": b"data: Hi\n\n"})

        return serve

    expected = ["called", "cancelled"] if stage == "response" else ["cancelled"]
    assert visit(app, backend=backend, guard=guard, **options) == [*expected, "0 sent"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_application_that_listens_is_told_and_goes_on(backend: str) -> None:
    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            async with anyio.create_task_group() as group:

                async def listen() -> None:
                    notes.append((await receive())["type"])
                    notes.append((await receive())["type"])
                    group.cancel_scope.cancel()

                group.start_soon(listen)
                await anyio.lowlevel.checkpoint()
                try:
                    caller.leave()
                    await anyio.sleep_forever()
                finally:
                    notes.append("tidied up")
            notes.append("went on")

        return serve

    assert visit(app, backend=backend) == ["http.disconnect"] * 2 + ["tidied up", "went on", "0 sent"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_done_after_the_answer_is_not_cancelled(backend: str) -> None:
    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(START)
            await send({"type": "http.response.body", "body": b"data: Hi\n\n"})
            caller.leave()
            await turns()
            notes.append("background")

        return serve

    assert visit(app, backend=backend) == ["background", "2 sent"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_look_whether_the_caller_has_left_finds_that_they_have_not(backend: str) -> None:
    """As Starlette's ``is_disconnected``: a receive that is given up at once."""

    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            for _ in range(3):
                with anyio.CancelScope() as scope_:
                    scope_.cancel()
                    await receive()
                    notes.append("left")
            await send(START)
            await send({"type": "http.response.body", "body": b"data: Hi\n\n"})

        return serve

    assert visit(app, backend=backend) == ["2 sent"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_errors_come_through_as_they_are(backend: str) -> None:
    def app(caller: Caller, notes: list[str]) -> Any:
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await turns()
            raise ZeroDivisionError

        return serve

    with pytest.raises(ZeroDivisionError):
        visit(app, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_receive_that_fails_is_the_applications_to_hear_of(backend: str) -> None:
    class Broken(Caller):
        async def receive(self) -> Any:
            if self._content is not None:
                return await super().receive()
            raise RuntimeError("the server's fault")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(RuntimeError, match="the server's fault"):
            await receive()
        await send(START)

    async def run() -> int:
        caller = Broken()
        await HighflameMiddleware(app, guard=FakeGuard())(scope_of(), caller.receive, caller.send)
        return len(caller.sent)

    assert anyio.run(run, backend=backend) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_that_cancels_is_heard(backend: str) -> None:
    notes: list[str] = []

    async def run() -> None:
        caller = Caller()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            try:
                group.cancel_scope.cancel()
                await anyio.sleep_forever()
            finally:
                notes.append("app ended")

        guarded = HighflameMiddleware(app, guard=FakeGuard())
        async with anyio.create_task_group() as group:
            group.start_soon(guarded, scope_of(), caller.receive, caller.send)
        notes.append("done")

    anyio.run(run, backend=backend)
    assert notes == ["app ended", "done"]


def test_context_set_upstream_is_seen_and_ours_is_gone_afterwards() -> None:
    from contextvars import ContextVar

    from highflame_middleware import current_context

    upstream: ContextVar[str] = ContextVar("upstream", default="nothing")
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append((upstream.get(), current_context().request_id))
        upstream.set("set by the application")

    async def run() -> None:
        upstream.set("set upstream")
        caller = Caller()
        scope = scope_of(headers=[("x-request-id", "callers-own-id")])
        await HighflameMiddleware(app, guard=FakeGuard())(scope, caller.receive, caller.send)
        seen.append((upstream.get(), current_context().request_id))

    anyio.run(run)
    assert seen == [("set upstream", "callers-own-id"), ("set by the application", None)]
