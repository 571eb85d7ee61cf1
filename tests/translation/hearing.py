"""What a call or a reply says, as plain data that does not depend on how a format parts it.

System prompts are apart, calls of tools are numbered in order, arguments are
JSON, empty texts are nothing, neighbouring texts of a reply are one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from highflame_middleware.translation.conversation import (
    ArgumentsDelta,
    Conversation,
    Delta,
    Ended,
    Finish,
    Opened,
    OtherPart,
    Part,
    PartDelta,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Reply,
    TextDelta,
    TextPart,
    ToolCallOpened,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

Heard = dict[str, Any]
_APART = ("messages", "tools", "extra")


def hear_call(conversation: Conversation) -> Heard:
    """What a call says; parameters that were not given are left out."""
    numbers: dict[str, int] = {}
    turns = []
    for message in conversation.messages:
        for part in message.parts:
            role = "tool" if isinstance(part, ToolResultPart) else message.role
            if (said := _hear(part, numbers)) is not None:
                turns.append([role, *said])
    heard: Heard = {
        "system": [said for said in turns if said[0] == "system"],
        "turns": [said for said in turns if said[0] != "system"],
        "tools": [
            {"name": tool.name, "description": tool.description, "schema": tool.schema, "strict": bool(tool.strict)}
            for tool in conversation.tools
        ],
    }
    for field in fields(conversation):
        value = getattr(conversation, field.name)
        if field.name not in _APART and value not in (None, (), False):
            heard[field.name] = value
    return heard


def hear_reply(reply: Reply) -> Heard:
    """What a reply says."""
    numbers: dict[str, int] = {}
    parts: list[Any] = []
    for part in reply.parts:
        said = _hear(part, numbers)
        if said is None:
            continue
        if parts and said[0] == parts[-1][0] == "text":
            parts[-1] = ["text", parts[-1][1] + said[1]]
        else:
            parts.append(list(said))
    usage = reply.usage or Usage()
    counted = {field.name: getattr(usage, field.name) for field in fields(usage)}
    return {
        "id": reply.id,
        "model": reply.model,
        "parts": parts,
        "finish": reply.finish,
        # What is known to be none is not told apart from what is not known.
        "usage": {name: tokens for name, tokens in counted.items() if tokens},
    }


def _hear(part: Part, numbers: dict[str, int]) -> tuple[Any, ...] | None:
    if isinstance(part, TextPart):
        return ("text", part.text) if part.text else None
    if isinstance(part, RefusalPart):
        return ("refusal", part.text)
    if isinstance(part, ReasoningPart):
        return ("reasoning", part.text, part.signature, part.sealed)
    if isinstance(part, ToolCallPart):
        return ("call", numbers.setdefault(part.id, len(numbers)), part.name, _arguments(part.arguments))
    if isinstance(part, ToolResultPart):
        inner = [said for below in part.parts if (said := _hear(below, numbers)) is not None]
        return ("result", numbers.get(part.call_id), inner, part.is_error)
    if isinstance(part, OtherPart):
        return ("other", part.format, part.value)
    mime_type = None if part.url is not None else part.mime_type
    return ("media", part.kind, mime_type, part.data, part.url, part.file_id, part.name)


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def deltas_of(reply: Reply) -> list[Delta]:
    """The stream in which a reply comes, its texts in two pieces each."""
    out: list[Delta] = [Opened(id=reply.id, model=reply.model)]
    count = 0
    for part in reply.parts:
        if isinstance(part, TextPart):
            out += [TextDelta(piece) for piece in _pieces(part.text)]
        elif isinstance(part, RefusalPart):
            out += [RefusalDelta(piece) for piece in _pieces(part.text)]
        elif isinstance(part, ReasoningPart):
            out += [ReasoningDelta(piece) for piece in _pieces(part.text)]
            if part.signature is not None or part.sealed is not None:
                out.append(ReasoningDelta(signature=part.signature, sealed=part.sealed))
        elif isinstance(part, ToolCallPart):
            out.append(ToolCallOpened(count, part.id, part.name))
            out += [ArgumentsDelta(count, piece) for piece in _pieces(part.arguments)]
            count += 1
        else:
            out.append(PartDelta(part))
    return [*out, Finish(reply.finish or "stop"), Ended(usage=reply.usage)]


def _pieces(text: str) -> list[str]:
    half = (len(text) + 1) // 2
    return [piece for piece in (text[:half], text[half:]) if piece]


def collect(deltas: Iterable[Delta]) -> Reply:
    """The reply that came in a stream; a stream that broke off fails here."""
    given: dict[str, Any] = {}
    parts: list[Any] = []
    calls: dict[int, int] = {}
    ended = 0
    for delta in deltas:
        assert not ended, "nothing comes after the end"
        if isinstance(delta, Opened):
            given.update(id=delta.id, model=delta.model, usage=delta.usage)
        elif isinstance(delta, TextDelta):
            _grow(parts, TextPart, text=delta.text)
        elif isinstance(delta, RefusalDelta):
            _grow(parts, RefusalPart, text=delta.text)
        elif isinstance(delta, ReasoningDelta):
            _grow(parts, ReasoningPart, text=delta.text, signature=delta.signature, sealed=delta.sealed)
        elif isinstance(delta, ToolCallOpened):
            assert delta.index == len(calls), "calls are numbered in order"
            calls[delta.index] = len(parts)
            parts.append(ToolCallPart(id=delta.id, name=delta.name, arguments=""))
        elif isinstance(delta, ArgumentsDelta):
            place = calls[delta.index]
            call = parts[place]
            parts[place] = ToolCallPart(id=call.id, name=call.name, arguments=call.arguments + delta.text)
        elif isinstance(delta, PartDelta):
            parts.append(delta.part)
        elif isinstance(delta, Finish):
            given["finish"] = delta.reason
            given["usage"] = delta.usage or given.get("usage")
        else:
            assert delta.error is None, delta.error
            ended += 1
            given["usage"] = delta.usage or given.get("usage")
    assert ended, "a stream ends"
    return Reply(parts=tuple(parts), **given)


def _grow(parts: list[Any], kind: Any, **more: Any) -> None:
    if parts and isinstance(parts[-1], kind):
        last = parts.pop()
        for key, value in more.items():
            before = getattr(last, key)
            more[key] = value if before is None else before if value is None else before + value
    parts.append(kind(**more))
