"""Replies, whole and streamed, with fields of no known meaning about them; ways of cutting them into chunks."""

from __future__ import annotations

import json
from typing import Any

from tests.exchanges import (
    cuts,
    decoded,
    sse,
)

JSON, EVENTS = "application/json", "text/event-stream"
DONE = b"data: [DONE]\n\n"


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chat chunk, with fields of no known meaning about it."""
    if content is not None:
        delta["content"] = content
    choice = {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish,
        "x_choice": [1, {"a": None}],
    }
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "x_own": {"é": 1.5}}


def spoken(*pieces: str, index: int = 0) -> list[dict[str, Any]]:
    return [chunk(piece, index=index) for piece in pieces]


def stream(*data: Any, done: bool = True) -> list[bytes]:
    """A chat stream: the role first, the end last."""
    return [*sse(chunk(role="assistant", content=""), *data), *([DONE] if done else [])]


def reply(*contents: str | None, **message: Any) -> bytes:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}
        for index, content in enumerate(contents)
    ]
    return json.dumps(
        {"id": "c-1", "object": "chat.completion", "choices": choices, "x_own": {"é": 1.5}}, indent=1
    ).encode()


def without_text(content: bytes) -> list[Any]:
    """A chat stream's data with its texts blanked: what an edit must not touch."""
    out = decoded(content)
    for data in out:
        for choice in data["choices"]:
            if "content" in choice["delta"]:
                choice["delta"]["content"] = "·"
    return out


CHUNKINGS: dict[str, Any] = {
    "whole": lambda content: [content],
    "by event": lambda content: [event + b"\n\n" for event in content.split(b"\n\n")[:-1]],
    "by byte": lambda content: cuts(content, [1]),
    "at random": lambda content: cuts(content, [3, 50, 1, 7, 400, 2]),
    "with empty chunks": lambda content: [b"", content[:30], b"", b"", content[30:], b""],
}


def called(*pieces: str, name: str = "pay", number: int = 0, index: int = 0) -> list[dict[str, Any]]:
    """A tool call in pieces: its name first."""
    first = {
        "index": number,
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
    rest = [{"index": number, "function": {"arguments": piece}} for piece in pieces]
    return [chunk(index=index, tool_calls=[part]) for part in (first, *rest)]


def event(kind: str, **fields: Any) -> bytes:
    data = {"type": f"response.{kind}", "sequence_number": 1, **fields}
    return f"event: response.{kind}\ndata: {json.dumps(data)}\n\n".encode()


def message(*pieces: str, place: int = 0) -> tuple[list[bytes], dict[str, Any]]:
    """A message as it is streamed, and as it stands in the final response."""
    where = {"item_id": "msg_1", "output_index": place, "content_index": 0}
    whole = "".join(pieces)
    part = {"type": "output_text", "text": whole, "annotations": [], "logprobs": [{"token": whole}]}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    started = {**item, "status": "in_progress", "content": []}
    events = [
        event("output_item.added", output_index=place, item=started),
        event("content_part.added", **where, part={**part, "text": "", "logprobs": []}),
        *(event("output_text.delta", **where, delta=piece, logprobs=[{"token": piece}]) for piece in pieces),
        event("output_text.done", **where, text=whole, logprobs=[{"token": whole}]),
        event("content_part.done", **where, part=part),
        event("output_item.done", output_index=place, item=item),
    ]
    return events, item


def tool_call(
    name: str, arguments: str, *, place: int = 0, deltas: bool = True
) -> tuple[list[bytes], dict[str, Any]]:
    where = {"item_id": f"fc_{place}", "output_index": place}
    item = {"id": f"fc_{place}", "type": "function_call", "call_id": "c", "name": name, "arguments": arguments}
    halves = (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :])
    events = [
        event("output_item.added", output_index=place, item={**item, "arguments": ""}),
        *(event("function_call_arguments.delta", **where, delta=half) for half in halves if deltas),
        *([event("function_call_arguments.done", **where, arguments=arguments)] if deltas else []),
        event("output_item.done", output_index=place, item=item),
    ]
    return events, item


def whole(*items: dict[str, Any]) -> bytes:
    return event("completed", response={"id": "resp_1", "status": "completed", "output": list(items)})
