"""openai-realtime: the events of a ``/realtime`` or ``/live`` connection, each way, and the calls that set one up.

A connection has no end of its own, so nothing here ends a stream: a response
closes its own texts, and a transcript that goes on for ever is cut into sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..types import Stage
from .openai import OPAQUE, error_body, integer, mapping, read_definitions, read_unknown, string
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

# Keys whose strings are enumerations, ids or secrets; any other may be prose.
_PASSED = OPAQUE | {
    "anchor",
    "client_secret",
    "event_id",
    "group_id",
    "include",
    "input_audio_format",
    "language",
    "logprobs",
    "max_output_tokens",
    "max_response_output_tokens",
    "metadata",
    "modalities",
    "model",
    "output_audio_format",
    "output_modalities",
    "previous_item_id",
    "reasoning",
    "response_id",
    "sdp",
    "stream_id",
    "target_uri",
    "tool_choice",
    "tracing",
    "transport",
    "truncation",
    "value",
    "voice",
}
# Where a string is sound, and an object its settings.
_SOUND = frozenset({"audio"})
_NESTED = frozenset({"session", "response"})
_ITEMS = frozenset({"item", "input", "output", "items"})
_INSTRUCTIONS = frozenset({"instructions"})
# Stream families: the field in which the event that ends a text says it whole, the stage, and the role.
_FAMILIES: Mapping[str, tuple[str, Stage, str]] = {
    "response.function_call_arguments": ("arguments", Stage.TOOL_CALL, "assistant"),
    "response.mcp_call_arguments": ("arguments", Stage.TOOL_CALL, "assistant"),
    "response.output_audio_transcript": ("transcript", Stage.RESPONSE, "assistant"),
    "response.audio_transcript": ("transcript", Stage.RESPONSE, "assistant"),
    "conversation.item.input_audio_transcription": ("transcript", Stage.PROMPT, "user"),
    "session.input_transcript": ("transcript", Stage.PROMPT, "user"),
}
_SOUND_FAMILIES = frozenset({"response.output_audio", "response.audio", "session.output_audio"})
_ENDLESS = frozenset({"session.input_transcript", "session.output_transcript"})
_ENDS = (".", "!", "?", "\n", "\u3002", "\uff01", "\uff1f")
_LONGEST = 2_000
# Events that say again what was sent, or name what is still to be filled.
_ECHOES = frozenset(
    {"session.created", "session.updated", "session.started", "response.created", "response.output_item.added"}
)
# As many names of tools as are remembered; a response has few.
_MOST_TOOLS = 1_000


def read_call(body: Any) -> CallRead:
    """One event to be sent, or the body of a call that sets up a session: instructions, tools, items."""
    said = mapping(body)
    session = mapping(said.get("session"))
    model = string(said.get("model")) or string(session.get("model"))
    return CallRead(model, stream=False, texts=tuple(_session(said, ())))


def read_params(body: Any) -> Params:  # noqa: ARG001 - a session's are not those of one inference
    """Nothing."""
    return Params()


def read_reply(body: Any) -> ReplyRead:
    """What a session was set up with, said again: no text that is new."""
    said = mapping(body)
    return ReplyRead(
        (), Summary(id=string(said.get("id")), model=string(mapping(said.get("session")).get("model")))
    )


class Reader:
    """Reads the events that are received; keeps the names of tools that are called, and adds up the tokens."""

    def __init__(self) -> None:
        self._tools: dict[str, str | None] = {}
        self._lengths: dict[Channel, int] = {}
        self._input_tokens = self._output_tokens = 0

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: a delta, the end of a text, an item, or a whole response."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        if kind == "response.event" and isinstance(said.get("event"), dict):
            return _below("event", self._read(said["event"], string(said["event"].get("type")) or ""))
        return self._read(said, kind) if said else EventRead(tuple(read_unknown(data)))

    def _read(self, said: Any, kind: str) -> EventRead:
        family, _, end = kind.rpartition(".")
        if end == "delta":
            return self._delta(said, family)
        item = mapping(said.get("item"))
        self._remember(item)
        if kind in _ECHOES:
            return EventRead()
        closes: tuple[Channel, ...] = ()
        summary = None
        response = mapping(said.get("response"))
        if kind in ("response.done", "response.completed", "response.failed", "response.incomplete"):
            closes = ((string(response.get("id")) or "",),)
            summary = self._summary(response)
        elif end in ("done", "completed", "failed") or "segment" in end:
            closes = (_channel(said, family),) if not item else ((_response(said), string(item.get("id")) or ""),)
        return EventRead(tuple(self._whole(said, family, kind)), closes, summary)

    def _delta(self, said: Any, family: str) -> EventRead:
        if family in _SOUND_FAMILIES:
            return EventRead()
        channel = _channel(said, family)
        texts = tuple(
            text._replace(channel=(*channel, *text.path[1:])) for text in self._spoken(said, "delta", family)
        )
        if family not in _ENDLESS:
            return EventRead(texts)
        length = self._lengths.get(channel, 0) + sum(len(text.value) for text in texts)
        ended = length > _LONGEST or any(text.value.rstrip(" ").endswith(_ENDS) for text in texts)
        self._lengths[channel] = 0 if ended else length
        return EventRead(texts, (channel,) if ended else ())

    def _whole(self, said: Any, family: str, kind: str) -> Iterator[Text]:
        role = "user" if _field(family)[1] is Stage.PROMPT else "assistant"
        if kind.startswith("conversation.item.") and "item" not in said:
            role = "user"
        for key, value in said.items():
            if key in _NESTED:
                for name in _ITEMS:
                    yield from _items(mapping(value).get(name), (key, name), Stage.RESPONSE, "assistant")
                yield from _leaves(
                    mapping(value).get("status_details"), (key, "status_details"), Stage.RESPONSE, role
                )
            elif key == "item":
                yield from _items(value, (key,), Stage.RESPONSE, "assistant")
            elif key == _field(family)[0]:
                yield from self._spoken(said, key, family)
            elif key not in _PASSED and key not in ("usage", "rate_limits"):
                stage = Stage.PROMPT if role == "user" else Stage.RESPONSE
                yield from _leaves(value, (key,), stage, role)

    def _spoken(self, said: Any, key: str, family: str) -> Iterator[Text]:
        """What an event says of one text: more of it, or all of it again."""
        _, stage, role = _field(family)
        shadows: tuple[Path, ...] = (("logprobs",),) if said.get("logprobs") else ()
        tool = self._tools.get(string(said.get("item_id")) or "") or string(said.get("name"))
        called = tool if stage is Stage.TOOL_CALL else None
        for place, value in leaves(said.get(key), (key,), _PASSED):
            if value:
                yield Text(place, value, stage, role, called, None, stage is Stage.TOOL_CALL, shadows)

    def _remember(self, item: Any) -> None:
        identity = string(item.get("id"))
        if identity is not None and string(item.get("name")) is not None:
            if len(self._tools) >= _MOST_TOOLS:
                self._tools.clear()
            self._tools[identity] = string(item.get("name"))

    def _summary(self, response: Any) -> Summary:
        usage = mapping(response.get("usage"))
        self._input_tokens += integer(usage.get("input_tokens")) or 0
        self._output_tokens += integer(usage.get("output_tokens")) or 0
        return Summary(
            id=string(response.get("id")),
            model=string(response.get("model")),
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
        )


def refuse(message: str) -> dict[str, Any]:
    """An error event."""
    return fail(message, "refused")[1]


def fail(message: str, code: str) -> tuple[str | None, dict[str, Any]]:
    """The event that says what went wrong."""
    return "error", {"type": "error", "event_id": "event_highflame", **error_body(message, code)}


def _below(key: str, read: EventRead) -> EventRead:
    """What was read of an event that stands inside another."""
    texts = tuple(
        text._replace(path=(key, *text.path), shadows=tuple((key, *shadow) for shadow in text.shadows))
        for text in read.texts
    )
    return EventRead(texts, read.closes, read.summary)


def _field(family: str) -> tuple[str, Stage, str]:
    return _FAMILIES.get(family) or ("text", Stage.RESPONSE, "assistant")


def _response(said: Any) -> str:
    return string(said.get("response_id")) or ""


def _channel(said: Any, family: str) -> Channel:
    """Which text an event is about: the response, the item, the kind of text, its number in the item."""
    place = string(said.get("item_id")) or integer(said.get("output_index")) or ""
    return (_response(said), place, family, integer(said.get("content_index")) or 0)


def _session(said: Any, path: Path) -> Iterator[Text]:
    """The texts of a session, of a response that is asked for, or of an event that holds one of them."""
    for key, value in said.items():
        place = (*path, key)
        if key in _NESTED and isinstance(value, dict) and len(path) < len(_NESTED):
            yield from _session(value, place)
        elif key in _INSTRUCTIONS:
            yield from _leaves(value, place, Stage.PROMPT, "system")
        elif key == "tools":
            yield from read_definitions(value, place)
        elif key in _ITEMS:
            yield from _items(value, place, Stage.PROMPT, "user")
        elif key == "prompt":
            # The caller has named the variables: what looks like a key of this API's is none.
            for name, variable in mapping(mapping(value).get("variables")).items():
                yield from _leaves(variable, (*place, "variables", name), Stage.PROMPT, "user")
        elif key not in _PASSED:
            yield from _leaves(value, place, Stage.PROMPT, "user")


def _items(value: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _item(item, (*path, index), stage, role)
    else:
        yield from _item(value, path, stage, role)


def _item(item: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    """Every text of one item of the conversation."""
    if not isinstance(item, dict):
        yield from _leaves(item, path, stage, role)
        return
    said_by = string(item.get("role")) or role
    kind = string(item.get("type")) or "message"
    if stage is Stage.RESPONSE and said_by in ("user", "system"):
        stage = Stage.PROMPT
    tool = string(item.get("name")) or (kind if kind != "message" else None)
    if kind.endswith("_call") and item.get("arguments") in (None, ""):
        yield Text((*path, "arguments"), "", Stage.TOOL_CALL, "assistant", tool)
    for key, value in item.items():
        place = (*path, key)
        if key == "arguments":
            for where, found in leaves(value, place, frozenset()):
                if found:
                    yield Text(where, found, Stage.TOOL_CALL, "assistant", tool, None, where == place)
        elif key in ("output", "error"):
            yield from _leaves(value, place, Stage.TOOL_RESULT, "tool", tool)
        elif key == "tools":
            yield from read_definitions(value, place)
        elif key not in _PASSED:
            yield from _leaves(value, place, stage, said_by)


def _leaves(value: Any, path: Path, stage: Stage, role: str, tool: str | None = None) -> Iterator[Text]:
    for place, found in leaves(value, path, _PASSED):
        if found and place[-1] not in _SOUND:
            yield Text(place, found, stage, role, tool)


CODEC = Codec(
    name="openai-realtime",
    provider="openai",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    media=("application/sdp", "audio/", "application/octet-stream"),
)
