"""anthropic-messages: ``POST /v1/messages``, its counting of tokens, its batches; the same at Vertex AI.

Thinking is signed, and Anthropic's API takes a conversation's last thinking back
only as it was written. It is read and redacted all the same, in both
directions, its signature left as it is: what the guard has changed is then
refused by the API, and never silently let through. Redacted thinking is
encrypted and passes untouched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ..types import Stage
from .anthropic import Reader, fail, read_blocks, read_summary
from .openai import integer, mapping, number, read_definitions, read_unknown, sequence, stop_sequences, string
from .parts import CallRead, Codec, Params, Path, PathRead, ReplyRead, Text

__all__ = ["CODEC"]

_MODEL = re.compile(
    r"/publishers/anthropic/models/(?P<model>[^/:?]+?)(:|%3[Aa])(?P<verb>rawPredict|streamRawPredict)\b"
)
# Of a call: what no model reads, and what is read in a way of its own.
_SETTINGS = frozenset(
    {
        "anthropic_beta",
        "anthropic_version",
        "betas",
        "cache_control",
        "container",
        "diagnostics",
        "fallback_credit_token",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "thinking",
        "thread",
        "tool_choice",
        "tools",
        "user_profile_id",
    }
)
_ROLES = {"system": "system"}


def read_call(body: Any) -> CallRead:
    """The system prompt, every message, every tool's definition; of a batch, those of each of its requests."""
    read = mapping(body)
    texts: list[Text] = []
    if "messages" in read:
        texts.extend(_call(read, ()))
    elif isinstance(read.get("requests"), list | tuple):
        for index, request in enumerate(sequence(read.get("requests"))):
            texts.extend(_call(mapping(mapping(request).get("params")), ("requests", index, "params")))
    else:
        # Another application's call under the same path.
        texts.extend(text._replace(stage=Stage.PROMPT, role="user") for text in read_unknown(body))
    return CallRead(string(read.get("model")), read.get("stream") is True, tuple(texts))


def _call(body: Any, path: Path) -> Iterator[Text]:
    tools: dict[str, str] = {}
    for key, value in body.items():
        if key == "messages":
            yield from _messages(value, (*path, key), tools)
        elif key not in _SETTINGS:
            yield from read_blocks(value, (*path, key), Stage.PROMPT, _ROLES.get(key, "user"), tools)
    for key in ("output_config", "output_format"):
        yield from read_definitions(body.get(key), (*path, key))
    for index, tool in enumerate(sequence(body.get("tools"))):
        place = (*path, "tools", index)
        yield from read_definitions(tool, place)
        examples = mapping(tool).get("input_examples")
        yield from read_blocks(examples, (*place, "input_examples"), Stage.PROMPT, "tool_definition")


def _messages(value: Any, path: Path, tools: dict[str, str]) -> Iterator[Text]:
    if not isinstance(value, list | tuple):
        yield from read_blocks(value, path, Stage.PROMPT, "user", tools)
        return
    for index, message in enumerate(value):
        role = string(mapping(message).get("role")) or "user"
        yield from read_blocks(message, (*path, index), Stage.PROMPT, role, tools)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    asked = mapping(body.get("output_config")).get("format") or body.get("output_format")
    return Params(
        max_tokens=integer(body.get("max_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("top_p")),
        top_k=integer(body.get("top_k")),
        stop_sequences=stop_sequences(body.get("stop_sequences")),
        output_type="json" if mapping(asked).get("type") == "json_schema" else None,
    )


def read_reply(body: Any) -> ReplyRead:
    """Every block of a message, whole; also of a batch's results, one a line, and of what is no message at all."""
    read = mapping(body)
    if "type" in read or "content" in read or "data" in read or "result" in read:
        return ReplyRead(tuple(read_blocks(body, (), Stage.RESPONSE, "assistant")), read_summary(read))
    return ReplyRead(tuple(read_unknown(body)), read_summary(read))


def read_path(path: str) -> PathRead:
    """The model that a path of Vertex AI names, and whether the reply is a stream.

    >>> read_path("/v1/projects/p/locations/l/publishers/anthropic/models/claude-4%40latest:streamRawPredict")
    PathRead(model='claude-4@latest', stream=True)
    """
    found = _MODEL.search(path)
    if found is None or found["model"] == "count-tokens":
        return PathRead()
    return PathRead(unquote(found["model"]), found["verb"] == "streamRawPredict")


def refuse(message: str) -> dict[str, Any]:
    """A message without content, refused.

    A text would not do: ``parse()`` takes every text for the JSON that was asked for.
    """
    return {
        "id": "msg_highflame",
        "type": "message",
        "role": "assistant",
        "model": "",
        "content": [],
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": message},
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


CODEC = Codec(
    name="anthropic-messages",
    provider="anthropic",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    read_path=read_path,
    telling=re.compile(rb'"type": ?"(message_start|message_delta|message_stop|error)"'),
)
