"""The ways of calling the Anthropic SDK, once each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic

from tests.instrumentation.kits import PIECES, PROMPT, Case, Kit
from tests.servers import Answer, Respond, Seen

__all__ = ["ASK", "CASES", "KIT", "event", "make", "message", "speaking", "spoken", "stream_of"]

MESSAGES: Any = [{"role": "user", "content": PROMPT}]
ASK: dict[str, Any] = {"model": "claude", "max_tokens": 10, "messages": MESSAGES}
TOOLS: Any = [{"name": "find", "description": "Finds it.", "input_schema": {"type": "object", "properties": {}}}]


def make(kind: str, url: str, **options: Any) -> Any:
    """A client of a kind."""
    cls = anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic
    return cls(**{"api_key": "sk-provider", "base_url": url, "max_retries": 0, **options})


def spoken(reply: Any) -> str:
    """All that a message says, and what it passes to tools."""
    return "".join(block.text if block.type == "text" else str(block.input) for block in reply.content)


def _deltas(events: list[Any]) -> str:
    found = [event.delta for event in events if event.type == "content_block_delta"]
    return "".join(getattr(delta, "text", "") or getattr(delta, "partial_json", "") for delta in found)


def _either(blocking: Callable[[Any], Any], awaited: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A way of calling that takes more than one expression, and so is written for each kind of client."""
    return lambda c: (awaited if isinstance(c, anthropic.AsyncAnthropic) else blocking)(c)


def _text_stream(c: Any) -> str:
    with c.messages.stream(**ASK) as stream:
        return "".join(stream.text_stream)


async def _atext_stream(c: Any) -> str:
    async with c.messages.stream(**ASK) as stream:
        return "".join([text async for text in stream.text_stream])


def _final(c: Any) -> Any:
    with c.messages.stream(**ASK, tools=TOOLS) as stream:
        return stream.get_final_message()


async def _afinal(c: Any) -> Any:
    async with c.messages.stream(**ASK, tools=TOOLS) as stream:
        return await stream.get_final_message()


def _streaming(c: Any) -> Any:
    with c.messages.with_streaming_response.create(**ASK) as response:
        return response.parse()


async def _astreaming(c: Any) -> Any:
    async with c.messages.with_streaming_response.create(**ASK) as response:
        return await response.parse()


def _streaming_stream(c: Any) -> list[Any]:
    with c.messages.with_streaming_response.create(**ASK, stream=True) as response:
        return list(response.parse())


async def _astreaming_stream(c: Any) -> list[Any]:
    async with c.messages.with_streaming_response.create(**ASK, stream=True) as response:
        return [event async for event in await response.parse()]


CASES: dict[str, Case] = {
    "messages": Case(lambda c: c.messages.create(**ASK), spoken),
    "messages stream": Case(lambda c: c.messages.create(**ASK, stream=True), _deltas),
    "messages stream helper": Case(lambda c: c.messages.stream(**ASK), _deltas),
    "messages text_stream": Case(_either(_text_stream, _atext_stream), str),
    "messages get_final_message": Case(_either(_final, _afinal), spoken),
    "messages raw": Case(lambda c: c.messages.with_raw_response.create(**ASK), lambda raw: raw.http_response.text),
    "messages raw parse": Case(
        lambda c: c.messages.with_raw_response.create(**ASK), lambda raw: spoken(raw.parse()), kinds=("sync",)
    ),
    "messages streaming response": Case(_either(_streaming, _astreaming), spoken),
    "messages streaming response stream": Case(_either(_streaming_stream, _astreaming_stream), _deltas),
    "messages tools": Case(lambda c: c.messages.create(**ASK, tools=TOOLS), spoken),
    "messages tools stream": Case(lambda c: c.messages.create(**ASK, tools=TOOLS, stream=True), _deltas),
    "messages extra_body": Case(
        lambda c: c.messages.create(**{**ASK, "messages": []}, extra_body={"messages": MESSAGES}), spoken
    ),
    "messages parse": Case(lambda c: c.messages.parse(**ASK), spoken, "messages.parse"),
    "messages post": Case(
        lambda c: c.post("/v1/messages", cast_to=object, body=ASK), lambda body: body["content"][0]["text"]
    ),
    "beta messages": Case(lambda c: c.beta.messages.create(**ASK), spoken, "beta.messages"),
    "beta messages stream": Case(lambda c: c.beta.messages.create(**ASK, stream=True), _deltas, "beta.messages"),
    "beta messages stream helper": Case(lambda c: c.beta.messages.stream(**ASK), _deltas, "beta.messages.stream"),
    "beta tool_runner": Case(
        lambda c: c.beta.messages.tool_runner(**ASK, tools=[]).until_done(), spoken, "beta.messages.tool_runner"
    ),
    "completions": Case(
        lambda c: c.completions.create(model="claude", max_tokens_to_sample=10, prompt=PROMPT),
        lambda reply: reply.completion,
        "completions",
    ),
    "completions stream": Case(
        lambda c: c.completions.create(model="claude", max_tokens_to_sample=10, prompt=PROMPT, stream=True),
        lambda events: "".join(event.completion for event in events),
        "completions",
    ),
    "count_tokens": Case(
        lambda c: c.messages.count_tokens(model="claude", messages=MESSAGES), None, "messages.count_tokens"
    ),
    "batches create": Case(
        lambda c: c.messages.batches.create(requests=[{"custom_id": "one", "params": ASK}]),
        None,
        "messages.batches",
    ),
    "batches list": Case(lambda c: c.messages.batches.list(), None, "messages.batches"),
    "models list": Case(lambda c: c.models.list(), None, "models"),
}


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A message as the API answers it."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 3},
        **fields,
    }


