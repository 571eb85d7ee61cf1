"""What the two OpenAI formats share: images and sounds, finish reasons, usage, names for what cannot be carried."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .conversation import Conversation, MediaPart, Message, OtherPart, Usage
from .fields import foreign, integer, mapping
from .translator import UntranslatableError

__all__ = [
    "audio_type",
    "data_url",
    "file_of",
    "merged",
    "named",
    "own",
    "read_data_url",
    "read_usage",
    "unsaid",
    "write_usage",
]

_DATA_URL = re.compile(r"data:([^;,]{1,255});base64,(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SUBTYPES = {"mp3": "mpeg", "mpeg": "mp3"}


def read_data_url(url: str) -> tuple[str, str] | None:
    """The type and the base64 data of a ``data:`` URL.

    >>> read_data_url("data:image/png;base64,AAAA")
    ('image/png', 'AAAA')
    """
    match = _DATA_URL.fullmatch(url)
    return (match[1], match[2]) if match else None


def data_url(mime_type: str, data: str) -> str:
    """Base64 data as a URL."""
    return f"data:{mime_type};base64,{data}"


def audio_type(name: str, *, read: bool) -> str:
    """A media type of what OpenAI calls a format of audio, or (not ``read``) the other way round.

    >>> audio_type("mp3", read=True), audio_type("audio/mpeg", read=False), audio_type("audio/wav", read=False)
    ('audio/mpeg', 'mp3', 'wav')
    """
    subtype = name if read else name.rpartition("/")[2]
    subtype = _SUBTYPES.get(subtype, subtype)
    return f"audio/{subtype}" if read else subtype


def file_of(part: MediaPart) -> str | None:
    """The id of a file that the provider keeps, if any; nobody else has the file, so another's is refused."""
    forms = (key for key in part.extra if key.endswith("~"))
    if part.file_id is not None and not all(form.startswith("openai-") for form in forms):
        raise UntranslatableError("a file that another provider keeps cannot be sent")
    return part.file_id


def named(value: Any) -> str:
    """A type's name for an error message: a name and no text, whoever wrote it."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else "unknown"


def own(part: OtherPart, name: str) -> Mapping[str, Any]:
    """What a part that only one format has says, if it is ours; else the error that names what it is."""
    if part.format != name:
        value = mapping(part.value)
        kinds = (value.get("type"), *(mapping(below).get("type") for below in value.values()), *value)
        kind = next((kind for kind in kinds if isinstance(kind, str)), None)
        raise UntranslatableError(f"{name} has no words for {named(kind)} of {part.format}")
    return mapping(part.value)


def merged(fields: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that were kept, and over them what is said, object into object.

    >>> merged({"a": {"x": 1}, "b": 2}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}, 'b': 2}
    """
    out = dict(fields)
    for key, value in said.items():
        before = out.get(key)
        out[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return out


def unsaid(conversation: Conversation, name: str, lacking: Iterable[str]) -> list[str]:
    """What of a call goes unsaid in the format ``name``: the parameters it lacks, and what others kept."""
    found = [key for key in lacking if getattr(conversation, key) not in (None, ())]
    found += foreign(name, conversation.extra)
    for message in conversation.messages:
        found += _of_message(message, name)
    for tool in conversation.tools:
        found += [f"tools.{key}" for key in foreign(name, tool.extra)]
    return list(dict.fromkeys(found))


def _of_message(message: Message, name: str) -> list[str]:
    extras = [message.extra, *(part.extra for part in message.parts if not isinstance(part, OtherPart))]
    return [f"messages.{key}" for extra in extras for key in foreign(name, extra)]


def read_usage(value: Any, said: tuple[str, str, str, str]) -> tuple[Usage | None, dict[str, Any]]:
    """A usage object under the names ``said`` (input, output, and their details), and what else it says."""
    left = dict(mapping(value))
    tokens: list[int | None] = []
    for key in said[:2]:
        tokens.append(integer(left.get(key)))
        if tokens[-1] is not None:
            del left[key]
    into, out = (dict(mapping(left.get(key))) for key in said[2:])
    details = []
    for fields, key in ((into, "cached_tokens"), (into, "cache_write_tokens"), (out, "reasoning_tokens")):
        details.append(integer(fields.get(key)))
        if details[-1] is not None:
            del fields[key]
    for key, fields in zip(said[2:], (into, out), strict=True):
        if mapping(left.get(key)):
            left[key] = fields
    usage = Usage(
        input=tokens[0], output=tokens[1], cache_read=details[0], cache_written=details[1], reasoning=details[2]
    )
    if None not in tokens and left.get("total_tokens") == (tokens[0] or 0) + (tokens[1] or 0):
        del left["total_tokens"]
    return (None if usage == Usage() else usage), left


def write_usage(usage: Usage | None, said: tuple[str, str, str, str], *, details: bool) -> dict[str, Any]:
    """A usage object; ``details`` says that its details are given even where nothing is known of them."""
    usage = usage or Usage()
    taken, given = usage.input or 0, usage.output or 0
    into = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_written}
    out = {"reasoning_tokens": usage.reasoning}
    if details:
        into["cached_tokens"] = usage.cache_read or 0
        out["reasoning_tokens"] = usage.reasoning or 0
    body: dict[str, Any] = {said[0]: taken, said[1]: given, "total_tokens": taken + given}
    for key, fields in zip(said[2:], (into, out), strict=True):
        if known := {name: tokens for name, tokens in fields.items() if tokens is not None}:
            body[key] = known
    return body
