"""The gateway in other applications and servers: under a path, with httpx's own transport; its lifespan."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from highflame_middleware.testing import FakeGuard, serve_on_thread
from tests.gateway.served import CHAT, gateway_to, post
from tests.gateway_kit import (
    BACKENDS,
    Sent,
    asking,
    body_of,
    said,
    scope_of,
    serve,
)
from tests.servers import Server, chunk, events, stream_answer

# On trio, a generator inside httpx that nobody can reach is left to the collector when a reply is left early.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")


@pytest.mark.parametrize("make", [Starlette, FastAPI], ids=["Starlette", "FastAPI"])
@pytest.mark.parametrize(
    ("mount", "path", "sent"),
    [
        ("/llm", "/llm/v1/chat/completions", "/v1/chat/completions"),
        ("/a b", "/a%20b/v1/chat/completions", "/v1/chat/completions"),
        ("/llm", "/%6clm/v1/chat/completions", "/v1/chat/completions"),
        ("/v1", "/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/llm", "/llm/v1/files/f%2F1", "/v1/files/f%2F1"),
        ("/llm", "/llm/llm/x", "/v1/llm/x"),
    ],
)
def test_mounted_under_a_path(make: Any, mount: str, path: str, sent: str, upstream: Server) -> None:
    gateway = gateway_to(upstream)
    app = make(routes=[Mount(mount, app=gateway)])
    with serve_on_thread(app) as url:
        response = post(url, asking(), path=path)
        assert post(url, None, path=f"{mount}/health".replace(" ", "%20")).status_code == 404
        assert httpx.get(f"{url}{mount}/health".replace(" ", "%20")).status_code == 200
    assert response.status_code == (200 if "chat" in path else 404)
    assert upstream.paths[0] == sent


@pytest.mark.parametrize(
    ("root", "path", "raw", "meant"),
    [
        ("", "/v1/models", b"/v1/models", "/v1/models"),
        ("/gw", "/gw/v1/models", b"/gw/v1/models", "/v1/models"),
        ("/gw/", "/gw/v1/models", b"/gw/v1/models", "/v1/models"),
        ("/gw", "/gw", b"/gw", "/v1/"),
        ("/gw", "/gwx/v1/models", b"/gwx/v1/models", "/v1/gwx/v1/models"),
        ("/gw", "/v1/models", b"/v1/models", "/v1/models"),
        ("", "/v1/a b", None, "/v1/a%20b"),
        ("", "/v1/a/b", b"/v1/a%2Fb?query=ignored", "/v1/a%2Fb"),
        ("", "", b"", "/v1/"),
    ],
)
def test_what_a_server_says_of_the_path(
    root: str, path: str, raw: bytes | None, meant: str, upstream: Server
) -> None:
    gateway = gateway_to(upstream)
    scope = scope_of("GET", path, root_path=root, raw_path=raw)
    if raw is None:
        del scope["raw_path"]

    async def run() -> None:
        await serve(gateway, scope)
        await gateway.aclose()

    anyio.run(run)
    assert upstream.paths == [meant]


@pytest.mark.parametrize("backend", BACKENDS)
def test_lifespan(backend: str, upstream: Server) -> None:
    """Connections are kept until the server stops, and closed with it."""
    gateway = gateway_to(upstream)
    sent: list[str] = []

    async def run() -> None:
        stop = anyio.Event()
        waiting = ["lifespan.startup"]

        async def receive() -> Any:
            if waiting:
                return {"type": waiting.pop()}
            await stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        async with anyio.create_task_group() as group:
            group.start_soon(gateway, {"type": "lifespan"}, receive, send)
            for _ in range(2):
                assert (await serve(gateway, scope_of(path=CHAT), [body_of(asking())])).status == 200
            stop.set()

    anyio.run(run, backend=backend)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_websocket_is_refused(upstream: Server) -> None:
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await gateway_to(upstream)({"type": "websocket", "path": "/v1/realtime"}, receive, send)

    anyio.run(run)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1003)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_that_raises_once_nobody_listens(backend: str, upstream: Server) -> None:
    """ASGI 2.4: a ``send`` that raises OSError is the caller leaving, not a fault."""
    upstream.respond = stream_answer(events(chunk("One. ", finish="stop"), done=False), hang=True)
    gateway = gateway_to(upstream)

    async def broken(sent: Sent, message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the caller has gone")

    async def run() -> None:
        await serve(gateway, scope_of(path=CHAT), [body_of(asking(stream=True))], on_send=broken)
        assert await anyio.to_thread.run_sync(upstream.left.wait, 1)
        await gateway.aclose()

    anyio.run(run, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_through_httpxs_own_transport(backend: str, upstream: Server) -> None:
    gateway = gateway_to(upstream, guard=FakeGuard(redact=["server"]))

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://gw") as client:
            response = await client.post(CHAT, json=asking(stream=True))
        await gateway.aclose()
        return response

    assert said(anyio.run(run, backend=backend).content) == "Hello from the [redacted]."
