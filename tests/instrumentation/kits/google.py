"""The ways of calling google-genai, once each, with a key for the Gemini API."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

from google import genai
from google.genai import types

from tests.instrumentation.kits import PIECES, PROMPT, Case, Kit
from tests.servers import Answer, Respond, Seen

__all__ = ["CASES", "KIT", "candidate", "joined", "make", "reply", "speaking", "stream_of"]

_SCHEMA = {"type": "OBJECT", "properties": {"said": {"type": "STRING"}}}


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    http: dict[str, Any] = {"base_url": url, **options.pop("http_options", {})}
    client = genai.Client(**{"api_key": "k-provider", "vertexai": False, "http_options": http, **options})
    return client.aio if kind == "async" else client


def joined(chunks: list[Any]) -> str:
    """What a streamed reply says."""
    return "".join(chunk.text or "" for chunk in chunks)


def _ask(client: Any, **config: Any) -> Any:
    return client.models.generate_content(model="m", contents=PROMPT, config=config or None)


def _stream(client: Any, **config: Any) -> Any:
    return client.models.generate_content_stream(model="m", contents=PROMPT, config=config or None)


def _text(reply: Any) -> str:
    return str(reply.text)


_IMAGE = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")


# In versions before 2 a reply is a list of contents, not of steps.
_CONTENTS = find_spec("google.genai._gaos") is None


def _interaction(reply: Any) -> str:
    if _CONTENTS:
        return "".join(part.text for part in reply.outputs)
    return "".join(part.text for step in reply.steps for part in getattr(step, "content", None) or ())


def _steps(events: list[Any]) -> str:
    deltas = (getattr(event, "delta", None) for event in events)
    return "".join(getattr(delta, "text", "") or "" for delta in deltas if delta is not None)


CASES: dict[str, Case] = {
    "generate": Case(_ask, _text),
    "generate typed": Case(
        lambda c: c.models.generate_content(
            model="models/m",
            contents=[types.Content(role="user", parts=[types.Part(text=PROMPT), _IMAGE])],
            config=types.GenerateContentConfig(temperature=0.5, max_output_tokens=10),
        ),
        _text,
    ),
    "generate system": Case(
        lambda c: c.models.generate_content(model="m", contents="Hi!", config={"system_instruction": PROMPT}), _text
    ),
    "generate JSON": Case(lambda c: _ask(c, response_mime_type="application/json", response_schema=_SCHEMA), _text),
    "stream": Case(_stream, joined),
    "stream typed": Case(lambda c: _stream(c, temperature=0.5), joined),
    "chat": Case(lambda c: c.chats.create(model="m").send_message(PROMPT), _text),
    "chat stream": Case(lambda c: c.chats.create(model="m").send_message_stream(PROMPT), joined),
    "embed": Case(lambda c: c.models.embed_content(model="embedding", contents=[PROMPT, "Hi!"])),
    "count": Case(lambda c: c.models.count_tokens(model="m", contents=PROMPT)),
    "cache": Case(lambda c: c.caches.create(model="m", config={"contents": PROMPT, "ttl": "60s"})),
    "models list": Case(lambda c: c.models.list()),
    "models get": Case(lambda c: c.models.get(model="m")),
    "files get": Case(lambda c: c.files.get(name="f")),
}


# Older versions have less to be told by.
_TOLD = types.HttpOptions.model_fields
if "extra_body" in _TOLD:
    CASES["generate extra_body"] = Case(
        lambda c: c.models.generate_content(
            model="m",
            contents="Hi!",
            config={"http_options": {"extra_body": {"systemInstruction": {"parts": [{"text": PROMPT}]}}}},
        ),
        _text,
    )
if hasattr(genai.Client(api_key="k"), "interactions"):
    _ASKED: dict[str, Any] = {"model": "m", "input": PROMPT}
    CASES["interactions"] = Case(lambda c: c.interactions.create(**_ASKED), _interaction)
    CASES["interactions stream"] = Case(lambda c: c.interactions.create(**_ASKED, stream=True), _steps)
_RETRIES = {"retry_options": {"attempts": 3, "initial_delay": 0.01}} if "retry_options" in _TOLD else {}


def candidate(*parts: Any, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A candidate that says these parts, texts for short."""
    said = [{"text": part} if isinstance(part, str) else part for part in parts]
    ended = {"finishReason": finish} if finish else {}
    return {"content": {"role": "model", "parts": said}, "index": 0, **ended, **fields}


