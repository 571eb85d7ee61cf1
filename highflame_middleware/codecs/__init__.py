"""The API formats, and which of them a call or a body is in.

A codec is loaded when a call in its format is first seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, cast

from .framing import Framing
from .parts import Codec

__all__ = ["CODECS", "codec_for_path", "codec_for_reply", "codec_for_shape", "framing_for", "load_codec"]

CODECS = ("openai-chat", "openai-responses", "openai-completions", "openai-embeddings", "any-json")

# The end of the path of an OpenAI-shaped API, behind whatever prefix a provider or gateway puts before it.
_PATHS: tuple[tuple[str, str], ...] = (
    (r"/chat/completions(/[^/]+(/messages)?)?$", "openai-chat"),
    (r"/responses(/[^/]+(/(cancel|input_items))?)?$", "openai-responses"),
    (r"/completions$", "openai-completions"),
    (r"/embeddings$", "openai-embeddings"),
)

# The module of each content type that is a stream of events.
_FRAMINGS: Mapping[str, str] = {
    "text/event-stream": "sse",
    "application/x-ndjson": "lines",
    "application/stream+json": "lines",
}
_OBJECTS: Mapping[str, str] = {
    "chat.completion": "openai-chat",
    "chat.completion.chunk": "openai-chat",
    "response": "openai-responses",
    "response.compaction": "openai-responses",
    "text_completion": "openai-completions",
}


@cache
def load_codec(name: str) -> Codec:
    """The codec of a format.

    >>> load_codec("openai-chat").operation
    'chat'
    """
    return cast("Codec", import_module(f".{name.replace('-', '_')}", __name__).CODEC)


@cache
def framing_for(content_type: str) -> Framing | None:
    """How a stream of this content type is framed, or nothing where it is none.

    >>> framing_for("application/json") is None
    True
    """
    module = _FRAMINGS.get(content_type)
    return cast("Framing", import_module(f".{module}", __name__).FRAMING) if module is not None else None


@cache
def _paths() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), name) for pattern, name in _PATHS)


def codec_for_path(path: str) -> Codec | None:
    """The format of an API by the path it is called at, or nothing.

    >>> codec_for_path("/openai/deployments/gpt/chat/completions").name
    'openai-chat'
    """
    path = path.partition("?")[0].rstrip("/")
    return next((load_codec(name) for pattern, name in _paths() if pattern.search(path)), None)


def codec_for_shape(body: Any) -> Codec | None:
    """The format of a call by its body alone, for applications that take it under a path of their own."""
    if not isinstance(body, dict):
        return None
    messages = body.get("messages")
    if isinstance(messages, list) and any(isinstance(item, dict) and "role" in item for item in messages):
        return load_codec("openai-chat")
    if "input" in body and "model" in body:
        return load_codec("openai-responses")
    if isinstance(body.get("prompt"), str | list):
        return load_codec("openai-completions")
    return None


def codec_for_reply(body: Any) -> Codec | None:
    """The format of a reply, or of one stream event, by what it says it is."""
    if not isinstance(body, dict):
        return None
    kind = body.get("object")
    if isinstance(kind, str) and kind in _OBJECTS:
        return load_codec(_OBJECTS[kind])
    if isinstance(kind := body.get("type"), str) and kind.startswith("response."):
        return load_codec("openai-responses")
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        return load_codec("openai-completions" if isinstance(first.get("text"), str) else "openai-chat")
    return None
