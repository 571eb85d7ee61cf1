"""The ways of calling a provider with nothing but an HTTP library, once each; the same for httpx and httpx2."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.instrumentation.kits import Case, Kit
from tests.instrumentation.kits.cohere_server import speaking as speaking_cohere
from tests.servers import Answer, Respond, Seen, scripted

__all__ = ["BODIES", "kit_of"]

_MESSAGES = [{"role": "user", "content": "Tell me the SECRET."}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": _MESSAGES},
    "/v1/responses": {"model": "m", "input": "Tell me the SECRET."},
    "/v1/completions": {"model": "m", "prompt": "Tell me the SECRET."},
    "/v1/embeddings": {"model": "m", "input": "Tell me the SECRET."},
    "/v2/chat": {"model": "m", "messages": _MESSAGES},
    "/v1/chat": {"model": "m", "message": "Tell me the SECRET."},
}


def kit_of(module: ModuleType) -> Kit:
    """The kit of one of the two libraries."""

    def make(kind: str, url: str, **options: Any) -> Any:
        return (module.AsyncClient if kind == "async" else module.Client)(base_url=url, **options)

    return Kit(
        sdk=module.__name__, make=make, cases=_cases(module), speaking=speaking, finish=_finish, afinish=_afinish
    )


def _cases(module: ModuleType) -> dict[str, Case]:
    def post(path: str, **fields: Any) -> Callable[[Any], Any]:
        return lambda client: client.post(path, json={**BODIES[path], **fields})

    def stream(path: str) -> Callable[[Any], Any]:
        return lambda client: client.stream("POST", path, json={**BODIES[path], "stream": True})

    def sent(client: Any) -> Any:
        content = json.dumps(BODIES["/v1/chat/completions"])
        request = client.build_request(
            "POST", "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
        )
        return client.send(request)

    def read(response: Any) -> str:
        return str(response.text)

    return {
        "chat": Case(post("/v1/chat/completions"), lambda r: r.json()["choices"][0]["message"]["content"]),
        "chat sent": Case(sent, read),
        "chat stream": Case(stream("/v1/chat/completions"), _said),
        "chat authorised": Case(
            lambda client: client.post(
                "/v1/chat/completions", json=BODIES["/v1/chat/completions"], auth=module.BasicAuth("a", "b")
            ),
            read,
        ),
        "responses": Case(post("/v1/responses"), read),
        "completions": Case(post("/v1/completions"), lambda r: r.json()["choices"][0]["text"]),
        "embeddings": Case(post("/v1/embeddings")),
        "cohere": Case(post("/v2/chat"), lambda r: r.json()["message"]["content"][0]["text"]),
        "cohere stream": Case(stream("/v2/chat"), _said),
        "cohere v1": Case(post("/v1/chat"), lambda r: r.json()["text"]),
        "cohere v1 stream": Case(stream("/v1/chat"), _said),
    }


def speaking(pieces: list[str] | None = None) -> Respond:
    """A server that has something to hide in every format."""
    from tests.instrumentation.kits import PIECES

    openai, cohere = scripted([{"chunks": pieces or PIECES}]), speaking_cohere(pieces)

    def respond(seen: Seen) -> Answer:
        return (cohere if seen.path.endswith("/chat") else openai)(seen)

    return respond


def _said(lines: list[str]) -> str:
    """What the lines of a stream say, whichever of these formats it is in."""
    said = []
    for line in lines:
        data = line.removeprefix("data: ")
        if not data.startswith("{"):
            continue
        event = json.loads(data)
        if "choices" in event:
            said += [choice["delta"].get("content") or "" for choice in event["choices"]]
        elif event.get("type") == "content-delta":
            said.append(event["delta"]["message"]["content"]["text"])
        elif event.get("event_type") == "text-generation":
            said.append(event["text"])
    return "".join(said)


def _finish(value: Any) -> Any:
    if hasattr(value, "__enter__") and not hasattr(value, "status_code"):
        with value as response:
            return list(response.iter_lines())
    return value


async def _afinish(value: Any) -> Any:
    if inspect.isawaitable(value):
        return await value
    async with value as response:
        return [line async for line in response.aiter_lines()]
