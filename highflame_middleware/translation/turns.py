"""Messages as the turns of formats that know two speakers: system prompts apart, neighbours of one speaker joined.

Anthropic, Bedrock and Gemini take tool results as turns of the user, and want
speakers to take turns. Messages that were read in the same format are written
as they were; those of another are joined where they must be.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .conversation import (
    Conversation,
    Message,
    OtherPart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from .fields import form_of, keep, load_object
from .translator import UntranslatableError

__all__ = [
    "INVALID_JSON",
    "adopted",
    "called_tools",
    "check_essentials",
    "id_made_of",
    "is_native",
    "parse_arguments",
    "safe_id",
    "split_system",
    "split_turn",
    "tools_of",
    "turns",
    "what_is",
]

# The key under which arguments stand that are no JSON object, in formats whose arguments are one.
INVALID_JSON = "invalid_json"
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_ID = 64
# The formats that Claude speaks.
_CLAUDES = ("anthropic-messages", "bedrock-converse")


def is_native(name: str, extra: Mapping[str, Any]) -> bool:
    """Whether a value was read in the format ``name``."""
    return form_of(name, extra) is not None


def split_turn(name: str, message: Message, parts: Iterable[Any]) -> list[Message]:
    """A turn's parts as messages: tool results are messages of their own, the rest those of its speaker.

    All but the first are marked as joined to the one before, so that `turns` puts them together again.
    """
    messages: list[Message] = []
    for part in parts:
        role = "tool" if isinstance(part, ToolResultPart) else message.role
        if messages and messages[-1].role == role:
            messages[-1] = replace(messages[-1], parts=(*messages[-1].parts, part))
        else:
            extra = {name + "~": {"joined": True}} if messages else message.extra
            messages.append(replace(message, role=role, parts=(part,), extra=extra))
    return messages or [message]


def turns(name: str, messages: Iterable[Message]) -> list[list[Message]]:
    """Messages by the turns that they are in the format ``name``."""
    out: list[list[Message]] = []
    for message in messages:
        form = form_of(name, message.extra)
        if form is None and _is_silent(message):
            continue
        follows = bool(out) and _speaker(out[-1][0]) == _speaker(message)
        if follows and (form is None or (isinstance(form, Mapping) and form.get("joined"))):
            out[-1].append(message)
        else:
            out.append([message])
    return out


def _is_silent(message: Message) -> bool:
    """Whether nothing is said in a message; these formats refuse empty texts."""
    return all(isinstance(part, TextPart | RefusalPart) and not part.text for part in message.parts)


def _speaker(message: Message) -> str:
    return "user" if message.role == "tool" else message.role


def split_system(conversation: Conversation) -> tuple[list[Message], list[Message], bool]:
    """The system's messages, the others, and whether that changed their order.

    A conversation of nothing but instructions becomes one where the user gives the last of them.
    """
    system = [message for message in conversation.messages if message.role == "system"]
    others = [message for message in conversation.messages if message.role != "system"]
    if system and not others:
        return system[:-1], [replace(system[-1], role="user")], True
    leading = list(conversation.messages[: len(system)])
    return system, others, leading != system


def check_essentials(name: str, conversation: Conversation) -> None:
    """Refuse a call that means nothing without what only another format has."""
    for essential in (*conversation.essentials, *conversation.other_tools):
        if essential.format != name:
            raise UntranslatableError(f"{name} has no words for {what_is(essential)}")


def what_is(part: OtherPart) -> str:
    """What a part of one format is, by its name there."""
    value = part.value if isinstance(part.value, dict) else {}
    kind = value.get("type")
    named = kind if isinstance(kind, str) else ", ".join(sorted(str(key) for key in value)[:3])
    return f"what {part.format} calls {named[:60] or 'something else'}"


def parse_arguments(text: str) -> dict[str, Any]:
    """A tool's arguments as the object that they must be; what is none stands in one, whole.

    >>> parse_arguments('{"a": 1}'), parse_arguments(''), parse_arguments('{"a"')
    ({'a': 1}, {}, {'invalid_json': '{"a"'})
    """
    found = load_object(text)
    try:
        # Python reads and writes numbers that JSON does not have.
        json.dumps(found, allow_nan=False)
    except (ValueError, RecursionError):
        found = None
    return found if found is not None else {INVALID_JSON: text}


def adopted(name: str, conversation: Conversation) -> Conversation:
    """A conversation, with what Claude thought and signed elsewhere: its signatures hold wherever it runs."""
    if "claude" not in (conversation.model or ""):
        return conversation
    messages = (
        replace(message, parts=tuple(_adopt(name, part) for part in message.parts))
        for message in conversation.messages
    )
    return replace(conversation, messages=tuple(messages))


def _adopt(name: str, part: Part) -> Part:
    if not isinstance(part, ReasoningPart) or part.signature is None:
        return part
    others = (other for other in _CLAUDES if other != name)
    signed = any(is_native(other, part.extra) for other in others)
    return replace(part, extra=keep(name, form="signed")) if signed else part


def safe_id(identity: str) -> str:
    """An id of letters, digits, dashes and underscores, no longer than all formats take.

    >>> safe_id("toolu_1"), safe_id("a b:c")
    ('toolu_1', 'a_b_c')
    """
    return _UNSAFE.sub("_", identity) if 0 < len(identity) <= _LONGEST_ID else id_made_of(identity)


def id_made_of(*seeds: str) -> str:
    """An id of a tool call for want of one: the same whenever it is made of the same.

    >>> id_made_of("reply", "0")
    'call_d30de71eb8d7e7b7b81d2726'
    """
    return "call_" + hashlib.sha256("\0".join(seeds).encode("utf-8", "replace")).hexdigest()[:24]


def called_tools(messages: Sequence[Message]) -> dict[str, str]:
    """The names of the tools that are called, by the ids of their calls."""
    return {part.id: part.name for message in messages for part in message.parts if isinstance(part, ToolCallPart)}


def tools_of(conversation: Conversation) -> tuple[Tool, ...]:
    """The tools of a call. Providers that see one called want it defined, so those that are not are, barely."""
    if conversation.tools or conversation.other_tools:
        return conversation.tools
    names = dict.fromkeys(called_tools(conversation.messages).values())
    return tuple(Tool(name=name, schema={"type": "object", "properties": {}}) for name in names)
