"""Django in front of a model: the middleware around its ASGI application, outside of Django's own.

    pip install django highflame-middleware openai uvicorn
    OPENAI_API_KEY=... uvicorn examples.asgi_django:app

In a project the last line goes into ``asgi.py``. Leave out GZipMiddleware of MIDDLEWARE: what Django has compressed
cannot be guarded here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import django
import openai
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

from highflame_middleware import HighflameMiddleware, current_context

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of an example, and no secret")
django.setup()


async def tokens(question: str) -> AsyncIterator[str]:
    """The model's answer, piece by piece."""
    async with openai.AsyncOpenAI() as client:
        chunks = await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": question}], stream=True
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


async def ask(request: HttpRequest) -> JsonResponse:
    """Answer a question."""
    question: str = json.loads(request.body)["question"]
    answer = "".join([token async for token in tokens(question)])
    return JsonResponse({"answer": answer, "for": current_context().user})


async def tell(request: HttpRequest) -> StreamingHttpResponse:
    """Answer as it is written."""
    question: str = json.loads(request.body)["question"]

    async def events() -> AsyncIterator[str]:
        async for token in tokens(question):
            yield f"data: {json.dumps({'token': token})}\n\n"

    return StreamingHttpResponse(events(), content_type="text/event-stream")


urlpatterns: list[Any] = [path("ask", ask), path("tell", tell)]
app = HighflameMiddleware(get_asgi_application(), trusted_peers=["127.0.0.1"])
