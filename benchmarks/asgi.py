"""What the ASGI door costs beside others, in CPU time, and whether that keeps the goals that it was built to.

All conditions are run in one process, in another order each round; what one adds is the median over the rounds of
its difference to the bare application in the same round. The least that a door of this kind does is the floor: a
request id, a context variable, a header in the reply. Goals are about what is *added*. This door leaves the span of
a request to others: with a span means that one is made in front of it, as in front of the floor. Over sockets each
condition is a server of its own, asked by turns, that tells its own CPU time.

``python -m benchmarks.asgi [rounds]``; differences smaller than the spread in brackets are noise.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from highflame_middleware import Decision, GuardRequest, GuardResponse, HighflameMiddleware
from highflame_middleware.asgi.body import read_body, replay

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

ROUNDS = 60
CHUNKS = 200
_SENTENCE = "The quarterly report shows that revenue grew across all regions while support tickets fell. "
_MESSAGES = [{"role": ("user", "assistant")[turn % 2], "content": _SENTENCE * 8} for turn in range(5)]
BODY = json.dumps({"model": "m", "messages": _MESSAGES}).encode()
_TICKS = [b'data: {"tick": %d}\n\n' % number for number in range(CHUNKS)]
_WORDS = [
    b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}).encode()
    for delta in [*({"content": f" word{number}"} for number in range(CHUNKS - 1)), {}]
]


def bare() -> App:
    """The application that everything else stands in front of."""

    async def ping(request: Request) -> Response:
        return JSONResponse({"ok": True})

    async def body(request: Request) -> Response:
        return JSONResponse({"n": len(await request.body())})

    async def cpu(request: Request) -> Response:
        return JSONResponse(time.process_time())

    def streaming(events: list[bytes]) -> Callable[[Request], Awaitable[Response]]:
        async def stream(request: Request) -> Response:
            async def pieces() -> Any:
                for event in events:
                    yield event

            return StreamingResponse(pieces(), media_type="text/event-stream")

        return stream

    return Starlette(
        routes=[
            Route("/ping", ping),
            Route("/cpu", cpu),
            Route("/body", body, methods=["POST"]),
            Route("/ticks", streaming(_TICKS)),
            Route("/v1/chat/completions", streaming([word + b"\n\n" for word in _WORDS]), methods=["POST"]),
        ]
    )


_FLOOR: ContextVar[Any] = ContextVar("floor", default=None)


def floor(app: App) -> App:
    """A request id, a context variable, a header."""

    async def door(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value
                break
        found = given or uuid.uuid4().hex.encode()

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", found)]}
            await send(message)

        token = _FLOOR.set({"id": found, "path": scope["path"]})
        try:
            await app(scope, receive, sending)
        finally:
            _FLOOR.reset(token)

    return door


def decoding(app: App) -> App:
    """The least that reads a body as JSON before the application does."""

    async def door(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        json.loads(message["body"])
        await app(scope, replay([message], receive), send)

    return door


def spanning(app: App) -> App:
    """One server span, and nothing else."""
    tracer = _provider.get_tracer("floor")

    async def door(scope: Any, receive: Any, send: Any) -> None:
        facts = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with tracer.start_as_current_span(f"{scope['method']} {scope['path']}", attributes=facts) as span:

            async def sending(message: Any) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await app(scope, receive, sending)

    return door


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


_provider = TracerProvider()


_ALLOWED = GuardResponse(decision=Decision.ALLOW)


class _Allowing:
    """A guard that costs nothing, so that what is left is the door."""

    name, local = "allowing", True

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Allow."""
        return _ALLOWED


def ours(app: App, **options: Any) -> App:
    """Our door."""
    return HighflameMiddleware(app, **options)


def _otel(app: App) -> App:
    return OpenTelemetryMiddleware(app, tracer_provider=_provider, exclude_spans=["send", "receive"])


def _correlating(app: App) -> App:
    from asgi_correlation_id import CorrelationIdMiddleware  # noqa: PLC0415 - not where it is not installed

    return CorrelationIdMiddleware(app)


