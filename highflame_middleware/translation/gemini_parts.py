"""Gemini's parts as parts of a conversation, and its usage and finish reasons.

The API takes every key in two spellings; what is read is written back in camel case.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
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
from .media import common_base64, kind_of, mime_of
from .translator import UntranslatableError
from .turns import id_made_of, is_native, parse_arguments, what_is

__all__ = [
    "NAME",
    "is_base64",
    "read_finish",
    "read_part",
    "read_usage",
    "spelt",
    "write_finish",
    "write_part",
    "write_usage",
]

NAME = "gemini"
_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z])")
# Files that were uploaded to Gemini; every other address is one of the web or of a bucket.
_FILES = re.compile(r"^(https://generativelanguage\.googleapis\.com/[^/]+/)?files/[^/]+$")
_FILTERED = (
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
)
_BROKEN = (
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
)
_FINISHES = {
    "MAX_TOKENS": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
    **dict.fromkeys(_BROKEN, "error"),
}
_REASONS = {
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "error": "OTHER",
}
# What a tool gave back is an object here. These keys hold it where it is no object elsewhere.
_OUTPUT, _ERROR = "output", "error"
_SAYING = (_OUTPUT, "result", _ERROR)


def spelt(value: Any) -> dict[str, Any]:
    """An object with its keys in camel case, or an empty one.

    >>> spelt({"inline_data": 1, "text": 2})
    {'inlineData': 1, 'text': 2}
    """
    return {_SNAKE.sub(lambda found: found[1].upper(), key): inner for key, inner in mapping(value).items()}


def read_part(value: Any, *, place: str, pending: Sequence[tuple[str, str]] = ()) -> Part:
    """One part.

    A call without an id gets one made of its ``place`` and what it says; a result without one
    answers the first of the ``pending`` calls of its name.
    """
    part = spelt(value)
    read: Part | None = None
    if isinstance(part.get("text"), str):
        return _read_text(part)
    if isinstance(blob := part.get("inlineData"), dict):
        read = _read_blob(part, spelt(blob))
    elif isinstance(file := part.get("fileData"), dict):
        read = _read_file(part, spelt(file))
    elif isinstance(call := part.get("functionCall"), dict):
        read = _read_call(part, spelt(call), place)
    elif isinstance(answer := part.get("functionResponse"), dict):
        read = _read_result(part, spelt(answer), place, pending)
    elif set(part) == {"thoughtSignature"} and isinstance(part["thoughtSignature"], str):
        read = ReasoningPart(signature=part["thoughtSignature"], extra=keep(NAME, form="bare"))
    return read or OtherPart(format=NAME, value=value)


def _read_text(part: Mapping[str, Any]) -> Part:
    if part.get("thought") is not True:
        return TextPart(text=part["text"], extra=keep(NAME, without(part, ("text",)), form="part"))
    signature = string(part.get("thoughtSignature"))
    known = ("text", "thought", *(["thoughtSignature"] if signature is not None else []))
    return ReasoningPart(
        text=part["text"], signature=signature, extra=keep(NAME, without(part, known), form="part")
    )


def _read_blob(part: Mapping[str, Any], blob: Mapping[str, Any]) -> MediaPart | None:
    mime_type, data, name = blob.get("mimeType"), blob.get("data"), blob.get("displayName")
    known = set(blob) <= {"mimeType", "data", "displayName"} and isinstance(name, str | None)
    if not known or not isinstance(mime_type, str) or not isinstance(data, str):
        return None
    extra = keep(NAME, without(part, ("inlineData",)), form={"data": data})
    common = common_base64(data)
    return MediaPart(kind=kind_of(mime_type), mime_type=mime_type, data=common, name=name, extra=extra)


def _read_file(part: Mapping[str, Any], file: Mapping[str, Any]) -> MediaPart | None:
    mime_type, uri, name = file.get("mimeType"), file.get("fileUri"), file.get("displayName")
    known = set(file) <= {"mimeType", "fileUri", "displayName"} and isinstance(name, str | None)
    if not known or not isinstance(mime_type, str | None) or not isinstance(uri, str):
        return None
    own = _FILES.match(uri) is not None
    return MediaPart(
        kind=kind_of(mime_type),
        mime_type=mime_type,
        url=None if own else uri,
        file_id=uri if own else None,
        name=name,
        extra=keep(NAME, without(part, ("fileData",)), form="fileData"),
    )


def _read_call(part: Mapping[str, Any], call: Mapping[str, Any], place: str) -> ToolCallPart | None:
    name, given, identity = call.get("name"), call.get("args", {}), string(call.get("id"))
    if not isinstance(name, str) or not set(call) <= {"id", "name", "args"}:
        return None
    form: dict[str, Any] = {"id": identity is not None}
    if not isinstance(given, dict) or "args" not in call:
        form["args"] = call.get("args")
    return ToolCallPart(
        id=identity if identity is not None else _made_id(place, call),
        name=name,
        arguments=dump(given),
        extra=keep(NAME, without(part, ("functionCall",)), form=form),
    )


def _read_result(
    part: Mapping[str, Any], answer: Mapping[str, Any], place: str, pending: Sequence[tuple[str, str]]
) -> ToolResultPart | None:
    name, response, identity = answer.get("name"), answer.get("response"), string(answer.get("id"))
    if not isinstance(name, str) or not set(answer) <= {"id", "name", "response", "parts", "scheduling"}:
        return None
    media = answer.get("parts", [])
    found = next((waiting for called, waiting in pending if called == name), place)
    inner = [read_part(item, place=place) for item in media] if isinstance(media, list) else []
    if not isinstance(media, list) or not all(isinstance(item, MediaPart) for item in inner):
        return None
    text, is_error = _said(response)
    fields = without(part, ("functionResponse",))
    if "scheduling" in answer:
        fields["scheduling"] = answer["scheduling"]
    return ToolResultPart(
        call_id=identity if identity is not None else found,
        name=name,
        parts=((TextPart(text=text, extra=keep(NAME, form="response")),) if text is not None else ())
        + tuple(inner),
        is_error=is_error,
        extra=keep(NAME, fields, form={"id": identity is not None, "response": response}),
    )


def _said(response: Any) -> tuple[str | None, bool]:
    """What a tool gave back as a text, and whether that is an error."""
    if response is None:
        return None, False
    if isinstance(response, dict) and len(response) == 1:
        key, value = next(iter(response.items()))
        if key in _SAYING and isinstance(value, str):
            return value, key == _ERROR
    return dump(response), False


def write_part(
    part: Part, lost: Lost, *, names: Mapping[str, str], answering: bool = False
) -> dict[str, Any] | None:
    """A part, or nothing where there is nothing to say; ``names`` are those of tools by the ids of their calls.

    ``answering`` is for replies: what a model thought is shown to its caller, whoever that was.
    """
    if isinstance(part, OtherPart):
        if part.format != NAME:
            raise UntranslatableError(f"{NAME} has no words for {what_is(part)}")
        return part.value  # type: ignore[no-any-return]
    lost.add_foreign(part.extra, "messages.")
    own = kept(NAME, part.extra)
    native = is_native(NAME, part.extra)
    if isinstance(part, TextPart | RefusalPart):
        return {"text": part.text, **own} if part.text or native else None
    if isinstance(part, ReasoningPart):
        return _write_reasoning(part, own, lost, answering=answering)
    if isinstance(part, MediaPart):
        return {**_write_media(part, lost), **own}
    if isinstance(part, ToolCallPart):
        form = mapping(form_of(NAME, part.extra))
        call: dict[str, Any] = {"id": part.id} if form.get("id", answering) else {}
        call["name"] = part.name
        if "args" not in form or dump(form["args"] if form["args"] is not None else {}) != part.arguments:
            call["args"] = parse_arguments(part.arguments)
        elif form["args"] is not None:
            call["args"] = form["args"]
        return {"functionCall": call, **own}
    answer = _write_result(part, names, lost)
    if "scheduling" in own:
        answer["scheduling"] = own["scheduling"]
    return {"functionResponse": answer, **without(own, ("scheduling",))}


def _write_reasoning(
    part: ReasoningPart, own: Mapping[str, Any], lost: Lost, *, answering: bool
) -> dict[str, Any] | None:
    form = form_of(NAME, part.extra)
    if form is None and not (answering and part.text):
        lost.add("messages.reasoning")
        return None
    # Clients refuse signatures that are no base64.
    signed = part.signature is not None and (form is not None or is_base64(part.signature))
    signature = {"thoughtSignature": part.signature} if signed else {}
    return {**signature, **own} if form == "bare" else {"text": part.text, "thought": True, **signature, **own}


def _write_media(part: MediaPart, lost: Lost) -> dict[str, Any]:
    native = is_native(NAME, part.extra)
    name = {"displayName": part.name} if native and part.name is not None else {}
    if part.name is not None and not native:
        # Not every one of Google's services takes one.
        lost.add("messages.name")
    if part.data is not None:
        before = mapping(form_of(NAME, part.extra)).get("data")
        same = isinstance(before, str) and common_base64(before) == part.data
        return {"inlineData": {"mimeType": mime_of(part), "data": before if same else part.data, **name}}
    if part.file_id is not None and not native:
        raise UntranslatableError(f"a file of another provider's is none of {NAME}")
    uri = part.file_id if part.file_id is not None else part.url
    if uri is None:
        raise UntranslatableError(f"there is nothing in one {part.kind}")
    mime_type = part.mime_type if native else _fetched_type(part)
    typed = {"mimeType": mime_type} if mime_type is not None else {}
    return {"fileData": {**typed, "fileUri": uri, **name}}


def _fetched_type(part: MediaPart) -> str:
    """The type of what is fetched: it must be said, and of a picture most are of one type."""
    try:
        return mime_of(part)
    except UntranslatableError:
        if part.kind != "image":
            raise
    return "image/jpeg"


def _write_result(part: ToolResultPart, names: Mapping[str, str], lost: Lost) -> dict[str, Any]:
    form = mapping(form_of(NAME, part.extra))
    answer: dict[str, Any] = {"id": part.call_id} if form.get("id") else {}
    answer["name"] = part.name or names.get(part.call_id) or part.call_id
    texts = [inner.text for inner in part.parts if isinstance(inner, TextPart | RefusalPart)]
    media = [inner for inner in part.parts if isinstance(inner, MediaPart)]
    if len(texts) + len(media) < len(part.parts):
        raise UntranslatableError(f"{NAME} has no words for what one tool gave back")
    text = "\n".join(texts) if texts else None
    if form and _said(form["response"]) == (text, part.is_error):
        if form["response"] is not None:
            answer["response"] = form["response"]
    else:
        answer["response"] = _response(text or "", is_error=part.is_error)
    if media:
        answer["parts"] = [write_part(inner, lost, names=names) for inner in media]
    return answer


def _response(text: str, *, is_error: bool) -> dict[str, Any]:
    """What a tool gave back as an object: itself, if it is one."""
    found = load_object(text) if not is_error and text.strip() else None
    return found if found is not None else {_ERROR if is_error else _OUTPUT: text}


def is_base64(text: str) -> bool:
    """Whether a text is base64, as clients want of signatures."""
    try:
        base64.b64decode(common_base64(text), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def read_usage(value: Any) -> Usage | None:
    """Usage. Gemini counts thoughts beside the answer, and what its tools read beside the prompt."""
    if not isinstance(value, dict):
        return None
    counts = spelt(value)
    thoughts, prompt = integer(counts.get("thoughtsTokenCount")), integer(counts.get("promptTokenCount"))
    return Usage(
        input=_sum(prompt, integer(counts.get("toolUsePromptTokenCount"))),
        output=_sum(integer(counts.get("candidatesTokenCount")), thoughts),
        cache_read=integer(counts.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def write_usage(usage: Usage) -> dict[str, Any]:
    """Usage as Gemini counts."""
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": max(usage.output - (usage.reasoning or 0), 0) if usage.output is not None else None,
        "cachedContentTokenCount": usage.cache_read,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": _sum(usage.input, usage.output),
    }
    return {key: count for key, count in counts.items() if count is not None}


def read_finish(reason: Any, *, calls: bool) -> str | None:
    """Why a reply ends, in nobody's words; a stop after tool calls is for their sake."""
    if not isinstance(reason, str) or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    return _FINISHES.get(reason, "tool_calls" if calls else "stop")


def write_finish(finish: str) -> str:
    """Why a reply ends, in Gemini's words."""
    return _REASONS.get(finish, "STOP")


def _made_id(place: str, call: Mapping[str, Any]) -> str:
    """An id for a call that has none: of where it stands, and of what it says where that is not known."""
    return id_made_of(place, json.dumps(call, sort_keys=True))
