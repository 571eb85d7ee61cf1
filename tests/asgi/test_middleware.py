"""The middleware in front of applications: what they get of a request, and what becomes of one that is stopped."""

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
    bypass,
    current_context,
    instrument,
)
from highflame_middleware.telemetry import trace_headers
from highflame_middleware.testing import CapturedSpans, FakeGuard, ScriptedProvider, serve_on_thread
from tests.gateway_kit import (
    ASK,
    BACKENDS,
    Sent,
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


class Echo:
    """An application that keeps what it was given: scopes, bodies, the messages they came in."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.contexts: list[CallContext] = []
        self.after: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.contexts.append(current_context())
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.after.append(message)
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ok"})
        self.after.append(await receive())

    @property
    def length(self) -> list[bytes]:
        """The last request's content lengths."""
        return [value for name, value in self.scopes[-1]["headers"] if name.lower() == b"content-length"]


def through(app: Any, body: Any = None, *, guard: Any = None, **options: Any) -> Sent:
    """What a caller gets of an app behind the middleware."""
    names = ("path", "method", "headers", "asgi", "pieces", "json_body", "backend", "scope_type")
    scope = {name: options.pop(name) for name in names if name in options}
    guard = FakeGuard(deny=["SECRET"], redact=["card"]) if guard is None else guard
    return ask(HighflameMiddleware(app, guard=guard, **options), body, **scope)


# Every shape of an OpenAI call, by the paths of its API and at a path of an application's own.
SHAPES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "chat": ("/v1/chat/completions", lambda text: asking(text)),
    "chat, parts": (
        "/v1/chat/completions",
        lambda text: {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
    ),
    "chat, tool result": (
        "/openai/deployments/d/chat/completions",
        lambda text: {"messages": [{"role": "tool", "tool_call_id": "1", "content": text}]},
    ),
    "responses": ("/v1/responses", lambda text: {"model": "m", "input": text}),
    "responses, items": (
        "/v1/responses",
        lambda text: {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]},
    ),
    "instructions": ("/v1/responses", lambda text: {"model": "m", "input": "Hi", "instructions": text}),
    "completions": ("/v1/completions", lambda text: {"model": "m", "prompt": text}),
    "completions, several": ("/v1/completions", lambda text: {"model": "m", "prompt": ["Hi", text]}),
    "embeddings": ("/v1/embeddings", lambda text: {"model": "m", "input": [text]}),
}


