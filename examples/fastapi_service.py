"""A FastAPI service in front of a model: guarded at its door, and in every call it makes.

    pip install 'highflame-middleware[demo]'
    OPENAI_API_KEY=... uvicorn examples.fastapi_service:app

Try it:

    curl localhost:8000/ask -H 'content-type: application/json' \
         -d '{"messages": [{"role": "user", "content": "My card is 4111 1111 1111 1111"}]}'
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from highflame_middleware import HighflameMiddleware, current_context, instrument


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One line instruments every SDK of the process; one client serves it."""
    with instrument():
        async with openai.AsyncOpenAI() as client:
            app.state.openai = client
            yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(HighflameMiddleware, trusted_peers=["127.0.0.1"])


@app.post("/ask")
async def ask(body: dict[str, Any], request: Request) -> dict[str, Any]:
    """Answer a question; a blocked call is answered 403 by the middleware, with no code here."""
    client: openai.AsyncOpenAI = request.app.state.openai
    reply = await client.chat.completions.create(model="gpt-4o-mini", messages=body["messages"])
    return {"answer": reply.choices[0].message.content, "for": current_context().user}


@app.post("/stream")
async def stream(body: dict[str, Any], request: Request) -> StreamingResponse:
    """Answer as it is written; what must not leave is taken out on the way."""
    client: openai.AsyncOpenAI = request.app.state.openai
    chunks = await client.chat.completions.create(model="gpt-4o-mini", messages=body["messages"], stream=True)

    async def events() -> AsyncIterator[str]:
        async for chunk in chunks:
            yield f"data: {chunk.model_dump_json()}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
