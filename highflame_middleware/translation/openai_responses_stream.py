"""The events of openai-responses: read into deltas of one reply, and written from them.

A stream says everything more than once: what has come in pieces is not read
again where it is repeated, and what is written in pieces is repeated whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .conversation import (
    ArgumentsDelta,
    Delta,
    Ended,
    Finish,
    MediaPart,
    Opened,
    OtherPart,
    Part,
    PartDelta,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
    ToolCallOpened,
    ToolCallPart,
    Usage,
)
from .fields import integer, mapping, sequence, string
from .openai_parts import read_usage, write_usage
from .openai_responses_items import read_output, write_item
from .openai_responses_reply import USAGE, new_response, read_finish, write_finish
from .translator import UntranslatableError

__all__ = ["Reader", "Writer"]

Events: TypeAlias = "list[tuple[str | None, Any]]"

_DELTAS: dict[str, type[TextDelta] | type[RefusalDelta] | type[ReasoningDelta]] = {
    "response.output_text.delta": TextDelta,
    "response.refusal.delta": RefusalDelta,
    "response.reasoning_text.delta": ReasoningDelta,
    "response.reasoning_summary_text.delta": ReasoningDelta,
}
_ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ARGUMENTS = "response.function_call_arguments"


class Reader:
    """Reads events; keeps which items have come, and which of them in pieces."""

    def __init__(self) -> None:
        self._opened = False
        self._ended = False
        self._refused = False
        self._calls: dict[int, int] = {}
        self._streamed: set[int] = set()
        self._whole: set[int] = set()

    def read(self, data: Any, event: str | None) -> Sequence[Delta]:
        """The deltas of one event."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        return () if self._ended else tuple(self._read(said, kind))

    def finish(self) -> Sequence[Delta]:
        """The end; a stream that never said how it ended has broken off."""
        if self._ended:
            return ()
        self._ended = True
        return (Ended(error="the stream broke off"),)

    def _read(self, said: Any, kind: str) -> Iterator[Delta]:
        place = integer(said.get("output_index")) or 0
        response = mapping(said.get("response"))
        if response and not self._opened:
            self._opened = True
            yield Opened(id=string(response.get("id")), model=string(response.get("model")))
        if kind in _DELTAS:
            self._streamed.add(place)
            yield from self._piece(_DELTAS[kind], said)
        elif kind == f"{_ARGUMENTS}.delta":
            self._streamed.add(place)
            if place in self._calls and (text := string(said.get("delta"))):
                yield ArgumentsDelta(self._calls[place], text)
        elif kind == "response.output_item.added":
            yield from self._call(mapping(said.get("item")), place)
        elif kind == "response.reasoning_summary_part.added" and integer(said.get("summary_index")):
            yield ReasoningDelta("\n\n")
        elif kind == "response.output_item.done":
            yield from self._item(said.get("item"), place)
        elif kind in _ENDINGS:
            for number, item in enumerate(sequence(response.get("output"))):
                yield from self._item(item, number)
            yield from self._end(response)
        elif kind == "error" or "error" in said:
            self._ended = True
            yield Ended(error=_message(said) or _message(said.get("error")) or "the provider ended the stream")

    def _piece(self, delta: Any, said: Any) -> Iterator[Delta]:
        if text := string(said.get("delta")):
            self._refused = self._refused or delta is RefusalDelta
            yield delta(text)

    def _call(self, item: Any, place: int) -> Iterator[Delta]:
        """The beginning of a tool call."""
        identity, name = string(item.get("call_id")), string(item.get("name"))
        if item.get("type") != "function_call" or identity is None or name is None or place in self._calls:
            return
        self._calls[place] = len(self._calls)
        yield ToolCallOpened(self._calls[place], identity, name)

    def _item(self, item: Any, place: int) -> Iterator[Delta]:
        """An item that is whole: of what came in pieces only what cannot come so."""
        if place in self._whole:
            return
        self._whole.add(place)
        streamed = place in self._streamed
        yield from self._call(mapping(item), place)
        for part in read_output([item]):
            if isinstance(part, ReasoningPart):
                text = "" if streamed else part.text
                if text or part.sealed is not None:
                    yield ReasoningDelta(text, sealed=part.sealed)
            elif isinstance(part, OtherPart):
                if not streamed or "item" in part.value:
                    yield PartDelta(part)
            elif not streamed:
                yield from self._said(part, place)

    def _said(self, part: Part, place: int) -> Iterator[Delta]:
        if isinstance(part, TextPart) and part.text:
            yield TextDelta(part.text)
        elif isinstance(part, RefusalPart) and part.text:
            self._refused = True
            yield RefusalDelta(part.text)
        elif isinstance(part, ToolCallPart) and part.arguments:
            yield ArgumentsDelta(self._calls[place], part.arguments)

    def _end(self, response: Any) -> Iterator[Delta]:
        self._ended = True
        usage = read_usage(response.get("usage"), USAGE)[0]
        reason = read_finish(response, called=bool(self._calls), refused=self._refused)
        if reason == "error":
            yield Ended(usage=usage, error=_message(response.get("error")) or "the provider failed")
            return
        yield Finish(reason or "stop")
        yield Ended(usage=usage)