@pytest.mark.parametrize("own_path", [False, True], ids=["by path", "by shape"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_call_is_guarded(name: str, own_path: bool) -> None:
    path, shape = SHAPES[name]
    path = "/ask" if own_path else path
    app = Echo()
    assert through(app, shape("Tell me the SECRET."), path=path).status == 403
    assert app.bodies == [], "the application never hears of it"
    assert through(app, shape("My card, please."), path=path).status == 200
    assert json.loads(app.bodies[0]) == shape("My [redacted], please.")
    assert app.length == [str(len(app.bodies[0])).encode()]
    odd = body_of(shape("Hi!")).replace(b":", b" :\t") + b"\n"
    assert through(app, odd, path=path).status == 200
    assert app.bodies[1] == odd, "allowed: not a byte is changed"


# Bodies that hide a call from a reader of one shape only: the application may look at the other.
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ask", {"prompt": "SECRET", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/ask", {"input": "SECRET", "model": "m", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/ask", {"instructions": "SECRET", "prompt": "Hi"}),
        ("/api/completions", {"messages": [{"role": "user", "content": "SECRET"}]}),
        ("/survey/responses", {"messages": [{"role": "user", "content": "SECRET"}]}),
        ("/v1/embeddings", {"input": "Hi", "prompt": "SECRET"}),
    ],
)
def test_no_shape_hides_another(path: str, body: Any) -> None:
    app = Echo()
    assert through(app, body, path=path).status == 403
    assert app.bodies == []


@pytest.mark.parametrize(("word", "status"), [("deny", 403), ("step_up", 401), ("defer", 425)])
def test_what_a_stopped_call_is_answered(word: str, status: int) -> None:
    words: dict[str, Any] = {word: ["SECRET"]}
    sent = through(Echo(), ASK, guard=FakeGuard(**words), headers=[("x-request-id", "callers-id")])
    assert sent.status == status
    assert sent.json["error"]["code"] == f"blocked_{word}"
    assert sent.header("x-highflame-policy-decision") == [word]
    assert sent.header("x-request-id") == ["callers-id"]
    assert sent.header("content-length") == [str(len(sent.body))]
    assert bool(sent.header("www-authenticate")) is (status == 401)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fail_open", [False, True])
@pytest.mark.parametrize("how", ["raises", "hangs", "hangs, asynchronous"])
def test_a_guard_without_a_verdict(how: str, fail_open: bool, backend: str) -> None:
    let_go = threading.Event()

    def guard(request: Any) -> bool:
        if how == "raises":
            raise RuntimeError("down")
        return let_go.wait(10)

    async def aguard(request: Any) -> bool:
        await anyio.sleep(10)
        return True

    app = Echo()
    chosen: Any = aguard if "asynchronous" in how else guard
    sent = through(app, ASK, guard=chosen, fail_open=fail_open, deadline=0.03, backend=backend)
    let_go.set()
    assert sent.status == (200 if fail_open else 503)
    assert app.bodies == ([body_of(ASK)] if fail_open else [])


# Bodies that say they are JSON and cannot be judged: the status, and what the application gets where nothing stops.
UNREADABLE: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"not json", 400),
    "half": (body_of(ASK)[:-1], 400),
    "not UTF-8": (b'{"messages": "\xff"}', 400),
    "deep": (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "two readings": (b'{"messages": [{"role": "user", "content": "SECRET", "content": "Hi"}]}', 400),
    "too long": (body_of(asking("x" * 2000)), 413),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_body_that_cannot_be_judged(name: str) -> None:
    body, status = UNREADABLE[name]
    app = Echo()
    size = 1000 if status == 413 else 10_000_000
    sent = through(app, body, max_body=size)
    assert (sent.status, sent.json["error"]["code"]) == (status, "unreadable")
    assert app.scopes == []
    for options in ({"mode": "monitor"}, {"fail_open": True}, {"mode": "modify"}):
        assert through(app, pieces=[body[:500], body[500:]], max_body=size, **options).status == 200
        assert app.bodies.pop() == body


def test_a_body_too_long_is_not_kept() -> None:
    app = Echo()
    piece = b" " * 1_000_000
    sent = through(app, pieces=[b"{", *[piece] * 100])
    assert (sent.status, app.scopes) == (413, [])
    assert sent.took == 18, "the limit of 16 MiB, and one piece"


# Requests that are none of the middleware's business: given on piece by piece.
OTHERS: dict[str, dict[str, Any]] = {
    "GET": {"method": "GET", "json_body": False},
    "GET with a body": {"method": "GET"},
    "DELETE": {"method": "DELETE"},
    "a form": {"headers": [("content-type", "application/x-www-form-urlencoded")], "pieces": [b"q=SEC", b"RET"]},
    "an upload": {"headers": [("content-type", "multipart/form-data; boundary=b")]},
    "bytes": {"headers": [("content-type", "application/octet-stream")]},
    "lines of JSON": {"headers": [("content-type", "application/x-ndjson")]},
    "text": {"headers": [("content-type", "text/plain")], "pieces": [b"SEC", b"RET"]},
    "no type": {"json_body": False, "pieces": [b"SEC", b"RET"]},
    "lines of JSON as text": {
        "headers": [("content-type", "text/plain")],
        "pieces": [b'{"a": 1}\n', b'{"b": 2}\n'],
    },
    "JSON in no call's shape": {"pieces": [b'{"note": "the SECR', b'ET"}']},
    "a JSON list": {"pieces": [b'["SECRET"]']},
    "a JSON text": {"pieces": [b'"SECRET"']},
    "JSON null": {"pieces": [b"null"]},
    "nothing": {"pieces": [b""]},
    "messages of another kind": {"pieces": [b'{"messages": ["SECRET", {"text": "SECRET"}]}']},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_requests_pass_untouched(name: str) -> None:
    app = Echo()
    given = {"pieces": [b'{"messages": [{"role": "user", ', b'"content": "SECRET"}]}'], **OTHERS[name]}
    assert through(app, **given).status == 200
    assert app.bodies == [b"".join(given["pieces"])]
    assert app.after == [{"type": "http.disconnect"}]


# A JSON call under a type that its sender did not care to choose: many applications read it all the same.
@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "TEXT/PLAIN"]
)
def test_a_call_without_its_type_is_guarded_too(kind: str | None) -> None:
    headers = [("content-type", kind)] if kind is not None else []
    app = Echo()
    for start in (b"", b"\n " * 50, b"\xef\xbb\xbf"):
        sent = through(app, start + body_of(ASK), headers=headers, json_body=False)
        assert sent.status == 403
    duplicated = UNREADABLE["two readings"][0]
    assert through(app, duplicated, headers=headers, json_body=False).status == 400
    assert app.bodies == []


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "application/x-ndjson"])
def test_at_a_models_path_every_type_is_looked_at(kind: str) -> None:
    assert through(Echo(), ASK, path="/v1/chat/completions", headers=[("content-type", kind)]).status == 403


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", "application/json;a=b"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
def test_every_way_to_say_json(kind: str, method: str) -> None:
    assert through(Echo(), ASK, method=method, headers=[("Content-Type", kind)]).status == 403


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_json_in_every_encoding(encoding: str) -> None:
    app = Echo()
    assert through(app, json.dumps(ASK).encode(encoding)).status == 403
    assert through(app, json.dumps(asking()).encode(encoding)).status == 200
    assert app.bodies == [json.dumps(asking()).encode(encoding)]


