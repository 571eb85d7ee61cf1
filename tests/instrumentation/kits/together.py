"""The ways of calling the Together SDK, once each."""

from __future__ import annotations

from typing import Any

import together

from tests.instrumentation.kits import PIECES, PROMPT, Case, Kit
from tests.servers import Answer, Respond, Seen, scripted

__all__ = ["KIT"]

_MESSAGES: Any = [{"role": "user", "content": PROMPT}]


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    cls = together.AsyncTogether if kind == "async" else together.Together
    # Some versions count the API's version to the base URL.
    with together.Together(api_key="k") as usual:
        path = usual.base_url.path.rstrip("/")
    return cls(**{"api_key": "k", "base_url": f"{url}{path}", "max_retries": 0, **options})


def _chunks(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


CASES: dict[str, Case] = {
    "chat": Case(
        lambda c: c.chat.completions.create(model="m", messages=_MESSAGES),
        lambda reply: reply.choices[0].message.content,
    ),
    "chat stream": Case(lambda c: c.chat.completions.create(model="m", messages=_MESSAGES, stream=True), _chunks),
    "completions": Case(
        lambda c: c.completions.create(model="m", prompt=PROMPT), lambda reply: reply.choices[0].text
    ),
    "completions stream": Case(
        lambda c: c.completions.create(model="m", prompt=PROMPT, stream=True),
        lambda chunks: "".join(chunk.choices[0].text or "" for chunk in chunks if chunk.choices),
    ),
    "embeddings": Case(lambda c: c.embeddings.create(model="m", input=PROMPT)),
    "images": Case(lambda c: c.images.generate(model="m", prompt=PROMPT)),
    "rerank": Case(lambda c: c.rerank.create(model="m", query=PROMPT, documents=["The SECRET."]), needs="rerank"),
    "files": Case(lambda c: c.files.list()),
}


def speaking(pieces: list[str] | None = None) -> Respond:
    """A server that has something to hide."""
    openai = scripted([{"chunks": pieces or PIECES}])
    others = {
        "/files": b'{"object": "list", "data": []}',
        "/rerank": b'{"object": "rerank", "model": "m", "results": [{"index": 0, "relevance_score": 0.5}]}',
        "/images/generations": b'{"id": "i", "model": "m", "object": "list", "data": [{"index": 0, "url": "http://i"}]}',
    }

    def respond(seen: Seen) -> Answer:
        for path, content in others.items():
            if seen.path.endswith(path):
                return Answer(200, (("content-type", "application/json"),), [content], length=len(content))
        return openai(seen)

    return respond


KIT = Kit(sdk="together", make=make, cases=CASES, speaking=speaking, retrying={"max_retries": 2})