def _message(error: Any) -> str | None:
    return string(mapping(error).get("message"))


@dataclass(slots=True)
class _Item:
    """An item that is being written: what it will be, and the text that its last part has so far."""

    place: int
    body: dict[str, Any] = field(repr=False)
    part: dict[str, Any] | None = field(default=None, repr=False)
    pieces: list[str] = field(default_factory=list, repr=False)

    @property
    def where(self) -> dict[str, Any]:
        return {"item_id": self.body["id"], "output_index": self.place}


# By the kind of a text: the item that it is in, there the key of its parts and their number, the events' name.
_KINDS = {
    "output_text": ("message", "content", "content_index", "content_part", "text"),
    "refusal": ("message", "content", "content_index", "content_part", "refusal"),
    "summary_text": ("reasoning", "summary", "summary_index", "reasoning_summary_part", "text"),
}
_FAMILIES = {"output_text": "output_text", "refusal": "refusal", "summary_text": "reasoning_summary_text"}


class Writer:
    """Writes events. Tool calls stay open until the end, for pieces of several may come by turns."""

    def __init__(self, model: str | None) -> None:
        self._response = new_response(None, model)
        self._opened = False
        self._number = 0
        self._items: list[_Item] = []
        self._open_item: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._refused = False
        self._finish: str | None = None
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The events that say a delta."""
        if isinstance(delta, Opened):
            self._usage = delta.usage
            found = {key: value for key in ("id", "model") if (value := getattr(delta, key)) is not None}
            self._response.update(found)
            return self._open()
        if isinstance(delta, Finish):
            self._finish, self._usage = delta.reason, delta.usage or self._usage
            return ()
        if isinstance(delta, Ended):
            return [*self._open(), *self._end(delta)]
        return [*self._open(), *self._said(delta)]

    def _open(self) -> Events:
        if self._opened:
            return []
        self._opened = True
        kinds = ("response.created", "response.in_progress")
        return [self._event(kind, {"response": dict(self._response)}) for kind in kinds]

    def _said(self, delta: Delta) -> Events:
        if isinstance(delta, TextDelta):
            return self._text("output_text", delta.text)
        if isinstance(delta, RefusalDelta):
            self._refused = True
            return self._text("refusal", delta.text)
        if isinstance(delta, ReasoningDelta):
            # A signature has no place here.
            out = self._text("summary_text", delta.text) if delta.text else []
            return out if delta.sealed is None else out + self._sealed(delta.sealed)
        if isinstance(delta, ToolCallOpened):
            return self._call(delta)
        if isinstance(delta, ArgumentsDelta):
            if (item := self._calls.get(delta.index)) is None:
                raise UntranslatableError("a stream goes on with a tool call that never began")
            item.pieces.append(delta.text)
            return [self._event(f"{_ARGUMENTS}.delta", {**item.where, "delta": delta.text})]
        if isinstance(delta, PartDelta) and not isinstance(delta.part, MediaPart):
            return self._part(delta.part)
        raise UntranslatableError("a stream brings what openai-responses has no words for")

    def _begin(self, body: dict[str, Any]) -> tuple[_Item, Events]:
        item = _Item(len(self._items), body)
        self._items.append(item)
        return item, [self._event("response.output_item.added", {"output_index": item.place, "item": dict(body)})]

    def _identity(self, prefix: str) -> str:
        return f"{prefix}_{self._response['id']}_{len(self._items)}"

    def _text(self, kind: str, text: str) -> Events:
        out: Events = []
        item = self._open_item
        owner, key, number, part_name, field_name = _KINDS[kind]
        if item is None or item.body["type"] != owner:
            out += self._close_open()
            item, events = self._begin(self._empty(owner))
            self._open_item = item
            out += events
        if item.part is None or item.part["type"] != kind:
            out += self._close_part(item)
            item.part = {"type": kind, field_name: ""}
            if kind == "output_text":
                item.part["annotations"] = []
            where = {**item.where, number: len(item.body[key])}
            out.append(self._event(f"response.{part_name}.added", {**where, "part": dict(item.part)}))
        item.pieces.append(text)
        said: dict[str, Any] = {**item.where, number: len(item.body[key]), "delta": text}
        if kind == "output_text":
            said["logprobs"] = []
        out.append(self._event(f"response.{_FAMILIES[kind]}.delta", said))
        return out

    def _empty(self, kind: str) -> dict[str, Any]:
        if kind == "reasoning":
            return {"id": self._identity("rs"), "type": kind, "summary": []}
        fields = {"status": "in_progress", "role": "assistant", "content": []}
        return {"id": self._identity("msg"), "type": kind, **fields}

    def _sealed(self, sealed: str) -> Events:
        """Encrypted thoughts end their item: they stand in it once it is done."""
        out: Events = []
        if self._open_item is None or self._open_item.body["type"] != "reasoning":
            out += self._close_open()
            self._open_item, events = self._begin(self._empty("reasoning"))
            out += events
        self._open_item.body["encrypted_content"] = sealed
        return out + self._close_open()

    def _call(self, delta: ToolCallOpened) -> Events:
        out = self._close_open()
        fields = {"status": "in_progress", "arguments": "", "call_id": delta.id, "name": delta.name}
        item, events = self._begin({"id": self._identity("fc"), "type": "function_call", **fields})
        self._calls[delta.index] = item
        return out + events

    def _part(self, part: Part) -> Events:
        """An item that comes whole, as only this format has it."""
        out = self._close_open()
        item, events = self._begin(write_item(part))
        return [*out, *events, self._done(item)]

    def _close_open(self) -> Events:
        item, self._open_item = self._open_item, None
        if item is None:
            return []
        out = self._close_part(item)
        if "status" in item.body:
            item.body["status"] = "completed"
        return [*out, self._done(item)]

    def _close_part(self, item: _Item) -> Events:
        part, item.part = item.part, None
        if part is None:
            return []
        kind = part["type"]
        _, key, number, part_name, field_name = _KINDS[kind]
        part[field_name] = text = "".join(item.pieces)
        item.pieces.clear()
        where = {**item.where, number: len(item.body[key])}
        item.body[key] = [*item.body[key], part]
        said: dict[str, Any] = {**where, field_name: text}
        if kind == "output_text":
            said["logprobs"] = []
        return [
            self._event(f"response.{_FAMILIES[kind]}.done", said),
            self._event(f"response.{part_name}.done", {**where, "part": part}),
        ]

    def _done(self, item: _Item) -> tuple[str, Any]:
        return self._event("response.output_item.done", {"output_index": item.place, "item": dict(item.body)})

    def _end(self, delta: Ended) -> Events:
        if delta.error is not None:
            said = {"code": "server_error", "message": delta.error, "param": None}
            # The API says it beside the type; the SDK raises what stands under error, and gives the rest out.
            return [self._event("error", {**said, "error": {"type": "server_error", **said}})]
        out = self._close_open()
        for item in self._calls.values():
            arguments = "".join(item.pieces)
            item.body.update(arguments=arguments, status="completed")
            said = {**item.where, "name": item.body["name"], "arguments": arguments}
            out += [self._event(f"{_ARGUMENTS}.done", said), self._done(item)]
        response = {**self._response, **write_finish(self._finish, refused=self._refused)}
        response["output"] = [item.body for item in self._items]
        if (usage := delta.usage or self._usage) is not None:
            response["usage"] = write_usage(usage, USAGE, details=True)
        return [*out, self._event(f"response.{response['status']}", {"response": response})]

    def _event(self, kind: str, said: dict[str, Any]) -> tuple[str, Any]:
        event = {"type": kind, "sequence_number": self._number, **said}
        self._number += 1
        return kind, event