def event(kind: str, **fields: Any) -> bytes:
    """One event of a stream."""
    return f"event: {kind}\ndata: {json.dumps({**fields, 'type': kind})}\n\n".encode()


def stream_of(pieces: list[str], *calls: tuple[str, list[str]]) -> list[bytes]:
    """A stream that says these pieces, then calls tools with these pieces of arguments."""
    empty = message(stop_reason=None)
    events = [event("message_start", message=empty), event("ping")]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]),
    ]
    for number, (name, parts) in enumerate(calls):
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
        blocks.append((block, [{"type": "input_json_delta", "partial_json": part} for part in parts]))
    for index, (block, deltas) in enumerate(blocks):
        events.append(event("content_block_start", index=index, content_block=block))
        events += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(event("content_block_stop", index=index))
    reason = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    return [*events, event("message_delta", delta=reason, usage={"output_tokens": 7}), event("message_stop")]


def speaking(streamed: list[str] | None = None) -> Respond:
    """A server that has something to hide in every format, and an answer for every other path."""
    pieces = streamed or PIECES
    batch = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"}
    listing = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    others: dict[str, Any] = {
        "/count_tokens": {"input_tokens": 5},
        "/batches": batch,
        "/models": listing,
    }

    def respond(seen: Seen) -> Answer:
        path = seen.path.partition("?")[0]
        if seen.method == "GET":
            return _json(listing)
        body = seen.json
        for suffix, answer in others.items():
            if path.endswith(suffix):
                return _json(answer)
        if path.endswith("/complete"):
            return _completion(pieces, stream=bool(body.get("stream")))
        calls = [("find", ['{"q": "the SEC', 'RET"}'])] if body.get("tools") else []
        if body.get("stream"):
            return Answer(200, (("content-type", "text/event-stream"),), stream_of(pieces, *calls))
        used = [
            {"type": "tool_use", "id": "toolu_0", "name": name, "input": json.loads("".join(parts))}
            for name, parts in calls
        ]
        return _json(message({"type": "text", "text": "".join(pieces)}, *used))

    return respond


def _json(body: Any) -> Answer:
    content = json.dumps(body).encode()
    return Answer(200, (("content-type", "application/json"),), [content], length=len(content))


def _completion(pieces: list[str], *, stream: bool) -> Answer:
    def said(piece: str, reason: str | None) -> dict[str, Any]:
        return {"id": "compl_1", "type": "completion", "completion": piece, "stop_reason": reason, "model": "m"}

    def chunks() -> Iterator[bytes]:
        for piece in pieces:
            yield event("completion", **said(piece, None))
        yield event("completion", **said("", "stop_sequence"))

    if not stream:
        return _json(said("".join(pieces), "stop_sequence"))
    return Answer(200, (("content-type", "text/event-stream"),), chunks())


KIT = Kit(sdk="anthropic", make=make, cases=CASES, speaking=speaking, retrying={"max_retries": 2})
