"""The middleware in front of applications of real frameworks, and of one that calls a model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import httpx
import openai
import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route
from starlette.websockets import WebSocket

from highflame_middleware import (
    BlockedError,
    CallContext,
    ConfigError,
    GuardError,
    HighflameMiddleware,
    Settings,
    current_context,
    instrument,
)
from highflame_middleware.telemetry import trace_headers
from highflame_middleware.testing import CapturedSpans, FakeGuard, ScriptedProvider, serve_on_thread
from tests.asgi.kit import Echo, through
from tests.gateway_kit import (
    ASK,
    BACKENDS,
    ask,
    asking,
    body_of,
    connected,
    events_of,
    raw_post,
    said,
    scope_of,
    send_raw,
    serve,
)
from tests.servers import chunk, events


def make_app(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(HighflameMiddleware, **{"guard": FakeGuard(deny=["SECRET"], redact=["card"]), **options})
    app.state.seen = []

    @app.post("/ask")
    async def take(body: dict[str, Any]) -> Any:
        app.state.seen.append(body)
        return {"answer": f"You said: {body['messages'][0]['content']}", "user": current_context().user}

    @app.post("/raw")
    async def raw(request: Request) -> Any:
        return PlainTextResponse(await request.body())

    @app.get("/who")
    def who() -> Any:
        return {"user": current_context().user, "id": current_context().request_id}

    @app.get("/awho")
    async def awho() -> Any:
        return {"user": current_context().user, "id": current_context().request_id}

    @app.post("/upload")
    async def upload(request: Request) -> Any:
        return {"size": sum([len(piece) async for piece in request.stream()])}

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(await websocket.receive_json())
        await websocket.close()

    @app.post("/leak")
    async def leak(body: dict[str, Any], background: BackgroundTasks) -> Any:
        background.add_task(app.state.seen.append, "in the background")
        return JSONResponse({"answer": body["leak"]}, background=background)

    @app.get("/file")
    def file() -> Any:
        return FileResponse(__file__, media_type="application/json")

    @app.get("/fails/{name}")
    def fails(name: str) -> Any:
        raise {
            "zero": ZeroDivisionError,
            "config": lambda: ConfigError("wrong"),
            "guard": lambda: GuardError("down"),
        }[name]()

    return app


@pytest.fixture
def served() -> Iterator[tuple[str, FastAPI]]:
    app = make_app(trusted_peers=["127.0.0.0/8"])
    with serve_on_thread(app) as url:
        yield url, app


def test_an_application_served(served: tuple[str, FastAPI]) -> None:
    """FastAPI on uvicorn, over sockets: a day's work of requests on one server."""
    url, app = served
    with httpx.Client(base_url=url) as client:
        denied = client.post("/ask", json=ASK)
        assert (denied.status_code, denied.json()["error"]["code"]) == (403, "blocked_deny")
        allowed = client.post("/ask", json=asking("my card"), headers={"x-highflame-user": "ada"})
        assert allowed.json() == {"answer": "You said: my [redacted]", "user": "ada"}
        assert app.state.seen == [asking("my [redacted]")]
        assert client.post("/raw", content=b"not json").text == "not json"
        assert client.post("/raw", json=["SECRET"]).json() == ["SECRET"]
        assert client.post("/raw", content=b"{", headers={"content-type": "application/json"}).status_code == 400
        uploaded = client.post("/upload", files={"file": b"SECRET" * 4_000_000}).json()
        assert uploaded["size"] > 24_000_000, "more than is read of a body to be guarded"
        for path in ("/who", "/awho"):
            with_id = client.get(path, headers={"x-highflame-user": "ada", "x-request-id": "callers-own-id"})
            assert with_id.json() == {"user": "ada", "id": "callers-own-id"}
            assert with_id.headers["x-request-id"] == "callers-own-id"
            without = client.get(path)
            assert without.json()["user"] is None, "nothing of one request is left in the next"
            assert without.json()["id"] == without.headers["x-request-id"] != "callers-own-id"
        assert client.post("/leak", json={**asking(), "leak": "the SECRET"}).status_code == 403
        _eventually(lambda: app.state.seen[-1] == "in the background")
        assert client.get("/file").text.startswith('"""The middleware in front')


def _eventually(met: Callable[[], bool]) -> None:
    ticks = threading.Event()
    for _ in range(200):
        if met():
            return
        ticks.wait(0.01)
    raise AssertionError("it never came to be")


