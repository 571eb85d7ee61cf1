"""Who a request comes from by the application's own word, and how frameworks get at it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from highflame_middleware import (
    CallContext,
    ConfigError,
    HighflameMiddleware,
    QuotaError,
    TokenError,
    current_context,
    instrument,
)
from highflame_middleware.asgi import highflame_context
from highflame_middleware.testing import ScriptedProvider, serve_on_thread
from tests.asgi.kit import Echo, through
from tests.gateway_kit import BACKENDS, asking


def by_path(scope: Any) -> Any:
    return {"user": scope["path"].strip("/"), "role": None}


async def by_path_later(scope: Any) -> Any:
    await anyio.sleep(0)
    return by_path(scope)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("identify", "user"),
    [
        (by_path, "ada"),
        (by_path_later, "ada"),
        (lambda scope: CallContext(user="ben", session="s1"), "ben"),
        (lambda scope: None, "eve"),
        (lambda scope: {}, "eve"),
    ],
)
@pytest.mark.parametrize("guard", [None, "embedded"])
def test_the_applications_word_counts_before_a_header(identify: Any, user: str, guard: Any, backend: str) -> None:
    app = Echo()
    headers = [("x-highflame-user", "eve"), ("x-highflame-account", "acc")]
    guarded = {"guard": guard} if guard is not None else {}
    through(app, path="/ada", identify=identify, headers=headers, trusted_peers=["*"], backend=backend, **guarded)
    found = app.contexts[0]
    assert (found.user, found.account, found.role) == (user, "acc", None)
    assert found.request_id
    assert current_context() == CallContext()


def test_all_that_an_application_may_say() -> None:
    fields = {
        "user": "u",
        "role": "r",
        "session": "s",
        "account": "a",
        "application": "p",
        "route": "x",
        "request_id": "id",
        "metadata": {"team": "core"},
    }
    app = Echo()
    sent = through(app, identify=lambda scope: fields)
    assert app.contexts == [CallContext(**fields)]
    assert sent.header("x-request-id") == ["id"]


@pytest.mark.parametrize(
    "found",
    [
        {"bypass": "because"},
        {"identity": 1},
        {"name": "x"},
        {"user": 3},
        {"request_id": "a\r\nb: c"},
        "ada",
        7,
    ],
)
def test_what_is_no_context_is_a_fault(found: Any) -> None:
    """It is the application's own, as what the callable raises is: nobody is let in as nobody."""
    app = Echo()
    with pytest.raises(ConfigError, match="identify returned"):
        through(app, identify=lambda scope: found)
    assert app.scopes == []


@pytest.mark.parametrize(
    ("error", "status"), [(TokenError(code="token_expired"), 401), (QuotaError(retry_after=3), 429)]
)
def test_an_error_of_ours_is_an_answer(error: Exception, status: int) -> None:
    def identify(scope: Any) -> Any:
        raise error

    app = Echo()
    sent = through(app, identify=identify)
    assert (sent.status, app.scopes) == (status, [])
    assert sent.header("x-request-id")


def test_any_other_error_is_the_applications_own() -> None:
    def identify(scope: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        through(Echo(), identify=identify)


def test_nobody_is_asked_about_health() -> None:
    app = Echo()
    through(app, path="/health", identify=lambda scope: 1 / 0)  # type: ignore[arg-type,return-value]
    assert app.contexts[0].user is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_requests_at_once_do_not_mix(backend: str) -> None:
    seen: dict[str, str | None] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep(0.001)
        seen[scope["path"]] = current_context().user

    guarded = HighflameMiddleware(app, guard=None, identify=by_path_later)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for number in range(50):
                scope = {"type": "http", "method": "GET", "path": f"/u{number}", "headers": []}
                group.start_soon(guarded, scope, None, None)  # type: ignore[arg-type]

    anyio.run(run, backend=backend)
    assert seen == {f"/u{number}": f"u{number}" for number in range(50)}


def test_in_fastapi_and_starlette() -> None:
    """As a dependency, and in the calls that are made for the request."""
    provider = ScriptedProvider([{"text": "Hello."}])
    app = FastAPI()
    app.add_middleware(HighflameMiddleware, guard=None, identify=by_path)

    @app.get("/{name}")
    async def who(caller: Annotated[CallContext, Depends(highflame_context)]) -> Any:
        async with provider.async_openai() as client:
            await client.chat.completions.create(model="m", messages=asking()["messages"])  # type: ignore[arg-type]
        return {"user": caller.user, "id": caller.request_id}

    @app.get("/plain/{name}")
    def plain(caller: Annotated[CallContext, Depends(highflame_context)]) -> Any:
        return {"user": caller.user, "same": caller == current_context()}

    async def endpoint(request: Any) -> Any:
        return JSONResponse({"user": (await highflame_context()).user})

    app.mount("/starlette", Starlette(routes=[Route("/{name}", endpoint)]))
    with instrument(gateway=None, guard=None), serve_on_thread(app) as url, httpx.Client(base_url=url) as client:
        found = client.get("/ada")
        assert found.json() == {"user": "ada", "id": found.headers["x-request-id"]}
        assert client.get("/plain/ada").json() == {"user": "plain/ada", "same": True}
        assert client.get("/starlette/ada").json() == {"user": "starlette/ada"}
    assert asyncio.run(highflame_context()) == CallContext()
