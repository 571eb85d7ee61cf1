"""The demo's application: a chat endpoint in front of a model, with the middleware. An ordinary FastAPI service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from highflame_middleware import HighflameMiddleware

__all__ = ["create_app"]


def create_app(client: openai.OpenAI, *, mode: str = "enforce") -> FastAPI:
    """The service. Nothing in it knows of guards, gateways or traces but the line that adds the middleware."""
    app = FastAPI(title="support desk")
    app.add_middleware(HighflameMiddleware, mode=mode)

    @app.post("/chat")
    def chat(body: dict[str, Any]) -> Any:
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=body["messages"])
        return {"answer": reply.choices[0].message.content}

    @app.post("/chat/stream")
    def stream(body: dict[str, Any]) -> StreamingResponse:
        chunks = client.chat.completions.create(model="gpt-4o-mini", messages=body["messages"], stream=True)

        def lines() -> Iterator[str]:
            for chunk in chunks:
                yield f"data: {chunk.model_dump_json()}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    return app
