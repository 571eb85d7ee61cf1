"""A small corpus of the project's own making: the shapes that recorded traffic has little or nothing of."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.replay.records import Record

_URLS = {
    "chat/completions": "https://api.openai.com/v1/chat/completions",
    "completions": "https://api.openai.com/v1/completions",
    "embeddings": "https://api.openai.com/v1/embeddings",
    "responses": "https://api.openai.com/v1/responses",
}
_AZURE = "https://res.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-06-01"
_ASK = {"model": "m", "messages": [{"role": "user", "content": "Say it."}]}


def corpus() -> list[Record]:
    """Every record."""
    return [*_replies(), *_streams()]


def _record(name: str, operation: str, content: bytes, **fields: Any) -> Record:
    stream = fields.pop("stream", False)
    kind = "text/event-stream" if stream else "application/json"
    given = {
        "source": f"corpus: {name}",
        "provider": "openai",
        "operation": operation,
        "stream": stream,
        "url": _URLS[operation],
        "body": {**_ASK} if operation == "chat/completions" else {"model": "m"},
        "status": 200,
        "headers": (("content-type", kind),),
        "content": content,
    }
    return Record(**{**given, **fields})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _choice(index: int = 0, **message: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": "stop"}


def _chat(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": list(choices), **fields}


def _replies() -> list[Record]:
    chat = "chat/completions"
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}}
    plain = _json(_chat(_choice(content="It.")))
    zipped = {"headers": (("content-type", "application/json"), ("content-encoding", "gzip")), "gzipped": True}
    logprobs = {
        "content": [{"token": "It", "logprob": -0.1, "bytes": [73, 116], "top_logprobs": []}],
        "refusal": None,
    }
    return [
        _record("several choices", chat, _json(_chat(_choice(content="One."), _choice(1, content="Two.")))),
        _record("a tool call", chat, _json(_chat(_choice(content=None, tool_calls=[call])))),
        _record("a refusal", chat, _json(_chat(_choice(content=None, refusal="No.")))),
        _record("log probabilities", chat, _json(_chat({**_choice(content="It"), "logprobs": logprobs}))),
        _record("unknown fields", chat, _json(_chat(_choice(content="It.", x_new={"deep": [1]}), x_vendor="kept"))),
        _record("pretty-printed", chat, json.dumps(_chat(_choice(content="It.")), indent=2).encode() + b"\n"),
        _record("escaped and not", chat, b'{"choices":[{"message":{"content":"\\u00e9\xc3\xa9\\ud83d\\ude00"}}]}'),
        _record("a lone surrogate", chat, b'{"choices":[{"index":0,"message":{"content":"\\ud83d"}}]}'),
        _record("gzip", chat, gzip.compress(plain, mtime=0), **zipped),
        _record("no content type", chat, plain, headers=()),
        _record("no choices", chat, _json(_chat())),
        _record("an empty body", chat, b""),
        _record("azure", chat, plain, provider="azure-openai", url=_AZURE),
        _record("rate limited", chat, _json({"error": {"message": "slow down", "code": "r"}}), status=429),
        _record("overloaded", chat, b"<html>busy</html>", status=503, headers=(("content-type", "text/html"),)),
        _record("bad gateway", chat, b"", status=502),
        _record("completion", "completions", _json({"object": "text_completion", "choices": [{"text": "It."}]})),
        _record("embedding", "embeddings", _json({"object": "list", "data": [{"embedding": [0.5], "index": 0}]})),
        _record(
            "response", "responses", _json({"id": "r", "object": "response", "output": [], "status": "completed"})
        ),
    ]


def _streams() -> list[Record]:
    chat = "chat/completions"
    ask = {**_ASK, "stream": True}

    def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return _json(
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        )

    def said(*data: bytes, end: bytes = b"\n", done: bool = True) -> bytes:
        lines = [b"data: " + item + end + end for item in data]
        return b"".join([*lines, b"data: [DONE]" + end + end] if done else lines)

    pieces = [chunk(role="assistant", content=""), chunk(content="It "), chunk(content="is."), chunk(finish="stop")]
    opened = chunk(tool_calls=[{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}])
    halves = [chunk(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in ('{"a":', '"b"}')]
    two = [chunk(0, content="One"), chunk(1, content="Two"), chunk(0, finish="stop"), chunk(1, finish="stop")]
    streams = {
        "a stream": said(*pieces),
        "CR LF": said(*pieces, end=b"\r\n"),
        "CR": said(*pieces, end=b"\r"),
        "comments and keep-alives": b": hello\n\n"
        + said(pieces[0]).replace(b"data: [DONE]\n\n", b": ping\n\n")
        + said(*pieces[1:]),
        "no end marker": said(*pieces, done=False),
        "no last empty line": said(*pieces).rstrip(b"\n"),
        "data without a space": said(*pieces).replace(b"data: ", b"data:"),
        "ids and retries": b"retry: 10\nid: 1\n" + said(*pieces),
        "two choices": said(*two),
        "tool call in pieces": said(opened, *halves, chunk(finish="tool_calls")),
        "usage after the end": said(*pieces, _json({"id": "c", "choices": [], "usage": {"prompt_tokens": 1}})),
        "an error inside": said(
            pieces[1], _json({"error": {"message": "broke", "type": "server_error"}}), done=False
        ),
        "emoji cut anywhere": said(
            chunk(content="\U0001f468\u200d\U0001f469\u200d\U0001f467"), chunk(content="\u00e9")
        ),
    }
    return [_record(name, chat, content, stream=True, body=ask) for name, content in streams.items()]
