"""Anthropic's content blocks as parts, and its usage and stop reasons."""

from __future__ import annotations

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
from .fields import boolean, dump, form_of, integer, keep, kept, mapping, string, without
from .leftovers import Leftover, Lost
from .media import decoded_text, encoded_text, mime_of, without_parameters
from .translator import UntranslatableError
from .turns import is_native, parse_arguments, safe_id, what_is

__all__ = ["NAME", "read_blocks", "read_finish", "read_usage", "write_block", "write_finish", "write_usage"]

NAME = "anthropic-messages"
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal", "refusal": "refusal"}
_SOURCES = {
    "base64": ("type", "media_type", "data"),
    "url": ("type", "url"),
    "file": ("type", "file_id"),
    "text": ("type", "media_type", "data"),
}


def read_blocks(content: Any) -> tuple[Part, ...]:
    """Content, a string or blocks, as parts."""
    if isinstance(content, str):
        return (TextPart(text=content, extra=keep(NAME, form="text")),)
    if not isinstance(content, list | tuple):
        raise UntranslatableError("content is neither text nor blocks")
    return tuple(_read_block(block) for block in content)


def _read_block(block: Any) -> Part:
    """One block; what only Anthropic has, or nobody yet, stays as it is."""
    kind = string(mapping(block).get("type"))
    if kind == "text" and isinstance(block.get("text"), str):
        return TextPart(text=block["text"], extra=_rest(block, "text"))
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        signature = string(block.get("signature"))
        fields = without(block, ("type", "thinking", *(["signature"] if signature is not None else [])))
        extra = keep(NAME, fields, form="signed" if signature is not None else "unsigned")
        return ReasoningPart(text=block["thinking"], signature=signature or None, extra=extra)
    if kind == "redacted_thinking" and isinstance(block.get("data"), str):
        return ReasoningPart(sealed=block["data"], extra=_rest(block, "data"))
    if kind in ("image", "document"):
        return _read_media(kind, block) or OtherPart(format=NAME, value=block)
    if kind == "tool_use" and isinstance(block.get("id"), str) and isinstance(block.get("name"), str):
        given = block.get("input", {})
        form = "block" if isinstance(given, dict) else {"input": given}
        extra = keep(NAME, without(block, ("type", "id", "name", "input")), form=form)
        return ToolCallPart(id=block["id"], name=block["name"], arguments=dump(given), extra=extra)
    if kind == "tool_result" and isinstance(block.get("tool_use_id"), str):
        return _read_result(block)
    return OtherPart(format=NAME, value=block)


def _rest(block: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    return keep(NAME, without(block, ("type", *known)), form="block")


def _read_media(kind: str, block: Mapping[str, Any]) -> MediaPart | None:
    """An image or document, or nothing where its source is of a kind that is not known."""
    source = mapping(block.get("source"))
    keys = _SOURCES.get(string(source.get("type")) or "")
    if keys is None or set(source) != set(keys) or not all(isinstance(source[key], str) for key in keys):
        return None
    form = source["type"]
    data = source.get("data")
    return MediaPart(
        kind=kind,
        mime_type=source.get("media_type"),
        data=encoded_text(data) if form == "text" and data is not None else data,
        url=source.get("url"),
        file_id=source.get("file_id"),
        name=string(block.get("title")),
        extra=keep(NAME, without(block, ("type", "source", "title")), form=form),
    )


def _read_result(block: Mapping[str, Any]) -> ToolResultPart:
    left = Leftover(without(block, ("type", "tool_use_id")))
    content = left.rest.pop("content", None)
    form = "text" if isinstance(content, str) else "blocks" if content is not None else "none"
    failed = left.take("is_error", boolean)
    return ToolResultPart(
        call_id=block["tool_use_id"],
        parts=read_blocks(content) if content is not None else (),
        is_error=bool(failed),
        extra=keep(NAME, left.rest, form={"content": form, "is_error": failed}),
    )


def write_block(part: Part, lost: Lost, *, answering: bool = False) -> dict[str, Any] | None:
    """A part as a block, or nothing where there is nothing to say.

    ``answering`` is for replies: what a model thought is shown to its caller, whoever signed it;
    to a model it goes back only if that wrote it.
    """
    if isinstance(part, OtherPart):
        if part.format != NAME:
            raise UntranslatableError(f"{NAME} has no words for {what_is(part)}")
        return part.value  # type: ignore[no-any-return]
    lost.add_foreign(part.extra, "messages.")
    own = kept(NAME, part.extra)
    if isinstance(part, TextPart | RefusalPart):
        # Anthropic refuses empty texts.
        if not part.text and not is_native(NAME, part.extra):
            return None
        return {"type": "text", "text": part.text, **own}
    if isinstance(part, ReasoningPart):
        return _write_reasoning(part, lost, answering=answering)
    if isinstance(part, MediaPart):
        return {**_write_media(part), **own}
    if isinstance(part, ToolCallPart):
        return {"type": "tool_use", "id": _id(part.id, part), "name": part.name, "input": _input(part), **own}
    content = _write_result(part, lost)
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(part.call_id, part)}
    if content is not None:
        block["content"] = content
    if part.is_error or mapping(form_of(NAME, part.extra)).get("is_error") is not None:
        block["is_error"] = part.is_error
    return {**block, **own}


