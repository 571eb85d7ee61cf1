"""bedrock-invoke: Bedrock's ``InvokeModel`` for bodies that are each maker's own, and no chat of another format.

Titan, Llama, Mistral's and DeepSeek's prompts, Cohere, AI21, Claude's old
prompts, Stability, embeddings: all take some prose and settings and give some
prose back. So what is not known to be a setting is read; in a stream, what
stands at one place in successive events is one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ..types import Stage
from .bedrock import PADDING, fail, read_path, read_trace, structured_text
from .openai import integer, mapping, number, read_definitions, sequence, stop_sequences, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC", "format_of"]

# Keys whose strings are ids, enumerations or encoded blobs, never prose.
_OPAQUE = frozenset(
    {
        "anthropic_version",
        "completionReason",
        "embeddingPurpose",
        "embedding_types",
        "event_type",
        "finishReason",
        "finish_reason",
        "generation_id",
        "id",
        "input_type",
        "model",
        "object",
        "response_id",
        "role",
        "schemaVersion",
        "signature",
        "stop_reason",
        "stop_sequences",
        "stopSequences",
        "system_fingerprint",
        "taskType",
        "truncate",
        "truncationMode",
        "type",
        PADDING,
    }
)
# Keys whose strings, and whose lists of strings, are images or vectors; below them there may be prose.
_BLOBS = frozenset({"base64", "bytes", "image", "images", "init_image", "inputImage", "mask_image", "maskImage"})
_DEFINITIONS = frozenset({"tools", "functions", "toolConfig"})
_CALLS = "tool_calls"
_RESULTS = "tool_results"
_CONFIGS = ("", "textGenerationConfig", "inferenceConfig")
_METRICS = "amazon-bedrock-invocationMetrics"
_TRACE = "amazon-bedrock-trace"
_BESIDE = frozenset({_TRACE, "amazon-bedrock-guardrailAction"})
_MESSAGES_API = re.compile(r"bedrock-\d")


def format_of(path: str, body: Any) -> str:
    """The name of the format that an ``InvokeModel`` body is in.

    The maker in the model's id has the last word on whether it may be
    another's format; ids of deployments and profiles do not tell.

    >>> format_of("/model/us.amazon.nova-lite-v1%3A0/invoke", {"messages": []})
    'bedrock-converse'
    """
    model = unquote(path).lower()
    body = mapping(body)
    if not isinstance(body.get("messages"), list | tuple):
        return "bedrock-invoke"
    if "amazon.nova" in model:
        return "bedrock-converse"
    if "anthropic." in model:
        return "anthropic-messages"
    if any(f"{maker}." in model for maker in _CHATS):
        return "openai-chat"
    if any(f"{maker}." in model for maker in _OTHERS):
        return "bedrock-invoke"
    if isinstance(version := body.get("anthropic_version"), str) and _MESSAGES_API.match(version):
        return "anthropic-messages"
    return "bedrock-converse" if _is_nova(body) else "openai-chat"


# Makers whose chat models take OpenAI's chats, and makers none of whose models takes what another's does.
_CHATS = ("openai", "qwen", "deepseek", "moonshot", "moonshotai", "minimax", "zai", "google", "nvidia", "ai21")
_OTHERS = ("amazon", "cohere", "stability", "twelvelabs", "luma")


def _is_nova(body: Mapping[str, Any]) -> bool:
    if "schemaVersion" in body or "inferenceConfig" in body:
        return True
    contents = [mapping(message).get("content") for message in sequence(body["messages"])]
    parts = [mapping(part) for content in contents for part in sequence(content)]
    return bool(parts) and not any("type" in part for part in parts)


def read_call(body: Any) -> CallRead:
    """Every text that is no setting."""
    if not isinstance(body, dict):
        return CallRead(None, stream=False, texts=tuple(_prose(body, (), Stage.PROMPT, "user")))
    texts: list[Text] = []
    for key, value in body.items():
        if key in _DEFINITIONS:
            texts.extend(read_definitions(value, (key,)))
        elif key == _RESULTS:
            texts.extend(_prose(value, (key,), Stage.TOOL_RESULT, "tool"))
        elif key not in _OPAQUE:
            role = "system" if key in ("system", "preamble") else "user"
            texts.extend(_prose(value, (key,), Stage.PROMPT, role))
    return CallRead(None, stream=False, texts=tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    configs = [mapping(body.get(name)) if name else body for name in _CONFIGS]

    def first(*names: str) -> Any:
        found = (config[name] for config in configs for name in names if name in config)
        return next(found, None)

    return Params(
        max_tokens=integer(
            first(
                "max_tokens", "maxTokenCount", "max_gen_len", "maxTokens", "max_tokens_to_sample", "max_new_tokens"
            )
        ),
        temperature=number(first("temperature")),
        top_p=number(first("top_p", "topP", "p")),
        top_k=integer(first("top_k", "topK", "k")),
        seed=integer(first("seed")),
        stop_sequences=stop_sequences(first("stop_sequences", "stopSequences", "stop")),
        dimensions=integer(first("dimensions", "output_dimension")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every text that is no id or enumeration."""
    texts = [*_prose(body, (), Stage.RESPONSE, "assistant"), *_traced(body)]
    return ReplyRead(tuple(texts), _summary(mapping(body)))