def test_a_body_sent_in_pieces_over_a_socket(served: tuple[str, FastAPI]) -> None:
    url, app = served
    body = body_of(asking("my card"))
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = raw_post(b"/ask", b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    reply = send_raw(url, head + chunked)
    assert reply.status == 200
    assert app.state.seen == [asking("my [redacted]")]


@pytest.mark.parametrize(
    ("name", "status"), [("guard", 503), ("zero", None), ("config", None)], ids=["guard", "any", "config"]
)
def test_errors_of_the_application(name: str, status: int | None) -> None:
    """Its faults are its own, a wrong setting among them; a verdict that it does not catch is answered for it."""
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=True)

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.get(f"/fails/{name}")

    if status is None:
        with pytest.raises((ZeroDivisionError, ConfigError)):
            anyio.run(run)
    else:
        assert anyio.run(run).status_code == status


@pytest.mark.parametrize("guard", [FakeGuard(), None], ids=["guard", "no guard"])
def test_an_uncaught_verdict_of_an_sdk_call_inside(guard: Any) -> None:
    """A synchronous endpoint, an asynchronous one and a stream: a 403, or what has begun ended in band."""
    provider = ScriptedProvider(
        [
            {"when": {"contains": "stream"}, "chunks": ["Fine.\n", "And now the SECRET."], "interval": 0.01},
            {"text": "Nothing."},
        ]
    )
    app = FastAPI()
    app.add_middleware(HighflameMiddleware, settings=Settings(guard=guard, stream="sentence"))
    messages: Any = asking("The SECRET!")["messages"]
    begging: Any = asking("stream!")["messages"]

    @app.get("/sync")
    def sync() -> Any:
        with provider.openai() as client:
            return client.chat.completions.create(model="m", messages=messages)

    @app.get("/async")
    async def awaited() -> Any:
        async with provider.async_openai() as client:
            return await client.chat.completions.create(model="m", messages=messages)

    @app.get("/stream")
    async def stream() -> Any:
        async def lines() -> AsyncIterator[str]:
            async with provider.async_openai() as client:
                async for piece in await client.chat.completions.create(model="m", messages=begging, stream=True):
                    yield f"data: {piece.model_dump_json()}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    with instrument(settings=Settings(guard=FakeGuard(deny=["SECRET"]), stream="sentence")):
        with serve_on_thread(app) as url, httpx.Client(base_url=url) as client:
            for path in ("/sync", "/async"):
                denied = client.get(path)
                assert (denied.status_code, denied.json()["error"]["code"]) == (403, "blocked_deny")
            begun = client.get("/stream")
    assert (begun.status_code, said(begun.content)) == (200, "Fine.\n")
    assert events_of(begun.content)[-1]["error"]["type"] == "highflame_error"


def test_calls_made_for_a_request_carry_its_context(highflame_spans: CapturedSpans) -> None:
    provider = ScriptedProvider([{"text": "Hello."}])
    app = FastAPI()
    app.add_middleware(HighflameMiddleware, guard=None, trusted_peers=["*"])

    @app.get("/")
    def root() -> Any:
        with provider.openai() as client:
            client.chat.completions.create(model="m", messages=asking()["messages"])
        return {}

    with instrument(gateway=None, guard=None), serve_on_thread(app) as url:
        outer = highflame_spans.provider.get_tracer("caller").start_span("caller")
        headers = {"x-highflame-user": "ada", "x-javelin-session": "s1", **trace_headers(outer)}
        httpx.get(url, headers=headers)
        outer.end()
    (span,) = highflame_spans.named("chat m")
    assert (span.attributes["user.id"], span.attributes["session.id"]) == ("ada", "s1")
    assert span.context.trace_id == outer.get_span_context().trace_id


