"""A provider that answers every format with the same words, whole or streamed."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterable
from typing import Any

from tests.servers import Answer, Seen

__all__ = ["PROMPT", "SPOKEN", "answer"]

PROMPT = "Tell me the SECRET."
SPOKEN = "The SECRET is out."
PIECES = ("The SEC", "RET is", " out.")

_CHAT_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_USAGE = {"input_tokens": 1, "output_tokens": 1}


def answer(seen: Seen) -> Answer:
    """The answer to a call in whichever format its path says."""
    path = seen.path.partition("?")[0]
    body = seen.json if seen.body else {}
    streamed = bool(body.get("stream")) or "stream" in path.rpartition("/")[2].lower()
    for ending, speak in _FORMATS.items():
        if path.endswith(ending) or ending in path.rpartition("/")[2]:
            return speak(streamed)
    return Answer(404, chunks=[b'{"error": {"message": "no such path"}}'])


def _json(body: Any) -> Answer:
    content = json.dumps(body).encode()
    return Answer(200, chunks=[content], length=len(content))


def _events(events: Iterable[tuple[str | None, Any]], *, done: bool = False) -> Answer:
    chunks = [
        (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"
        for name, data in events
    ]
    return Answer(200, (("content-type", "text/event-stream"),), [*chunks, b"data: [DONE]\n\n"] if done else chunks)


def _chat(streamed: bool) -> Answer:
    # litellm cannot do without the tier in what it takes for Groq.
    head = {"id": "c", "created": 1, "model": "m", "service_tier": "default"}
    if not streamed:
        message = {"role": "assistant", "content": SPOKEN}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return _json({**head, "object": "chat.completion", "choices": [choice], "usage": _CHAT_USAGE})

    def chunk(finish: str | None = None, **delta: Any) -> Any:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    pieces = [chunk(role="assistant", content=""), *(chunk(content=piece) for piece in PIECES), chunk("stop")]
    return _events(((None, item) for item in pieces), done=True)


def _responses(streamed: bool) -> Answer:
    part = {"type": "output_text", "text": SPOKEN, "annotations": []}
    item = {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    whole = {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {**_USAGE, **details, "total_tokens": 2},
    }
    if not streamed:
        return _json(whole)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"output_index": 0, "content_index": 0, "item_id": "i"}
    events = [
        ("response.created", {"response": begun}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**item, "content": [], "status": "in_progress"}},
        ),
        ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
        *(("response.output_text.delta", {**place, "delta": piece, "logprobs": []}) for piece in PIECES),
        ("response.output_text.done", {**place, "text": SPOKEN, "logprobs": []}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    ]
    numbered = enumerate(events)
    return _events((name, {"type": name, "sequence_number": number, **data}) for number, (name, data) in numbered)


def _anthropic(streamed: bool) -> Answer:
    head = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    if not streamed:
        return _json(
            {**head, "content": [{"type": "text", "text": SPOKEN}], "stop_reason": "end_turn", "usage": _USAGE}
        )
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}} for p in PIECES
    ]
    events = [
        {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": _USAGE}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return _events((item["type"], item) for item in events)


def _gemini(streamed: bool) -> Answer:
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}

    def said(text: str, finish: str | None = None) -> Any:
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
        if finish:
            candidate["finishReason"] = finish
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "g"}

    if not streamed:
        return _json(said(SPOKEN, "STOP"))
    return _events((None, said(piece, "STOP" if piece is PIECES[-1] else None)) for piece in PIECES)


def _converse(streamed: bool) -> Answer:
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    if not streamed:
        message = {"role": "assistant", "content": [{"text": SPOKEN}]}
        body = {
            "output": {"message": message},
            "stopReason": "end_turn",
            "usage": usage,
            "metrics": {"latencyMs": 1},
        }
        return _json(body)
    events = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in PIECES),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
    ]
    frames = [_frame(name, json.dumps(data).encode()) for name, data in events]
    return Answer(200, (("content-type", "application/vnd.amazon.eventstream"),), frames)


def _invoke(streamed: bool) -> Answer:
    """InvokeModel, with a body of Anthropic's."""
    whole = _anthropic(streamed)
    if not streamed:
        return whole
    frames = []
    for chunk in whole.chunks:
        data = chunk.partition(b"data: ")[2].strip()
        frames.append(_frame("chunk", json.dumps({"bytes": base64.b64encode(data).decode()}).encode()))
    return Answer(200, (("content-type", "application/vnd.amazon.eventstream"),), frames)


def _frame(name: str, payload: bytes) -> bytes:
    """One message of Amazon's event stream, written anew here: the library's own writer is not its judge."""
    given = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in given.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    whole = prelude + headers + payload
    return whole + struct.pack(">I", binascii.crc32(whole))


_FORMATS = {
    "/chat/completions": _chat,
    "/responses": _responses,
    "/messages": _anthropic,
    "enerateContent": _gemini,
    "/converse": _converse,
    "/converse-stream": _converse,
    "/invoke": _invoke,
    "/invoke-with-response-stream": _invoke,
}