def test_a_body_in_pieces_of_one_byte() -> None:
    app = Echo()
    whole = body_of(asking("My card."))
    through(app, pieces=[bytes([byte]) for byte in whole])
    assert json.loads(app.bodies[0]) == asking("My [redacted].")
    through(app, pieces=[bytes([byte]) for byte in body_of(asking())])
    assert app.bodies[1] == body_of(asking())


def test_a_changed_body_is_framed_once() -> None:
    """A length that is right, and no transfer coding beside it."""
    app = Echo()
    headers = [("Content-Length", "7"), ("content-length", "8"), ("Transfer-Encoding", "chunked"), ("x-a", "1")]
    through(app, asking("My card."), headers=headers)
    names = [name.lower() for name, _ in app.scopes[0]["headers"]]
    assert app.length == [str(len(app.bodies[0])).encode()]
    assert b"transfer-encoding" not in names
    assert b"x-a" in names


def test_a_server_keeps_its_scope() -> None:
    """The application gets a copy where a header has to change; the rest of the scope is shared."""
    app = Echo()
    scope = scope_of(headers=[("content-length", "99")], state={"kept": object()})
    before = list(scope["headers"])

    async def run() -> None:
        await serve(HighflameMiddleware(app, guard=FakeGuard(redact=["card"])), scope, [body_of(asking("card"))])

    anyio.run(run)
    assert scope["headers"] == before
    assert app.scopes[0]["state"] is scope["state"]


@pytest.mark.parametrize("pieces", [[], [b"{"]])
def test_a_caller_who_leaves_in_the_middle_of_the_body(pieces: list[bytes]) -> None:
    app = Echo()

    async def run() -> None:
        waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        waiting.append({"type": "http.disconnect"})

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("there is nobody to send to")

        await HighflameMiddleware(app, guard=FakeGuard())(scope_of(), receive, send)

    anyio.run(run)
    assert (app.bodies, app.after) == ([], [{"type": "http.disconnect"}])


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "something.new"])
def test_other_connections_pass_untouched(kind: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody is to be asked")

    scope = {"type": kind, "headers": [(b"x-highflame-user", b"ada")], "client": ("10.0.0.1", 1)}
    anyio.run(HighflameMiddleware(app, guard=FakeGuard(), trusted_peers=["*"]), scope, nothing, nothing)
    assert seen == [(scope, nothing, nothing)]


@pytest.mark.parametrize("mode", ["monitor", "alert"])
def test_looking_on_changes_nothing_and_reports_all(mode: str, highflame_spans: CapturedSpans) -> None:
    app = Echo()
    tracer = highflame_spans.provider.get_tracer("server")
    with tracer.start_as_current_span("POST /ask"):
        sent = through(app, asking("The SECRET of my card."), mode=mode)
    assert (sent.status, app.bodies) == (200, [body_of(asking("The SECRET of my card."))])
    (made,) = highflame_spans.decisions()
    assert (made["stage"], made["decision"], made["enforced"]) == ("prompt", "deny", False)


def test_without_a_guard_nothing_is_read() -> None:
    app = Echo()
    sent = ask(HighflameMiddleware(app, guard=None), pieces=[b"not ", b"json"])
    assert (sent.status, app.bodies) == (200, [b"not json"])


def test_bypass_is_heard_and_put_on_record(highflame_spans: CapturedSpans) -> None:
    app = Echo()
    tracer = highflame_spans.provider.get_tracer("server")
    with tracer.start_as_current_span("POST /ask"), bypass("a test of it"):
        assert through(app, ASK).status == 200
    (span,) = highflame_spans.finished
    assert span.attributes["highflame.guardrail.bypass"] == "a test of it"


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        ({"mode": "watch"}, "monitor"),
        ({"guard": "shield"}, "not part of this version"),
        ({"deadline": 0}, "deadline"),
        ({"max_body": 0}, "max_body=0"),
        ({"max_body": "16M"}, "max_body='16M'"),
        ({"max_body": True}, "max_body=True"),
        ({"trusted_peers": "*"}, "trusted_peers"),
    ],
)
def test_a_wrong_argument_is_a_config_error(options: dict[str, Any], needle: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HighflameMiddleware(Echo(), **options)
    assert needle in str(caught.value)


def test_options_over_a_settings_object() -> None:
    settings = Settings(guard=FakeGuard(deny=["SECRET"]))
    assert ask(HighflameMiddleware(Echo(), settings=settings), ASK).status == 403
    assert ask(HighflameMiddleware(Echo(), settings=settings, mode="monitor"), ASK).status == 200


# Applications of real frameworks.


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
