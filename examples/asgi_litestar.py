"""Litestar in front of a model: the middleware as one of its own, the caller's context as a dependency.

pip install highflame-middleware litestar openai uvicorn
OPENAI_API_KEY=... uvicorn examples.asgi_litestar:app
"""

# Litestar reads annotations when it starts: no "from __future__ import annotations" here.

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
from litestar import Litestar, WebSocket, post, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware import DefineMiddleware
from litestar.params import JSONBody
from litestar.response import ServerSentEvent

from highflame_middleware import CallContext, HighflameMiddleware
from highflame_middleware.asgi import highflame_context


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    """One client serves the process."""
    async with openai.AsyncOpenAI() as client:
        app.state.openai = client
        yield


@dataclass
class Question:
    """What somebody wants to know."""

    question: str


async def tokens(question: str) -> AsyncIterator[str]:
    """The model's answer, piece by piece."""
    chunks = await app.state.openai.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}], stream=True
    )
    async for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


@post("/ask", status_code=200)
async def ask(data: JSONBody[Question], caller: NamedDependency[CallContext]) -> dict[str, Any]:
    """Answer a question."""
    return {"answer": "".join([token async for token in tokens(data.question)]), "for": caller.user}


@post("/tell", status_code=200)
async def tell(data: JSONBody[Question]) -> ServerSentEvent:
    """Answer as it is written."""

    async def events() -> AsyncIterator[str]:
        async for token in tokens(data.question):
            yield json.dumps({"token": token})

    return ServerSentEvent(events())


@websocket("/chat")
async def chat(socket: WebSocket) -> None:
    """A conversation."""
    await socket.accept()
    try:
        while True:
            question = await socket.receive_text()
            await socket.send_json({"answer": "".join([token async for token in tokens(question)])})
    except WebSocketDisconnect:
        pass


app = Litestar(
    route_handlers=[ask, tell, chat],
    lifespan=[lifespan],
    dependencies={"caller": Provide(highflame_context)},
    middleware=[DefineMiddleware(HighflameMiddleware, trusted_peers=["127.0.0.1"])],
)
