"""Starlette in front of a model: the middleware among its own.

pip install highflame-middleware openai starlette uvicorn
OPENAI_API_KEY=... uvicorn examples.asgi_starlette:app
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from highflame_middleware import HighflameMiddleware, current_context


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One client serves the process."""
    async with openai.AsyncOpenAI() as client:
        app.state.openai = client
        yield


async def tokens(client: openai.AsyncOpenAI, question: str) -> AsyncIterator[str]:
    """The model's answer, piece by piece."""
    chunks = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}], stream=True
    )
    async for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


async def ask(request: Request) -> JSONResponse:
    """Answer a question."""
    body = await request.json()
    answer = "".join([token async for token in tokens(request.app.state.openai, body["question"])])
    return JSONResponse({"answer": answer, "for": current_context().user})


async def tell(request: Request) -> StreamingResponse:
    """Answer as it is written."""
    body = await request.json()

    async def events() -> AsyncIterator[str]:
        async for token in tokens(request.app.state.openai, body["question"]):
            yield f"data: {json.dumps({'token': token})}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def chat(socket: WebSocket) -> None:
    """A conversation."""
    await socket.accept()
    try:
        while True:
            question = await socket.receive_text()
            answer = "".join([token async for token in tokens(socket.app.state.openai, question)])
            await socket.send_json({"answer": answer})
    except WebSocketDisconnect:
        pass


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/ask", ask, methods=["POST"]),
        Route("/tell", tell, methods=["POST"]),
        WebSocketRoute("/chat", chat),
    ],
    # From the outside inwards: what compresses stands before what reads.
    middleware=[Middleware(GZipMiddleware), Middleware(HighflameMiddleware, trusted_peers=["127.0.0.1"])],
)
