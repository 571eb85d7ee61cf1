"""Quart in front of a model: the middleware around the application that the framework makes.

pip install highflame-middleware openai quart uvicorn
OPENAI_API_KEY=... uvicorn examples.asgi_quart:app
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
from quart import Quart, request, websocket

from highflame_middleware import HighflameMiddleware, current_context

app = Quart(__name__)
app.asgi_app = HighflameMiddleware(app.asgi_app, trusted_peers=["127.0.0.1"])


@app.while_serving
async def lifespan() -> AsyncIterator[None]:
    """One client serves the process."""
    async with openai.AsyncOpenAI() as client:
        app.extensions["openai"] = client
        yield


async def tokens(question: str) -> AsyncIterator[str]:
    """The model's answer, piece by piece."""
    chunks = await app.extensions["openai"].chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}], stream=True
    )
    async for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


@app.post("/ask")
async def ask() -> dict[str, Any]:
    """Answer a question."""
    body = await request.get_json()
    return {"answer": "".join([token async for token in tokens(body["question"])]), "for": current_context().user}


@app.post("/tell")
async def tell() -> Any:
    """Answer as it is written."""
    body = await request.get_json()

    async def events() -> AsyncIterator[str]:
        async for token in tokens(body["question"]):
            yield f"data: {json.dumps({'token': token})}\n\n"

    return events(), {"content-type": "text/event-stream"}


@app.websocket("/chat")
async def chat() -> None:
    """A conversation."""
    while True:
        question = await websocket.receive()
        await websocket.send_json({"answer": "".join([token async for token in tokens(question)])})
