"""The application that the real servers serve: guarded by the embedded engine, and in touch with the test.

It runs in a process of its own. What happens in it is told over a socket of the test's (`CONTROL`), which may
have it wait for an answer.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from highflame_middleware import EmbeddedGuard, GuardRequest, GuardResponse, HighflameMiddleware, current_context

PORT = int(os.environ["CONTROL"])


def tell(event: str) -> None:
    """Tell the test, at once, in the middle of a cancellation too."""
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(f"{event}\n".encode())


async def ask(event: str) -> None:
    """Tell the test, and wait until it says to go on."""
    async with await anyio.connect_tcp("127.0.0.1", PORT) as connection:
        await connection.send(f"{event}?\n".encode())
        await connection.receive()


async def hang(who: str) -> None:
    tell(f"{who} waits")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        tell(f"{who} cancelled")
        raise


class Guard:
    """The embedded engine, which takes its time where a text tells it to."""

    name = "patient"

    def __init__(self) -> None:
        self._engine = EmbeddedGuard()
        self.window = self._engine.window

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        if "(wait)" in request.content:
            await hang("guard")
        return self._engine.evaluate(request)


# What the application tells whoever asks for it.
LEAK = "Your card is 4111 1111 1111 1111."


def said(body: Any) -> str:
    text = str(body["messages"][-1]["content"])
    return LEAK if text == "leak" else text


def chunk(text: str, **choice: Any) -> bytes:
    data = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, **choice}]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def chat(request: Request) -> Response:
    """Say what was said; as a stream word by word, waiting for the test after the first."""
    body = await request.json()
    text = said(body)
    if body.get("stream"):
        return StreamingResponse(chat_events(text), media_type="text/event-stream")
    message = {"role": "assistant", "content": text}
    reply = {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}
    return JSONResponse({**reply, "user": current_context().user}, headers={"etag": '"1"'})


async def chat_events(text: str) -> AsyncIterator[bytes]:
    first, *rest = text.split(" ")
    yield chunk(f"{first} ")
    yield chunk("then ")
    await ask("streaming")
    for word in rest:
        yield chunk(f"{word} ")
    yield chunk("", finish_reason="stop")
    yield b"data: [DONE]\n\n"


async def lines(request: Request) -> Response:
    text = said(await request.json())

    async def written() -> AsyncIterator[bytes]:
        first, *rest = text.split(" ")
        yield json.dumps({"token": f"{first} "}).encode() + b"\n"
        yield json.dumps({"token": "then "}).encode() + b"\n"
        await ask("streaming")
        for word in rest:
            yield json.dumps({"token": f"{word} "}).encode() + b"\n"

    return StreamingResponse(written(), media_type="application/x-ndjson")


async def text(request: Request) -> Response:
    return PlainTextResponse(said(await request.json()))


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file = form["file"]
        assert not isinstance(file, str)
        content = await file.read()
        return JSONResponse({"prompt": form["prompt"], "size": len(content), "last": content[-1]})


async def background(request: Request) -> Response:
    async def run() -> None:
        await anyio.lowlevel.checkpoint()
        tell("background")

    return PlainTextResponse(said(await request.json()), background=BackgroundTask(run))


async def plain(request: Request) -> Response:
    return PlainTextResponse(request.query_params.get("say", "hello"))


async def process(request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


class Hanging:
    """An application that listens to nobody: it never receives after the body, and works for ever."""

    def __init__(self, *, begins: bool) -> None:
        self._begins = begins

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        if self._begins:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": chunk("Some words and then "), "more_body": True})
        await hang("app")


async def hang_streaming(request: Request) -> Response:
    """Starlette's own way to stream, which listens for the leaving where the server promises nothing else."""

    async def events() -> AsyncIterator[bytes]:
        yield chunk("Some words ")
        yield chunk("and then ")
        await hang("app")

    return StreamingResponse(events(), media_type="text/event-stream")


async def echo(connection: WebSocket) -> None:
    await connection.accept()
    try:
        while True:
            message = await connection.receive_text()
            await connection.send_text(LEAK if message == "leak" else message)
    except WebSocketDisconnect as left:
        tell(f"websocket left {left.code}")


async def agent(connection: WebSocket) -> None:
    """Says what was said in pieces of three characters, and then listens again."""
    await connection.accept()
    try:
        while True:
            text = LEAK if (text := await connection.receive_text()) == "leak" else text
            for start in range(0, len(text), 3):
                await connection.send_json({"token": text[start : start + 3]})
    except WebSocketDisconnect as left:
        tell(f"websocket left {left.code}")


async def denied(connection: WebSocket) -> None:
    await connection.send_denial_response(PlainTextResponse("no seat left", status_code=409))


routes = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/lines", lines, methods=["POST"]),
    Route("/text", text, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/background", background, methods=["POST"]),
    Route("/plain", plain),
    Route("/process", process, methods=["POST"]),
    Mount("/hang", Hanging(begins=False)),
    Mount("/hang-later", Hanging(begins=True)),
    Route("/hang-streaming", hang_streaming, methods=["POST"]),
    WebSocketRoute("/echo", echo),
    WebSocketRoute("/agent", agent),
    WebSocketRoute("/denied", denied),
]
app = HighflameMiddleware(
    Starlette(routes=routes),
    guard=Guard(),
    deadline=30.0,
    trusted_peers=["127.0.0.1"],
    websocket_streams=["/agent"],
)
