"""The API formats, and which of them a call or a body is in.

A codec is loaded when a call in its format is first seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, cast

from .framing import Framing
from .parts import Codec

__all__ = [
    "CODECS",
    "base_of_path",
    "codec_for_body",
    "codec_for_path",
    "codec_for_reply",
    "codec_for_shape",
    "framing_for",
    "load_codec",
]

CODECS = (
    "openai-chat",
    "openai-responses",
    "openai-completions",
    "openai-embeddings",
    "openai-audio",
    "openai-images",
    "openai-moderations",
    "openai-realtime",
    "openai-resources",
    "openai-threads",
    "anthropic-messages",
    "anthropic-complete",
    "gemini",
    "gemini-embeddings",
    "gemini-interactions",
    "gemini-live",
    "cohere-chat",
    "cohere-chat-v1",
    "cohere-generate",
    "cohere-embed",
    "rerank",
    "mistral-conversations",
    "ollama",
    "bedrock-converse",
    "bedrock-invoke",
    "bedrock-agents",
    "any-json",
)

# The end of the path of an OpenAI-shaped API, behind whatever prefix a provider or gateway puts before it.
_PATHS: tuple[tuple[str, str], ...] = (
    (r"/chat/completions(/[^/]+(/messages)?)?$", "openai-chat"),
    (r"/responses(/[^/]+(/(cancel|input_items))?)?$", "openai-responses"),
    # Mistral's: calls like the older API's, replies like the newer one's.
    (r"/(fim|agents)/completions$", "openai-chat"),
    (r"/completions$", "openai-completions"),
    (r"/embeddings$", "openai-embeddings"),
    (r"(?<=/v1)/messages(/(count_tokens|batches(/[^/]+(/(cancel|results))?)?))?$", "anthropic-messages"),
    (r"(/model|(?<=/anthropic))/messages(/count_tokens)?$", "anthropic-messages"),
    (r"/publishers/anthropic/models/[^/:]+(:|%3[Aa])(rawPredict|streamRawPredict)$", "anthropic-messages"),
    (r"/model/complete$", "anthropic-complete"),
    (
        r"(:|%3[Aa])(generateContent|streamGenerateContent|batchGenerateContent|countTokens|computeTokens)$",
        "gemini",
    ),
    (r"(:|%3[Aa])(embedContent|batchEmbedContents|asyncBatchEmbedContent)$", "gemini-embeddings"),
    (r"/models/[^/:]*(embedding|gecko)[^/:]*(:|%3[Aa])predict$", "gemini-embeddings"),
    (r"/models/[^/:]+(:|%3[Aa])predict(LongRunning)?$", "gemini"),
    (r"/cachedContents(/[^/:]+)?$", "gemini"),
    (r"/v1(alpha|beta)\d*/batches/[^/:]+$", "gemini"),
    (r"/v1(alpha|beta)?\d*/interactions(/[^/:]+(/cancel)?)?$", "gemini-interactions"),
    (r"/model/[^/]+/(converse(-stream)?|count-tokens)$", "bedrock-converse"),
    (r"/model/[^/]+/invoke(-with-response-stream)?$", "bedrock-invoke"),
    (r"/guardrail/[^/]+/version/[^/]+/apply$", "bedrock-agents"),
)

# Paths of one maker's API that many an application has too: they say something only where a provider is called.
_COMMON_PATHS: tuple[tuple[str, str], ...] = (
    (r"^/messages$", "anthropic-messages"),
    (r"(?<=/v1)/complete$", "anthropic-complete"),
    (r"/v2/chat$", "cohere-chat"),
    (r"/v1/chat$", "cohere-chat-v1"),
    (r"/api/(chat|generate|embed)$", "ollama"),
    (r"/v1/(generate|summarize|classify)$", "cohere-generate"),
    (r"/v[12]/embed$", "cohere-embed"),
    (r"/v[12]/rerank$", "rerank"),
)

# What the SDKs of some providers call besides. Only an SDK's word makes these an API's: the next provider, and many
# an application, has images, conversations or agents of another shape.
_LIKE_OPENAI = frozenset({"openai", "groq", "together"})
_OPENAI = frozenset({"openai"})
_GEMINI = frozenset({"gemini"})
_BEDROCK = frozenset({"bedrock"})
_MISTRAL = frozenset({"mistral"})
_RERANKING = frozenset({"cohere", "together", "voyage"})
_SPOKEN_PATHS: tuple[tuple[str, str, frozenset[str]], ...] = (
    (r"/images/(generations|edits|variations)$", "openai-images", _LIKE_OPENAI),
    (r"/audio/(speech|transcriptions|translations)$", "openai-audio", _LIKE_OPENAI),
    (r"/moderations$", "openai-moderations", _OPENAI),
    (r"/conversations(/[^/]+(/items(/[^/]+)?)?)?$", "openai-responses", _OPENAI),
    (r"/conversations(/[^/]+(/(restart|history|messages))?)?$", "mistral-conversations", _MISTRAL),
    (r"/(assistants|threads)(/.*)?$", "openai-threads", _OPENAI),
    (r"/(realtime|live)(/.*)?$", "openai-realtime", _OPENAI),
    (r"/(agents|chatkit|decisions|evals|videos|fine_tuning/alpha)(/.*)?$", "openai-resources", _OPENAI),
    (r"/vector_stores/[^/]+/(search|files/[^/]+/content)$", "openai-resources", _OPENAI),
    (r"/ws/google\.[a-z0-9.]+[./](GenerativeService|LlmBidiService)[./]Bidi[A-Za-z]+$", "gemini-live", _GEMINI),
    (r"/rerank$", "rerank", _RERANKING),
    (r"^/(agents|flows|knowledgebases|sessions|async-invoke|guardrail-checks)(/.*)?$", "bedrock-agents", _BEDROCK),
    (r"^/(retrieveAndGenerate(Stream)?|generateQuery|optimize-prompt)$", "bedrock-agents", _BEDROCK),
    (r"^/(agenticRetrieveStream|rerank)$", "bedrock-agents", _BEDROCK),
)

# The module of each content type that is a stream of events.
_FRAMINGS: Mapping[str, str] = {
    "text/event-stream": "sse",
    "application/x-ndjson": "lines",
    "application/stream+json": "lines",
    "application/x-jsonl": "lines",
    "application/jsonl": "lines",
    "application/jsonlines": "lines",
    "application/ndjson": "lines",
    "application/json-seq": "json_seq",
    "application/vnd.amazon.eventstream": "aws_events",
}
_OBJECTS: Mapping[str, str] = {
    "chat.completion": "openai-chat",
    "chat.completion.chunk": "openai-chat",
    "response": "openai-responses",
    "response.compaction": "openai-responses",
    "text_completion": "openai-completions",
}
_ANTHROPIC_KEYS = frozenset({"system", "anthropic_version"})
_ANTHROPIC_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)


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
def _paths(spoken: str | None) -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = [(pattern, name) for pattern, name, speakers in _SPOKEN_PATHS if spoken in speakers]
    rows = [*_PATHS, *rows, *(_COMMON_PATHS if spoken is not None else ())]
    return tuple((re.compile(pattern, re.IGNORECASE), name) for pattern, name in rows)


def codec_for_path(path: str, *, spoken: str | None = None) -> Codec | None:
    """The format of an API by the path it is called at, or nothing.

    ``spoken`` is the provider whose format is known to be meant, as an SDK's is;
    empty where a provider is, whoever's: then paths count that applications have too.

    >>> codec_for_path("/openai/deployments/gpt/chat/completions").name
    'openai-chat'
    >>> codec_for_path("/v1/threads") is None, codec_for_path("/v1/threads", spoken="openai").name
    (True, 'openai-threads')
    >>> codec_for_path("/v1/chat") is None, codec_for_path("/v1/chat", spoken="").name
    (True, 'cohere-chat-v1')
    """
    path = path.partition("?")[0].rstrip("/")
    return next((load_codec(name) for pattern, name in _paths(spoken) if pattern.search(path)), None)


def base_of_path(path: str, *, spoken: str | None = None) -> str:
    """What stands before the path of an OpenAI-shaped API, as in its base URL; nothing in paths of other APIs.

    >>> base_of_path("/openai/v1/chat/completions?a=b"), base_of_path("/v2/chat", spoken="cohere")
    ('/openai/v1', '')
    """
    path = path.partition("?")[0].rstrip("/")
    matches = ((pattern.search(path), name) for pattern, name in _paths(spoken))
    match, name = next(((match, name) for match, name in matches if match is not None), (None, ""))
    return path[: match.start()] if match is not None and name.startswith("openai-") else ""


def codec_for_body(codec: Codec, path: str, body: Any) -> Codec:
    """The format of a call whose path says only which ones it may be in: Bedrock takes its makers' own bodies.

    >>> path = "/model/anthropic.claude-3/invoke"
    >>> codec_for_body(codec_for_path(path), path, {"prompt": "Human: Hi!"}).name
    'bedrock-invoke'
    """
    if codec.name != "bedrock-invoke":
        return codec
    from .bedrock_invoke import format_of  # noqa: PLC0415 - codecs are loaded when they are used

    name = format_of(path, body)
    return codec if name == codec.name else replace(load_codec(name), read_path=codec.read_path)


def codec_for_shape(body: Any) -> Codec | None:
    """The format of a call by its body alone, for applications that take it under a path of their own."""
    if not isinstance(body, dict):
        return None
    messages = body.get("messages")
    if isinstance(messages, list) and any(isinstance(item, dict) and "role" in item for item in messages):
        # Only Anthropic has the system prompt beside the messages.
        return load_codec("openai-chat" if _ANTHROPIC_KEYS.isdisjoint(body) else "anthropic-messages")
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
    if isinstance(kind, str) and (kind in _ANTHROPIC_EVENTS or (kind == "message" and _is_blocks(body))):
        return load_codec("anthropic-messages")
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        return load_codec("openai-completions" if isinstance(first.get("text"), str) else "openai-chat")
    return None


def _is_blocks(message: dict[str, Any]) -> bool:
    """Whether this is one of Anthropic's messages."""
    return message.get("role") == "assistant" and isinstance(message.get("content"), list)
