"""The ways of calling the Groq SDK, once each."""

from __future__ import annotations

import io
from typing import Any

import groq

from tests.instrumentation.kits import PIECES, PROMPT, Case, Kit
from tests.servers import Answer, Respond, Seen, scripted

__all__ = ["KIT"]

_MESSAGES: Any = [{"role": "user", "content": PROMPT}]


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    cls = groq.AsyncGroq if kind == "async" else groq.Groq
    return cls(**{"api_key": "k", "base_url": url, "max_retries": 0, **options})


def _chunks(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _spoken(reply: Any) -> str:
    return str(reply.choices[0].message.content)


CASES: dict[str, Case] = {
    "chat": Case(lambda c: c.chat.completions.create(model="m", messages=_MESSAGES), _spoken),
    "chat stream": Case(lambda c: c.chat.completions.create(model="m", messages=_MESSAGES, stream=True), _chunks),
    "chat raw": Case(
        lambda c: c.chat.completions.with_raw_response.create(model="m", messages=_MESSAGES),
        lambda raw: _spoken(raw.parse()),
        # The asynchronous one is read by awaiting it.
        kinds=("sync",),
    ),
    "embeddings": Case(lambda c: c.embeddings.create(model="m", input=PROMPT)),
    "transcription": Case(
        lambda c: c.audio.transcriptions.create(model="m", file=("a.wav", io.BytesIO(b"RIFF"))),
        lambda reply: reply.text,
        prompted=False,
    ),
    "models": Case(lambda c: c.models.list()),
}


def speaking(pieces: list[str] | None = None) -> Respond:
    """A server that has something to hide."""
    said = pieces or PIECES
    openai = scripted([{"chunks": said}])

    def respond(seen: Seen) -> Answer:
        if seen.path.endswith("/models"):
            content = b'{"object": "list", "data": []}'
        elif seen.path.endswith("/transcriptions"):
            content = b'{"text": "%s"}' % "".join(said).encode()
        else:
            return openai(seen)
        return Answer(200, (("content-type", "application/json"),), [content], length=len(content))

    return respond


KIT = Kit(sdk="groq", make=make, cases=CASES, speaking=speaking, retrying={"max_retries": 2})