def reply(*candidates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A reply of the API's."""
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}
    return {
        "candidates": list(candidates),
        "usageMetadata": usage,
        "modelVersion": "m-001",
        "responseId": "r1",
        **fields,
    }


def stream_of(*replies: Any) -> list[bytes]:
    """Replies as server-sent events, written as the API writes them."""
    return [b"data: " + json.dumps(item).encode() + b"\r\n\r\n" for item in replies]


def _interactions(pieces: list[str], streamed: bool) -> Answer:
    """The same words from the API with a memory."""
    content = {"type": "text", "text": "".join(pieces)}
    step = {"type": "model_output", "content": [content]}
    replied = {"outputs": [content]} if _CONTENTS else {"steps": [step]}
    whole = {"id": "i", "object": "interaction", "status": "completed", "model": "m"}
    whole |= {"created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z"}
    if not streamed:
        return Answer(200, (("content-type", "application/json"),), [json.dumps({**whole, **replied}).encode()])
    deltas = [{"type": "text", "text": piece} for piece in pieces]
    said = [
        ("interaction.created", {"interaction": {**whole, "status": "in_progress"}}),
        ("step.start", {"index": 0, "step": {"type": "model_output"}}),
        *(("step.delta", {"index": 0, "delta": delta}) for delta in deltas),
        ("step.stop", {"index": 0}),
        ("interaction.completed", {"interaction": whole}),
    ]
    if _CONTENTS:
        said = [
            ("interaction.start", {"interaction": {**whole, "status": "in_progress"}}),
            ("content.start", {"index": 0, "content": {"type": "text", "text": ""}}),
            *(("content.delta", {"index": 0, "delta": delta}) for delta in deltas),
            ("content.stop", {"index": 0}),
            ("interaction.complete", {"interaction": whole}),
        ]
    events = [
        f"event: {name}\ndata: {json.dumps({**data, 'event_type': name})}\n\n".encode() for name, data in said
    ]
    done = b"event: done\ndata: [DONE]\n\n"
    return Answer(200, (("content-type", "text/event-stream"),), [*events, done])


def speaking(streamed: list[str] | None = None) -> Respond:
    """A server that has something to hide, and an answer for every other path."""
    pieces = streamed or PIECES
    others: dict[str, Any] = {
        ":batchEmbedContents": {"embeddings": [{"values": [0.5]}, {"values": [0.25]}]},
        ":embedContent": {"embedding": {"values": [0.5]}},
        ":countTokens": {"totalTokens": 5},
        ":predict": {"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "iVBORw0K"}]},
        "/cachedContents": {"name": "cachedContents/c", "model": "models/m"},
        "/models": {"models": [{"name": "models/m"}]},
        "/models/m": {"name": "models/m"},
        "/files/f": {"name": "files/f", "uri": "https://files/f"},
    }

    def respond(seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        if path.endswith("/interactions"):
            return _interactions(pieces, bool(seen.json.get("stream")))
        if path.endswith(":streamGenerateContent"):
            replies = [reply(candidate(piece)) for piece in pieces[:-1]]
            replies.append(reply(candidate(pieces[-1], finish="STOP")))
            return Answer(200, (("content-type", "text/event-stream"),), stream_of(*replies))
        said: Any = reply(candidate("".join(pieces), finish="STOP"))
        for suffix, content in others.items():
            if path.endswith(suffix):
                said = content
        body = json.dumps(said, indent=2).encode()
        return Answer(200, (("content-type", "application/json; charset=UTF-8"),), [body], length=len(body))

    return respond


KIT = Kit(
    sdk="google-genai",
    make=make,
    cases=CASES,
    speaking=speaking,
    retrying={"http_options": _RETRIES},
)
