"""A server that speaks Cohere's formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.instrumentation.kits import PIECES
from tests.servers import Answer, Respond, Seen

__all__ = ["speaking"]

_META = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3, "output_tokens": 4}}


def speaking(pieces: list[str] | None = None) -> Respond:
    """A server that says these pieces, or something it should not, at every path of Cohere's that says anything."""
    said = pieces or PIECES

    def respond(seen: Seen) -> Answer:
        path, body = seen.path.partition("?")[0], json.loads(seen.body or b"{}")
        streamed = body.get("stream") is True
        if path.endswith("/v2/chat"):
            return _events(_chat_events(said)) if streamed else _whole(_chat("".join(said)))
        if path.endswith("/chat"):
            return (
                _lines(_v1_events(said, _v1_chat("".join(said)))) if streamed else _whole(_v1_chat("".join(said)))
            )
        if path.endswith("/generate"):
            generation = {"id": "1", "text": "".join(said), "finish_reason": "COMPLETE"}
            whole = {"id": "g", "prompt": "p", "generations": [generation], "meta": _META}
            return _lines(_v1_events(said, whole, begins=False)) if streamed else _whole(whole)
        if path.endswith("/summarize"):
            return _whole({"id": "s", "summary": "".join(said), "meta": _META})
        if path.endswith("/embed"):
            return _whole({"id": "e", "embeddings": {"float": [[0.5]]}, "texts": ["x"], "meta": _META})
        if path.endswith("/rerank"):
            return _whole({"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], "meta": _META})
        return _whole({"models": []})

    return respond


def _chat(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"id": "c", "message": message, "finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 3}}}


def _v1_chat(text: str) -> dict[str, Any]:
    history = [{"role": "USER", "message": "Tell me."}, {"role": "CHATBOT", "message": text}]
    return {
        "response_id": "c",
        "text": text,
        "generation_id": "g",
        "chat_history": history,
        "finish_reason": "COMPLETE",
        "meta": _META,
    }


def _chat_events(said: list[str]) -> Iterator[tuple[str, Any]]:
    yield "message-start", {"id": "c", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": ""}}}
    yield "content-start", {"index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}
    for piece in said:
        yield "content-delta", {"index": 0, "delta": {"message": {"content": {"text": piece}}}}
    yield "content-end", {"index": 0}
    yield "message-end", {"delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"output_tokens": 4}}}}


def _v1_events(said: list[str], whole: dict[str, Any], *, begins: bool = True) -> Iterator[dict[str, Any]]:
    if begins:
        yield {"is_finished": False, "event_type": "stream-start", "generation_id": "g"}
    for piece in said:
        yield {"is_finished": False, "event_type": "text-generation", "text": piece}
    yield {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": whole}


def _whole(body: Any) -> Answer:
    content = json.dumps(body).encode()
    return Answer(200, (("content-type", "application/json"),), [content], length=len(content))


def _events(events: Iterator[tuple[str, Any]]) -> Answer:
    frames = [f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode() for name, data in events]
    return Answer(200, (("content-type", "text/event-stream"),), [*frames, b"data: [DONE]\n\n"])


def _lines(events: Iterator[dict[str, Any]]) -> Answer:
    frames = [json.dumps(event).encode() + b"\n" for event in events]
    return Answer(200, (("content-type", "application/stream+json"),), frames)