Make: TypeAlias = Callable[[], App]
_DOORS: Mapping[str, Make] = {
    "bare": bare,
    "floor": lambda: floor(bare()),
    "asgi-correlation-id": lambda: _correlating(bare()),
    "ours, no guard": lambda: ours(bare(), guard=None),
    "ours": lambda: ours(bare()),
    "span alone": lambda: spanning(bare()),
    "span + floor": lambda: spanning(floor(bare())),
    "span + ours, no guard": lambda: spanning(ours(bare(), guard=None)),
    "span + ours": lambda: spanning(ours(bare())),
    "otel-asgi": lambda: _otel(bare()),
}
if importlib.util.find_spec("asgi_correlation_id") is None:
    _DOORS = {name: make for name, make in _DOORS.items() if name != "asgi-correlation-id"}
_READING: Mapping[str, Make] = {
    "bare": bare,
    "floor": _DOORS["floor"],
    "decode": lambda: decoding(bare()),
    "ours, excluded": lambda: ours(bare(), exclude_paths=["/body"]),
    "ours, guard allows": lambda: ours(bare(), guard=_Allowing()),
    "ours": _DOORS["ours"],
}
_STREAMING: Mapping[str, Make] = {
    "bare": bare,
    "floor": _DOORS["floor"],
    "ours, no guard": _DOORS["ours, no guard"],
    "ours, monitor": lambda: ours(bare(), mode="monitor"),
    "ours": _DOORS["ours"],
}


def _scope(method: str, path: str, length: int) -> dict[str, Any]:
    headers = [(b"host", b"x"), (b"user-agent", b"bench"), (b"accept", b"*/*"), (b"authorization", b"Bearer abc")]
    if length:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def _asked(app: App, method: str, path: str, body: bytes, times: int) -> None:
    for _ in range(times):
        given = False
        status = None

        async def receive() -> Any:
            nonlocal given
            if given:
                await asyncio.sleep(3600)
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]

        await app(_scope(method, path, len(body)), receive, send)
        assert status == 200, (path, status)