def _write_reasoning(part: ReasoningPart, lost: Lost, *, answering: bool) -> dict[str, Any] | None:
    own = kept(NAME, part.extra)
    form = form_of(NAME, part.extra)
    if form is None and not (answering and part.text):
        lost.add("messages.reasoning")
        return None
    if part.sealed is not None and not part.text:
        return {"type": "redacted_thinking", "data": part.sealed, **own}
    signature = {} if form == "unsigned" and part.signature is None else {"signature": part.signature or ""}
    return {"type": "thinking", "thinking": part.text, **signature, **own}


def _write_media(part: MediaPart) -> dict[str, Any]:
    native = is_native(NAME, part.extra)
    if part.kind not in ("image", "document"):
        raise UntranslatableError(f"{NAME} has no words for {part.kind}")
    block: dict[str, Any] = {"type": part.kind}
    if part.file_id is not None:
        if not native:
            raise UntranslatableError(f"a file of another provider's is none of {NAME}")
        block["source"] = {"type": "file", "file_id": part.file_id}
    elif part.data is not None:
        block["source"] = _write_data(part, part.data)
    elif part.url is not None:
        if not native and not part.url.startswith(("https://", "http://")):
            raise UntranslatableError(f"{NAME} fetches nothing but web addresses")
        block["source"] = {"type": "url", "url": part.url}
    else:
        raise UntranslatableError(f"there is nothing in one {part.kind}")
    if part.kind == "document" and part.name is not None:
        block["title"] = part.name
    return block


def _write_data(part: MediaPart, data: str) -> dict[str, Any]:
    form = form_of(NAME, part.extra)
    mime_type = mime_of(part)
    if form is None:
        mime_type = without_parameters(mime_type)
        if part.kind == "image" and mime_type not in _IMAGES:
            raise UntranslatableError(f"{NAME} takes no images of type {mime_type[:60]}")
        if part.kind == "document" and mime_type.startswith("text/"):
            form, mime_type = "text", "text/plain"
        elif part.kind == "document" and mime_type != "application/pdf":
            raise UntranslatableError(f"{NAME} takes no documents of type {mime_type[:60]}")
    if form == "text":
        return {"type": "text", "media_type": mime_type, "data": decoded_text(data)}
    return {"type": "base64", "media_type": mime_type, "data": data}


def _id(identity: str, part: Part) -> str:
    native = not isinstance(part, OtherPart) and is_native(NAME, part.extra)
    return identity if native else safe_id(identity)


def _input(part: ToolCallPart) -> Any:
    form = form_of(NAME, part.extra)
    if isinstance(form, Mapping) and dump(form["input"]) == part.arguments:
        return form["input"]
    return parse_arguments(part.arguments)


def _write_result(part: ToolResultPart, lost: Lost) -> Any:
    form = mapping(form_of(NAME, part.extra)).get("content")
    if not part.parts:
        return [] if form == "blocks" else "" if form == "text" else None
    first = part.parts[0]
    if len(part.parts) == 1 and isinstance(first, TextPart) and form in (None, "text"):
        lost.add_foreign(first.extra, "messages.")
        return first.text
    for inner in part.parts:
        if isinstance(inner, ToolCallPart | ToolResultPart):
            raise UntranslatableError("a tool's result holds what is none")
    return _written(part.parts, lost)


def _written(parts: Iterable[Part], lost: Lost) -> list[dict[str, Any]]:
    blocks = (write_block(part, lost) for part in parts)
    return [block for block in blocks if block is not None]


def read_usage(value: Any) -> Usage | None:
    """Usage. Anthropic's input is what was neither read from a cache nor written to one."""
    if not isinstance(value, dict):
        return None
    spent, read = integer(value.get("input_tokens")), integer(value.get("cache_read_input_tokens"))
    written = integer(value.get("cache_creation_input_tokens"))
    return Usage(
        input=spent + (read or 0) + (written or 0) if spent is not None else None,
        output=integer(value.get("output_tokens")),
        cache_read=read,
        cache_written=written,
        reasoning=integer(mapping(value.get("output_tokens_details")).get("thinking_tokens")),
    )


def write_usage(usage: Usage | None) -> dict[str, Any]:
    """Usage as Anthropic counts; unknown is zero, since its clients want numbers."""
    usage = usage or Usage()
    cached = (usage.cache_read or 0) + (usage.cache_written or 0)
    counts: dict[str, Any] = {
        "input_tokens": max((usage.input or 0) - cached, 0),
        "output_tokens": usage.output or 0,
    }
    if usage.cache_written is not None:
        counts["cache_creation_input_tokens"] = usage.cache_written
    if usage.cache_read is not None:
        counts["cache_read_input_tokens"] = usage.cache_read
    if usage.reasoning is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def read_finish(reason: Any) -> str | None:
    """Why a reply ends, in nobody's words; what nobody knows is a stop."""
    return _FINISHES.get(reason, "stop") if isinstance(reason, str) else None


def write_finish(finish: str | None) -> str | None:
    """Why a reply ends, in Anthropic's words."""
    return _REASONS.get(finish, "end_turn") if finish is not None else None
