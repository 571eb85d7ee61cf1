"""Bedrock Converse's content blocks as parts, and its usage and stop reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .conversation import (
    MediaPart,
    OtherPart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from .fields import dump, form_of, integer, keep, kept, load_object, mapping, string, without
from .leftovers import Lost
from .media import decoded_text, encoded_text, mime_of, without_parameters
from .translator import UntranslatableError
from .turns import is_native, parse_arguments, safe_id, what_is

__all__ = ["NAME", "read_blocks", "read_finish", "read_usage", "write_blocks", "write_finish", "write_usage"]

NAME = "bedrock-converse"
_CACHE = "cachePoint"
_MEDIA = ("image", "document", "video", "audio")
_TYPES = {
    "image": {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"},
    "document": {
        "pdf": "application/pdf",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls": "application/vnd.ms-excel",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "html": "text/html",
        "txt": "text/plain",
        "md": "text/markdown",
    },
    "video": {
        "mp4": "video/mp4",
        "mov": "video/quicktime",
        "webm": "video/webm",
        "mkv": "video/x-matroska",
        "flv": "video/x-flv",
        "mpeg": "video/mpeg",
        "mpg": "video/mpg",
        "wmv": "video/x-ms-wmv",
        "three_gp": "video/3gpp",
    },
    "audio": {
        "mp3": "audio/mpeg",
        "wav": "audio/wav",
        "flac": "audio/flac",
        "ogg": "audio/ogg",
        "opus": "audio/opus",
        "aac": "audio/aac",
        "m4a": "audio/mp4",
        "webm": "audio/webm",
        "pcm": "audio/pcm",
    },
}
_ALIASES = {"image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg", "audio/x-wav": "audio/wav"}
_UNNAMEABLE = re.compile(r"[^a-zA-Z0-9\-()\[\]]+")
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
    "error": "malformed_model_output",
}


def read_blocks(content: Any) -> tuple[Part, ...]:
    """Blocks as parts. Where a cache ends is noted with the part before it: it is nothing that is said."""
    if not isinstance(content, list | tuple):
        raise UntranslatableError("content is no list of blocks")
    parts: list[Part] = []
    caches: list[list[Any]] = []
    for block in content:
        if set(mapping(block)) == {_CACHE} and parts and not isinstance(parts[-1], OtherPart):
            caches[-1].append(block[_CACHE])
        else:
            parts.append(_read_block(block))
            caches.append([])
    return tuple(_cached(part, cache) for part, cache in zip(parts, caches, strict=True))


def _cached(part: Part, caches: list[Any]) -> Part:
    if not caches or isinstance(part, OtherPart):
        return part
    extra = {**part.extra, NAME: {**kept(NAME, part.extra), _CACHE: caches}}
    return type(part)(**{name: getattr(part, name) for name in part.__slots__ if name != "extra"}, extra=extra)


def _read_block(block: Any) -> Part:
    """One block; what only Bedrock has, or nobody yet, stays as it is."""
    kind, value = next(iter(block.items())) if isinstance(block, dict) and len(block) == 1 else (None, None)
    native = keep(NAME, form="block")
    if kind == "text" and isinstance(value, str):
        return TextPart(text=value, extra=native)
    if kind == "json":
        return TextPart(text=dump(value), extra=keep(NAME, form={"json": value}))
    read: Part | None = None
    if not isinstance(value, dict) or (kind in ("toolUse", "toolResult") and "type" in value):
        # Tools that Bedrock runs itself are typed; nobody else has those.
        pass
    elif kind in ("guardContent", "citationsContent") and (text := _text_of(kind, value)) is not None:
        read = TextPart(text=text, extra=keep(NAME, form={kind: value}))
    elif kind in _MEDIA:
        read = _read_media(kind, value)
    elif kind == "toolUse":
        read = _read_call(value)
    elif kind == "toolResult" and isinstance(value.get("toolUseId"), str):
        read = _read_result(value)
    elif kind == "reasoningContent":
        read = _read_reasoning(value)
    return read or OtherPart(format=NAME, value=block)


def _text_of(kind: str, value: Mapping[str, Any]) -> str | None:
    """What is said in a block that says more than that of it."""
    if kind == "guardContent":
        return string(mapping(value.get("text")).get("text"))
    content = value.get("content")
    if not isinstance(content, list):
        return None
    texts = [item["text"] for item in content if isinstance(item, dict) and isinstance(item.get("text"), str)]
    return "".join(texts) if len(texts) == len(content) else None


def _read_media(kind: str, value: Mapping[str, Any]) -> MediaPart | None:
    source, said = value.get("source"), string(value.get("format"))
    if not isinstance(source, dict) or len(source) != 1 or not isinstance(value.get("name"), str | None):
        return None
    mime_type = _TYPES[kind].get(said, f"{kind}/{said}") if said is not None else None
    how, given = next(iter(source.items()))
    where = mapping(given)
    location = where if how == "s3Location" and isinstance(where.get("uri"), str) else None
    if location is None and (how not in ("bytes", "text") or not isinstance(given, str)):
        return None
    fields = without(value, ("source", "name", *(["format"] if said is not None else [])))
    if location is not None and len(location) > 1:
        fields["s3Location"] = without(location, ("uri",))
    return MediaPart(
        kind=kind,
        mime_type=mime_type,
        data=None if location is not None else encoded_text(given) if how == "text" else given,
        url=location["uri"] if location is not None else None,
        name=value.get("name"),
        extra=keep(NAME, fields, form={"source": how, "format": said}),
    )


def _read_call(value: Mapping[str, Any]) -> ToolCallPart | None:
    identity, name, given = value.get("toolUseId"), value.get("name"), value.get("input", {})
    if not isinstance(identity, str) or not isinstance(name, str):
        return None
    extra = keep(NAME, without(value, ("toolUseId", "name", "input")), form={"input": given})
    return ToolCallPart(id=identity, name=name, arguments=dump(given), extra=extra)


def _read_result(value: Mapping[str, Any]) -> ToolResultPart | None:
    content, status = value.get("content", []), value.get("status")
    if not isinstance(content, list):
        return None
    extra = keep(NAME, without(value, ("toolUseId", "content", "status")), form={"status": status})
    return ToolResultPart(
        call_id=value["toolUseId"], parts=read_blocks(content), is_error=status == "error", extra=extra
    )


def _read_reasoning(value: Mapping[str, Any]) -> ReasoningPart | None:
    thought, sealed = mapping(value.get("reasoningText")), value.get("redactedContent")
    if set(value) == {"redactedContent"} and isinstance(sealed, str):
        return ReasoningPart(sealed=sealed, extra=keep(NAME, form="block"))
    if set(value) != {"reasoningText"} or not isinstance(thought.get("text"), str):
        return None
    signature = string(thought.get("signature"))
    known = ("text", *(["signature"] if signature is not None else []))
    return ReasoningPart(
        text=thought["text"], signature=signature, extra=keep(NAME, without(thought, known), form="block")
    )


def write_blocks(parts: Iterable[Part], lost: Lost, *, answering: bool = False) -> list[Any]:
    """Parts as blocks; ``answering`` is for replies, in which thoughts are shown whoever signed them."""
    blocks: list[Any] = []
    for part in parts:
        if isinstance(part, OtherPart):
            if part.format != NAME:
                raise UntranslatableError(f"{NAME} has no words for {what_is(part)}")
            blocks.append(part.value)
            continue
        lost.add_foreign(part.extra, "messages.")
        block = _write_block(part, lost, answering=answering)
        if block is not None:
            blocks.append(block)
        blocks.extend({_CACHE: cache} for cache in kept(NAME, part.extra).get(_CACHE, ()))
    return blocks


def _write_block(part: Part, lost: Lost, *, answering: bool) -> dict[str, Any] | None:
    if isinstance(part, OtherPart):
        return None
    own = without(kept(NAME, part.extra), (_CACHE,))
    native = is_native(NAME, part.extra)
    if isinstance(part, TextPart | RefusalPart):
        return _write_text(part)
    if isinstance(part, ReasoningPart):
        return _write_reasoning(part, own, lost, answering=answering)
    if isinstance(part, MediaPart):
        return _write_media(part, own)
    if isinstance(part, ToolCallPart):
        identity = part.id if native else safe_id(part.id)
        return {"toolUse": {"toolUseId": identity, "name": part.name, "input": _input(part), **own}}
    for inner in part.parts:
        if isinstance(inner, ToolCallPart | ToolResultPart):
            raise UntranslatableError("a tool's result holds what is none")
    identity = part.call_id if native else safe_id(part.call_id)
    result: dict[str, Any] = {"toolUseId": identity, "content": write_blocks(part.parts, lost)}
    status = mapping(form_of(NAME, part.extra)).get("status")
    if part.is_error or (status is not None and (status == "error") == part.is_error):
        result["status"] = status if (status == "error") == part.is_error and status is not None else "error"
    if not result["content"] and not native:
        # Nothing is something that a tool gives back, and there must be a block to say so.
        result["content"] = [{"json": {}}]
    return {"toolResult": {**result, **own}}


def _write_text(part: TextPart | RefusalPart) -> dict[str, Any] | None:
    form = form_of(NAME, part.extra)
    for kind, value in mapping(form).items():
        said = dump(value) if kind == "json" else _text_of(kind, value)
        if said == part.text:
            return {kind: value}
        if kind == "json" and (found := load_object(part.text)) is not None:
            return {"json": found}
    # Bedrock refuses empty texts.
    return {"text": part.text} if part.text or form is not None else None


def _write_reasoning(
    part: ReasoningPart, own: dict[str, Any], lost: Lost, *, answering: bool
) -> dict[str, Any] | None:
    if not is_native(NAME, part.extra) and not (answering and part.text):
        lost.add("messages.reasoning")
        return None
    if part.sealed is not None and not part.text:
        return {"reasoningContent": {"redactedContent": part.sealed}}
    signature = {"signature": part.signature} if part.signature is not None else {}
    return {"reasoningContent": {"reasoningText": {"text": part.text, **signature, **own}}}


def _write_media(part: MediaPart, own: dict[str, Any]) -> dict[str, Any]:
    form = mapping(form_of(NAME, part.extra))
    known = _TYPES.get(part.kind)
    if known is None or part.file_id is not None:
        raise UntranslatableError(f"{NAME} has no words for such {part.kind}")
    location = mapping(own.get("s3Location"))
    if part.data is not None:
        source: Any = {"text": decoded_text(part.data)} if form.get("source") == "text" else {"bytes": part.data}
    elif part.url is not None and (form or part.url.startswith("s3://")):
        source = {"s3Location": {"uri": part.url, **location}}
    else:
        raise UntranslatableError(f"{NAME} does not fetch {part.kind}s from the web")
    value: dict[str, Any] = {"source": source}
    if form.get("format") is not None:
        value["format"] = form["format"]
    elif not form:
        value["format"] = _format_of(part, known)
    if part.kind == "document":
        name = part.name if form else _nameable(part.name)
        if name is not None:
            value["name"] = name
    return {part.kind: {**value, **without(own, ("s3Location",))}}


def _format_of(part: MediaPart, known: Mapping[str, str]) -> str:
    mime_type = without_parameters(mime_of(part))
    mime_type = _ALIASES.get(mime_type, mime_type)
    for name, wire in known.items():
        if wire == mime_type:
            return name
    if part.kind == "document" and mime_type.startswith("text/"):
        return "txt"
    raise UntranslatableError(f"{NAME} takes no {part.kind} of type {mime_type[:60]}")


def _nameable(name: str | None) -> str:
    """A document's name as Bedrock takes it: it must have one, of few kinds of characters."""
    return _UNNAMEABLE.sub(" ", name or "").strip()[:200] or "document"