@pytest.mark.parametrize("library", ["Starlette", "BaseHTTPMiddleware inside", "BaseHTTPMiddleware outside"])
def test_in_starlette(library: str) -> None:
    async def endpoint(request: Request) -> Any:
        return JSONResponse({"answer": (await request.json())["messages"][0]["content"]})

    class Other(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return await call_next(request)

    app = Starlette(routes=[Route("/ask", endpoint, methods=["POST"])])
    if library == "BaseHTTPMiddleware inside":
        app.add_middleware(Other)
    app.add_middleware(HighflameMiddleware, guard=FakeGuard(deny=["SECRET"], redact=["card"]))
    if library == "BaseHTTPMiddleware outside":
        app.add_middleware(Other)
    assert ask(app, ASK, path="/ask").status == 403
    assert ask(app, asking("my card"), path="/ask").json == {"answer": "my [redacted]"}


@pytest.mark.parametrize("inside", [True, False])
def test_with_gzip(inside: bool) -> None:
    """Outside, what leaves is guarded and then compressed; inside, it is warned of (see the reply's tests)."""

    async def endpoint(request: Request) -> Any:
        return JSONResponse({"choices": [{"message": {"content": "SECRET " * 200}}]})

    app = Starlette(routes=[Route("/ask", endpoint, methods=["POST"])])
    for middleware in ("gzip", "ours") if inside else ("ours", "gzip"):
        if middleware == "gzip":
            app.add_middleware(GZipMiddleware, minimum_size=10)
        else:
            app.add_middleware(HighflameMiddleware, guard=FakeGuard(redact=["SECRET"]))
    with serve_on_thread(app) as url:
        response = httpx.post(f"{url}/ask", json=asking(), headers={"accept-encoding": "gzip"})
        denied = httpx.post(f"{url}/ask", json=asking(), headers={"accept-encoding": "identity"})
    assert response.headers["content-encoding"] == "gzip"
    assert ("[redacted]" in response.text) is not inside
    assert "[redacted]" in denied.text


def test_with_cors_outside() -> None:
    """A browser gets to read why it was refused."""
    app = FastAPI()
    app.add_middleware(HighflameMiddleware, guard=FakeGuard(deny=["SECRET"]))
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])
    sent = ask(app, ASK, path="/ask", headers=[("origin", "https://shop.example")])
    assert (sent.status, sent.header("access-control-allow-origin")) == (403, ["https://shop.example"])


def test_mounted_and_twice() -> None:
    """An inner one keeps the outer one's say; the request is guarded all the same."""
    echo = Echo()
    app = Starlette(routes=[Mount("/in", app=HighflameMiddleware(echo, guard=FakeGuard(redact=["card"])))])
    app.add_middleware(HighflameMiddleware, guard=FakeGuard(deny=["SECRET"]))
    assert ask(app, ASK, path="/in/x").status == 403
    assert ask(app, asking("card"), path="/in/x").status == 200
    assert json.loads(echo.bodies[0]) == asking("[redacted]")


@pytest.mark.parametrize("backend", BACKENDS)
def test_concurrent_requests_do_not_mix(backend: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"])
        await anyio.sleep(0.001)
        said = {"user": current_context().user, "text": body["messages"][0]["content"]}
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": body_of(said)})

    guarded = HighflameMiddleware(app, guard=FakeGuard(redact=["card"]), trusted_peers=["*"])
    found: dict[int, Any] = {}

    async def one(number: int) -> None:
        scope = scope_of(headers=[("x-highflame-user", f"u{number}")])
        found[number] = (await serve(guarded, scope, [body_of(asking(f"{number} card"))])).json

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(one, number)

    anyio.run(run, backend=backend)
    assert found == {number: {"user": f"u{number}", "text": f"{number} [redacted]"} for number in range(50)}
    assert current_context() == CallContext()


def test_a_caller_who_leaves_a_stream_is_heard_of() -> None:
    """Over a socket: the application's generator is closed soon after its caller has gone."""
    closed = threading.Event()

    async def endpoint(request: Request) -> Any:
        async def lines() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield events(chunk("x", finish="stop"), done=False)[0]
                    await asyncio.sleep(0.005)
            finally:
                closed.set()

        return StreamingResponse(lines(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/ask", endpoint, methods=["POST"])])
    app.add_middleware(HighflameMiddleware, guard=FakeGuard())
    with serve_on_thread(app) as url:
        with connected(url) as connection:
            connection.sendall(raw_post(b"/ask", body_of(asking())))
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert closed.wait(2)


def test_a_cancelled_request_is_cancelled() -> None:
    begun = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(True)
        await anyio.sleep(10)

    async def run() -> bool:
        with anyio.move_on_after(0.02) as scope:
            await serve(HighflameMiddleware(app, guard=FakeGuard()), scope_of(), [body_of(asking())])
        return scope.cancelled_caught

    assert anyio.run(run)
    assert begun == [True]
    assert current_context() == CallContext()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_verdict_raised_by_plain_code(backend: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise BlockedError(FakeGuard(deny=[""]).evaluate(_question()), _question().stage)

    assert through(app, asking(), backend=backend).status == 403


def _question() -> Any:
    from highflame_middleware import GuardRequest

    return GuardRequest(content="x")


def test_openai_itself_reads_the_denial() -> None:
    with serve_on_thread(HighflameMiddleware(Echo(), guard=FakeGuard(deny=["SECRET"]))) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk", max_retries=0) as client:
            with pytest.raises(openai.PermissionDeniedError) as caught:
                client.responses.create(model="m", input="The SECRET")
    assert caught.value.code == "blocked_deny"
