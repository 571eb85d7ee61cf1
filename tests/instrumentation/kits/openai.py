"""The ways of calling the OpenAI SDK, once each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from tests.instrumentation.kits import PIECES, Case, Kit
from tests.instrumentation.kits.openai_resources import RESOURCES, answering
from tests.servers import Answer, Respond, Seen, scripted

__all__ = ["CASES", "GUARDED", "KIT", "MESSAGES", "make", "speaking"]

MESSAGES: Any = [{"role": "user", "content": "Tell me the SECRET."}]


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    cls = openai.AsyncOpenAI if kind == "async" else openai.OpenAI
    return cls(**{"api_key": "sk-provider", "base_url": f"{url}/v1", "max_retries": 0, **options})


def _chat(choice: int = 0) -> Callable[[Any], str]:
    return lambda reply: reply.choices[choice].message.content


def _chunks(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _events(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def _deltas(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "content.delta")


CASES: dict[str, Case] = {
    "chat": Case(lambda c: c.chat.completions.create(model="m", messages=MESSAGES), _chat()),
    "chat n=2": Case(lambda c: c.chat.completions.create(model="m", messages=MESSAGES, n=2), _chat(1)),
    "chat stream": Case(lambda c: c.chat.completions.create(model="m", messages=MESSAGES, stream=True), _chunks),
    "chat parse": Case(lambda c: c.beta.chat.completions.parse(model="m", messages=MESSAGES), _chat()),
    "chat stream helper": Case(
        lambda c: c.chat.completions.stream(model="m", messages=MESSAGES), _deltas, "chat.completions.stream"
    ),
    "chat extra_body": Case(
        lambda c: c.chat.completions.create(model="m", messages=[], extra_body={"messages": MESSAGES}), _chat()
    ),
    "chat raw": Case(
        lambda c: c.chat.completions.with_raw_response.create(model="m", messages=MESSAGES),
        lambda raw: _chat()(raw.parse()),
    ),
    "chat raw text": Case(
        lambda c: c.chat.completions.with_raw_response.create(model="m", messages=MESSAGES), lambda raw: raw.text
    ),
    "chat post": Case(
        lambda c: c.post("/chat/completions", cast_to=object, body={"model": "m", "messages": MESSAGES}),
        lambda body: body["choices"][0]["message"]["content"],
    ),
    "completions": Case(
        lambda c: c.completions.create(model="m", prompt="Tell me the SECRET."), lambda reply: reply.choices[0].text
    ),
    "completions stream": Case(
        lambda c: c.completions.create(model="m", prompt="Tell me the SECRET.", stream=True),
        lambda chunks: "".join(chunk.choices[0].text for chunk in chunks),
    ),
    "embeddings": Case(lambda c: c.embeddings.create(model="m", input="Tell me the SECRET.")),
    "responses": Case(
        lambda c: c.responses.create(model="m", input="Tell me the SECRET."),
        lambda reply: reply.output_text,
        "responses",
    ),
    "responses stream": Case(
        lambda c: c.responses.create(model="m", input="Tell me the SECRET.", stream=True), _events, "responses"
    ),
    "responses stream helper": Case(
        lambda c: c.responses.stream(model="m", input="Tell me the SECRET."), _events, "responses.stream"
    ),
    "responses raw": Case(
        lambda c: c.responses.with_raw_response.create(model="m", input="Tell me the SECRET."),
        lambda raw: raw.parse().output_text,
        "responses",
    ),
    "moderations": Case(lambda c: c.moderations.create(input="hello")),
    "files create": Case(lambda c: c.files.create(file=("a.jsonl", b"{}"), purpose="batch")),
    "files list": Case(lambda c: c.files.list()),
    "batches list": Case(lambda c: c.batches.list()),
    "models list": Case(lambda c: c.models.list()),
    **RESOURCES,
}

# What the openai-* codecs read, and so the guard: all but the embeddings' numbers.
GUARDED = [name for name, case in CASES.items() if case.text is not None]


def speaking(streamed: list[str] | None = None) -> Respond:
    """A server that has something to hide in every format, and an answer for every other path."""
    speak = scripted([{"chunks": streamed or PIECES}])
    resources = answering(streamed or PIECES)
    others: dict[str, tuple[str, bytes]] = {
        "/moderations": ("application/json", b'{"id": "m", "model": "m", "results": []}'),
        "/files": ("application/json", b'{"object": "list", "data": [], "id": "f", "has_more": false}'),
        "/batches": ("application/json", b'{"object": "list", "data": [], "has_more": false}'),
        "/models": ("application/json", b'{"object": "list", "data": []}'),
    }

    def respond(seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        if (answer := resources(seen)) is not None:
            return answer
        for suffix, (kind, content) in others.items():
            if path.endswith(suffix):
                return Answer(200, (("content-type", kind),), [content], length=len(content))
        return speak(seen)

    return respond


KIT = Kit(sdk="openai", make=make, cases=CASES, speaking=speaking, retrying={"max_retries": 2})