def _input(part: ToolCallPart) -> Any:
    form = form_of(NAME, part.extra)
    if isinstance(form, Mapping) and dump(form["input"]) == part.arguments:
        return form["input"]
    return parse_arguments(part.arguments)


def read_usage(value: Any) -> Usage | None:
    """Usage. Bedrock's input is what was neither read from a cache nor written to one."""
    if not isinstance(value, dict):
        return None
    spent, read = integer(value.get("inputTokens")), integer(value.get("cacheReadInputTokens"))
    written = integer(value.get("cacheWriteInputTokens"))
    return Usage(
        input=spent + (read or 0) + (written or 0) if spent is not None else None,
        output=integer(value.get("outputTokens")),
        cache_read=read,
        cache_written=written,
    )


def write_usage(usage: Usage | None) -> dict[str, Any]:
    """Usage as Bedrock counts; unknown is zero, since its clients want numbers."""
    usage = usage or Usage()
    cached = (usage.cache_read or 0) + (usage.cache_written or 0)
    counts = {
        "inputTokens": max((usage.input or 0) - cached, 0),
        "outputTokens": usage.output or 0,
        "totalTokens": max(usage.input or 0, cached) + (usage.output or 0),
    }
    if usage.cache_read is not None:
        counts["cacheReadInputTokens"] = usage.cache_read
    if usage.cache_written is not None:
        counts["cacheWriteInputTokens"] = usage.cache_written
    return counts


def read_finish(reason: Any) -> str | None:
    """Why a reply ends, in nobody's words; what nobody knows is a stop."""
    return _FINISHES.get(reason, "stop") if isinstance(reason, str) else None


def write_finish(finish: str | None) -> str:
    """Why a reply ends, in Bedrock's words."""
    return _REASONS.get(finish or "", "end_turn")
