"""A call to a model, its reply and its stream, in no provider's words: what formats are translated through.

Everything here is a value. A format's translator reads its wire JSON into
these and writes them out again; what only that format has goes into ``extra``,
under the format's name (`fields.keep`, `fields.kept`, `fields.foreign`), so that
reading and writing the same format loses nothing and another leaves it out.
What may not be left out is an `OtherPart`, in a message, in ``other_tools``, or
in ``essentials`` where it is no message's: other formats refuse to write it.

Tool results are turns of the role tool, whatever role a format gives them.
Messages next to each other may have one role (an API of items makes each a
message): a writer whose format wants turns to alternate joins them.
Reasoning in a call's messages goes back to none but the format that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

__all__ = [
    "ArgumentsDelta",
    "Conversation",
    "Delta",
    "Ended",
    "Finish",
    "MediaPart",
    "Message",
    "Opened",
    "OtherPart",
    "Part",
    "PartDelta",
    "ReasoningDelta",
    "ReasoningPart",
    "RefusalDelta",
    "RefusalPart",
    "Reply",
    "TextDelta",
    "TextPart",
    "Tool",
    "ToolCallOpened",
    "ToolCallPart",
    "ToolResultPart",
    "Usage",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """Prose."""

    text: str = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalPart:
    """What a model says instead of an answer, where its format tells the two apart."""

    text: str = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningPart:
    """What a model thought; ``signature`` binds it to the provider that made it, ``sealed`` is it encrypted."""

    text: str = field(default="", repr=False)
    signature: str | None = field(default=None, repr=False)
    sealed: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPart:
    """An image, audio, video or document: ``data`` in base64, or a ``url``, or a provider's own ``file_id``."""

    kind: str
    mime_type: str | None = None
    data: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    file_id: str | None = None
    name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallPart:
    """A tool that the model calls; ``arguments`` as JSON text, which need not be valid."""

    id: str
    name: str
    arguments: str = field(default="{}", repr=False)
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResultPart:
    """What a tool gave back: text and media. ``name`` is the tool's, where the format says it."""

    call_id: str
    name: str | None = None
    parts: tuple[Part, ...] = field(default=(), repr=False)
    is_error: bool = False
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPart:
    """A part that only one format has, as that format (``format``, a codec's name) writes it."""

    format: str
    value: Any = field(repr=False)


Part: TypeAlias = TextPart | RefusalPart | ReasoningPart | MediaPart | ToolCallPart | ToolResultPart | OtherPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. ``role`` is system, user, assistant or tool."""

    role: str
    parts: tuple[Part, ...] = field(default=(), repr=False)
    name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call; ``schema`` is JSON Schema."""

    name: str
    description: str | None = field(default=None, repr=False)
    schema: Mapping[str, Any] = field(default_factory=_nothing, repr=False)
    strict: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A call. ``tool_choice`` is auto, none, required, or a tool's name after ``tool:``.

    ``output_schema`` is what the answer must match, ``json_output`` that it be
    JSON at all. ``other_tools`` are tools of the provider's own, as its format
    writes them; ``essentials`` fields of the body (`OtherPart.value` is an object of
    them) that the call means nothing without: several choices, a conversation that
    the provider keeps. Parameters that are None were not given.
    """

    model: str | None = None
    messages: tuple[Message, ...] = field(default=(), repr=False)
    tools: tuple[Tool, ...] = field(default=(), repr=False)
    other_tools: tuple[OtherPart, ...] = field(default=(), repr=False)
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_output: bool = False
    output_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    output_name: str | None = None
    output_strict: bool | None = None
    reasoning_effort: str | None = None
    reasoning_budget: int | None = None
    user: str | None = field(default=None, repr=False)
    stream: bool = False
    essentials: tuple[OtherPart, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens: ``input`` includes what was read from and written to a cache, ``output`` what was thought."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_written: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. ``finish`` is stop, length, tool_calls, content_filter, refusal or error; None while unknown."""

    id: str | None = None
    model: str | None = None
    parts: tuple[Part, ...] = field(default=(), repr=False)
    finish: str | None = None
    usage: Usage | None = None
    extra: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A stream has begun."""

    id: str | None = None
    model: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More prose."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More of a refusal."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More thought, or its signature, or its encrypted form."""

    text: str = field(default="", repr=False)
    signature: str | None = field(default=None, repr=False)
    sealed: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallOpened:
    """A tool call begins: the ``index``-th of the reply, from zero."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """More of a tool call's arguments, as JSON text."""

    index: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartDelta:
    """A part that comes whole: media, or what only one format has (others refuse to write it)."""

    part: Part = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the reply ends; usage may still follow."""

    reason: str
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over; ``error`` says why, where it broke off."""

    usage: Usage | None = None
    error: str | None = None


Delta: TypeAlias = (
    Opened
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ToolCallOpened
    | ArgumentsDelta
    | PartDelta
    | Finish
    | Ended
)