def _interleaved(conditions: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The seconds that each condition says it took, round by round, each round in an order of its own."""
    times: dict[str, list[float]] = {name: [] for name in conditions}
    order = list(conditions)
    for number in range(rounds + 2):
        random.shuffle(order)
        for name in order:
            spent = conditions[name]()
            _provider.force_flush()
            if number > 1:
                times[name].append(spent)
    return times


def _added(times: Mapping[str, list[float]], name: str, to: str = "bare") -> float:
    return statistics.median(mine - other for mine, other in zip(times[name], times[to], strict=True)) * 1e6


def _print(title: str, times: Mapping[str, list[float]]) -> None:
    print(f"\n{title}")
    basis = statistics.median(times["bare"])
    for name, values in times.items():
        gaps = [(mine - other) * 1e6 for mine, other in zip(values, times["bare"], strict=True)]
        low, middle, high = statistics.quantiles(gaps, n=4) if name != "bare" else (0.0, 0.0, 0.0)
        median = statistics.median(values)
        print(
            f"  {name:21} {median * 1e6:8.1f} µs  {middle:+8.1f} [{low:+.1f} … {high:+.1f}] {median / basis:6.2f} x"
        )


def _in_process(
    loop: asyncio.AbstractEventLoop,
    makes: Mapping[str, Make],
    method: str,
    path: str,
    *,
    body: bytes = b"",
    repeat: int,
    rounds: int,
) -> dict[str, list[float]]:
    def condition(app: App) -> Callable[[], float]:
        def spend() -> float:
            began = time.thread_time()
            loop.run_until_complete(_asked(app, method, path, body, repeat))
            return (time.thread_time() - began) / repeat

        return spend

    conditions = {name: condition(make()) for name, make in makes.items()}
    gc.collect()
    gc.freeze()
    return _interleaved(conditions, rounds)


def _read_alone(loop: asyncio.AbstractEventLoop, rounds: int, repeat: int = 200) -> float:
    """What it takes to read a body and give it again, over receiving it: microseconds."""

    def condition(reads: bool) -> Callable[[], float]:
        async def run() -> None:
            message = {"type": "http.request", "body": BODY, "more_body": False}

            async def receive() -> Any:
                return message

            for _ in range(repeat):
                given = replay((await read_body(receive, 1 << 24)).messages, receive) if reads else receive
                assert (await given())["body"] == BODY

        def spend() -> float:
            began = time.thread_time()
            loop.run_until_complete(run())
            return (time.thread_time() - began) / repeat

        return spend

    return _added(_interleaved({"bare": condition(False), "read": condition(True)}, rounds), "read")


def _over_sockets(names: Iterable[str], rounds: int, repeat: int = 300) -> dict[str, list[float]]:
    servers = {name: _Server(name) for name in names}
    try:
        for server in servers.values():
            server.wait()
        return _interleaved({name: server.spender(repeat) for name, server in servers.items()}, rounds)
    finally:
        for server in servers.values():
            server.process.terminate()
            server.process.wait()


class _Server:
    """uvicorn in a process of its own; it is asked for its CPU time before and after."""

    def __init__(self, name: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.asgi", "serve", name, str(self.port)],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def wait(self) -> None:
        """Connect, once it listens."""
        for _ in range(600):
            try:
                self._connection = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                assert self.process.poll() is None, "the server has ended"
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(f"nothing listens on {self.port}")

    def get(self, path: str) -> bytes:
        """The body of one reply, on the connection that stays open."""
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._connection.recv(65536)
        return body

    def spender(self, repeat: int) -> Callable[[], float]:
        """The server's CPU time for one request, from so many."""

        def spend() -> float:
            before = float(self.get("/cpu"))
            for _ in range(repeat):
                self.get("/ping")
            return (float(self.get("/cpu")) - before) / repeat

        return spend


def _serve(name: str, port: int) -> None:
    import uvicorn  # noqa: PLC0415

    uvicorn.run(_DOORS[name](), port=port, log_level="error", access_log=False)


def _judge(goals: Iterable[tuple[str, float, float]]) -> bool:
    print("\ngoals")
    held = True
    for title, value, bound in goals:
        held = held and value <= bound
        print(f"  {'holds' if value <= bound else 'FAILS':6} {title}: {value:.2f}, at most {bound:.2f}")
    return held


def main(rounds: int = ROUNDS) -> int:
    """Measure, print, and say which goals hold: 1 where one does not."""
    _provider.add_span_processor(
        BatchSpanProcessor(_Nowhere(), max_queue_size=1 << 18, schedule_delay_millis=3_600_000)
    )
    loop = asyncio.new_event_loop()
    get = _in_process(loop, _DOORS, "GET", "/ping", repeat=50, rounds=2 * rounds)
    _print("GET, a JSON reply", get)
    post = _in_process(loop, _READING, "POST", "/body", body=BODY, repeat=30, rounds=rounds)
    _print(f"POST, {len(BODY)} bytes of a chat", post)
    alone = _read_alone(loop, rounds)
    texts = _added(post, "ours, guard allows", "ours, excluded") - _added(post, "decode")
    print(f"  reading and giving again, alone: {alone:.1f} µs")
    print(f"  finding {len(_MESSAGES)} texts, and what is done for each: {texts:.0f} µs")
    ticks = _in_process(loop, _STREAMING, "GET", "/ticks", repeat=3, rounds=rounds)
    _print(f"SSE, {CHUNKS} events of the application's own", ticks)
    print(f"  a look at each, to see that there is nothing to guard: {_added(ticks, 'ours') / CHUNKS:.2f} µs")
    words = _in_process(
        loop,
        _STREAMING,
        "POST",
        "/v1/chat/completions",
        body=b'{"model": "m"}',
        repeat=2,
        rounds=max(rounds // 3, 5),
    )
    _print(f"SSE, {CHUNKS} chunks of a model's", words)
    chosen = ("bare", "floor", "ours, no guard", "ours", "span + floor", "span + ours, no guard")
    # Servers are noisier than what runs in one process.
    sockets = _over_sockets(chosen, 2 * rounds)
    _print("GET over sockets, uvicorn", sockets)
    basis = statistics.median(sockets["bare"]) * 1e6
    goals = [
        ("no span, beside the floor", _added(get, "ours, no guard") / _added(get, "floor"), 1.5),
        (
            "with a span, beside the floor in one",
            _added(get, "span + ours, no guard") / _added(get, "span + floor"),
            1.3,
        ),
        ("SSE, no guard: µs a chunk", _added(ticks, "ours, no guard") / CHUNKS, 1.0),
        ("a 4 KB body read and given again: µs", alone, 10.0),
        ("over sockets: µs over the floor", _added(sockets, "ours, no guard", "floor"), 0.05 * basis),
    ]
    if "asgi-correlation-id" in get:
        ratio = _added(get, "ours, no guard") / _added(get, "asgi-correlation-id")
        goals.insert(1, ("no span, beside asgi-correlation-id", ratio, 1.0))
    return 0 if _judge(goals) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main(*map(int, sys.argv[1:])))
