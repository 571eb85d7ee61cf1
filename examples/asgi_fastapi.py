"""FastAPI in front of a model: questions guarded on their way in, answers on their way out, whole or streamed.

    pip install 'highflame-middleware[demo]' websockets
    OPENAI_API_KEY=... uvicorn examples.asgi_fastapi:app

Try it:

    curl localhost:8000/ask -H 'content-type: application/json' -d '{"question": "My card is 4111 1111 1111 1111"}'

Add the middleware before those that compress or add CORS headers: what is added later stands outside of it. With
``instrument()`` beside it (see fastapi_service.py) the calls that are made to the model are guarded too.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import openai
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from highflame_middleware import CallContext, HighflameMiddleware
from highflame_middleware.asgi import highflame_context


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client serves the process."""
    async with openai.AsyncOpenAI() as client:
        app.state.openai = client
        yield


app = FastAPI(lifespan=lifespan)
# Who asks is read from x-highflame-* headers, but only from peers that are trusted to say it.
app.add_middleware(HighflameMiddleware, trusted_peers=["127.0.0.1"])
app.add_middleware(GZipMiddleware)
app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_methods=["POST"])


class Question(BaseModel):
    """What somebody wants to know."""

    question: str


async def tokens(question: str) -> AsyncIterator[str]:
    """The model's answer, piece by piece."""
    client: openai.AsyncOpenAI = app.state.openai
    chunks = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}], stream=True
    )
    async for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


@app.post("/ask")
async def ask(body: Question, caller: Annotated[CallContext, Depends(highflame_context)]) -> dict[str, str | None]:
    """Answer a question."""
    return {"answer": "".join([token async for token in tokens(body.question)]), "for": caller.user}


@app.post("/tell")
async def tell(body: Question) -> StreamingResponse:
    """Answer as it is written: a secret that is spread over the events is taken out on the way."""

    async def events() -> AsyncIterator[str]:
        async for token in tokens(body.question):
            yield f"data: {json.dumps({'token': token})}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/chat")
async def chat(socket: WebSocket) -> None:
    """A conversation: each frame is judged by itself, so an answer is sent in one piece."""
    await socket.accept()
    try:
        while True:
            question = await socket.receive_text()
            await socket.send_json({"answer": "".join([token async for token in tokens(question)])})
    except WebSocketDisconnect:
        pass