class Reader:
    """Takes what stands at the same place in successive events for the pieces of one text."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event; the last one of all has Bedrock's count of tokens in it."""
        said = mapping(data)
        texts = []
        for text in _prose(data, (), Stage.RESPONSE, "assistant"):
            # Cohere's last event says everything again.
            whole = text.path[:1] == ("response",) or text.structured
            texts.append(text if whole else text._replace(channel=(event or "", *text.path)))
        texts.extend(_traced(data))
        ended = _METRICS in said or said.get("is_finished") is True
        return EventRead(tuple(texts), summary=_summary(said), terminal=ended)


def _traced(body: Any) -> Iterator[Text]:
    """What a guardrail of Amazon's says beside the model's own reply."""
    return read_trace(mapping(body).get(_TRACE), (_TRACE,))


def refuse(message: str) -> dict[str, Any]:
    """A reply that says no in every maker's own place for it."""
    return {
        "completion": message,
        "generation": message,
        "text": message,
        "outputText": message,
        "results": [{"tokenCount": 0, "outputText": message, "completionReason": "CONTENT_FILTERED"}],
        "outputs": [{"text": message, "stop_reason": "stop"}],
        "choices": [{"text": message, "stop_reason": "stop"}],
        "generations": [{"text": message, "finish_reason": "COMPLETE"}],
        "completions": [{"data": {"text": message}, "finishReason": {"reason": "stop"}}],
        "stop_reason": "stop",
    }


def _prose(value: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    called: list[Path] = []
    if stage is Stage.RESPONSE:
        for place, call in _calls(value, path):
            called.append((*place, "parameters"))
            tool = string(call.get("name"))
            yield from structured_text(call["parameters"], called[-1], Stage.TOOL_CALL, "assistant", tool)
    for place, found in leaves(value, path, _OPAQUE):
        if not found or _is_blob(place) or any(place[: len(start)] == start for start in called):
            continue
        if stage is Stage.RESPONSE and not _BESIDE.isdisjoint(place[:1]):
            continue
        if _spells_out(value, place[len(path) :]):
            continue
        yield Text(place, found, stage, role, shadows=_spelt_out(value, path, place))


def _calls(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """The tools that a reply of Cohere's calls, itself or in the reply that its stream ends with."""
    said = mapping(value)
    for start, holder in ((path, said), ((*path, "response"), mapping(said.get("response")))):
        for index, call in enumerate(sequence(holder.get(_CALLS))):
            if isinstance(call, dict) and isinstance(call.get("parameters"), dict):
                yield (*start, _CALLS, index), call


def _is_blob(place: Path) -> bool:
    named = next((key for key in reversed(place) if isinstance(key, str)), "")
    return named in _BLOBS


def _spells_out(value: Any, place: Path) -> bool:
    """Whether a text is one of the tokens that AI21 spells another text out with."""
    return any(
        key == "tokens" and isinstance(_at(value, place[:index]).get("text"), str)
        for index, key in enumerate(place)
        if index < len(place) - 1 and isinstance(_at(value, place[:index]), dict)
    )


def _spelt_out(value: Any, path: Path, place: Path) -> tuple[Path, ...]:
    """Where a text is spelt out once more."""
    if place[-1:] != ("text",):
        return ()
    if len(place) <= len(path):
        return ()
    holder = _at(value, place[len(path) : -1])
    return ((*place[:-1], "tokens"),) if holder.get("tokens") else ()


def _at(value: Any, place: Path) -> Any:
    for key in place:
        value = value[key]
    return value


def _summary(body: Mapping[str, Any]) -> Summary:
    usage, metrics = mapping(body.get("usage")), mapping(body.get(_METRICS))
    parts: list[Any] = [body]
    for key in ("results", "outputs", "choices", "generations", "completions"):
        parts.extend(mapping(item) for item in sequence(body.get(key)))
    reasons = ("completionReason", "stop_reason", "finish_reason", "finishReason")
    made = [count for part in parts if (count := integer(part.get("tokenCount"))) is not None]
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=tuple(
            found
            for part in parts
            for reason in reasons
            if (found := string(part.get(reason)) or string(mapping(part.get(reason)).get("reason"))) is not None
        ),
        input_tokens=_count(
            (metrics, "inputTokenCount"),
            (usage, "prompt_tokens"),
            (usage, "input_tokens"),
            (body, "inputTextTokenCount"),
            (body, "prompt_token_count"),
        ),
        output_tokens=_count(
            (metrics, "outputTokenCount"),
            (usage, "completion_tokens"),
            (usage, "output_tokens"),
            (body, "totalOutputTextTokenCount"),
            (body, "generation_token_count"),
        )
        or (sum(made) if made else None),
    )


def _count(*places: tuple[Mapping[str, Any], str]) -> int | None:
    return next((found for holder, name in places if (found := integer(holder.get(name))) is not None), None)


def _operation(method: str, path: str) -> str:  # noqa: ARG001 - it is always a POST
    return "embeddings" if "embed" in path.lower() else "text_completion"


CODEC = Codec(
    name="bedrock-invoke",
    provider="bedrock",
    operation="text_completion",
    name_operation=_operation,
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    read_path=read_path,
)
