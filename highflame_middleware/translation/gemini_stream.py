"""Gemini's streams: replies in pieces, each with what is new; nothing says that there will be no more.

Signatures of what is no thought are not passed on: a stream's pieces have no room for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .conversation import (
    ArgumentsDelta,
    Delta,
    Ended,
    Finish,
    MediaPart,
    Opened,
    Part,
    PartDelta,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    TextDelta,
    TextPart,
    ToolCallOpened,
    ToolCallPart,
    Usage,
)
from .fields import integer, mapping, string
from .gemini_parts import (
    NAME,
    is_base64,
    read_finish,
    read_part,
    read_usage,
    spelt,
    write_finish,
    write_part,
    write_usage,
)
from .leftovers import Held, Lost, objects_of, total
from .translator import UntranslatableError
from .turns import parse_arguments

__all__ = ["StreamReader", "StreamWriter"]

_BROKEN = "the stream broke off"


class StreamReader:
    """Reads a stream."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._calls = 0
        self._usage: Usage | None = None
        self._told: Usage | None = None
        self._opened = self._finished = self._ended = False

    @total
    def read(self, data: Any, event: str | None) -> Sequence[Delta]:  # noqa: ARG002 - Gemini's events have no names
        """What one piece says."""
        return () if self._ended else list(self._read(spelt(data)))

    def _read(self, said: dict[str, Any]) -> Iterator[Delta]:
        if "error" in said:
            self._ended = True
            yield Ended(error=string(mapping(said["error"]).get("message")) or _BROKEN)
            return
        if not self._opened:
            self._opened = True
            self._id = string(said.get("responseId"))
            yield Opened(id=self._id, model=string(said.get("modelVersion")))
        self._usage = read_usage(said.get("usageMetadata")) or self._usage
        candidates = objects_of(said.get("candidates", ()), "candidates")
        for item in candidates:
            candidate = spelt(item)
            if integer(candidate.get("index")):
                raise UntranslatableError("the stream has several candidates")
            for value in objects_of(spelt(candidate.get("content")).get("parts", ()), "parts"):
                yield from self._tell(read_part(value, place=f"{self._id}.{self._calls}"))
            reason = read_finish(candidate.get("finishReason"), calls=self._calls > 0)
            yield from self._finish(reason)
        if not candidates and mapping(said.get("promptFeedback")):
            yield from self._finish("content_filter")

    def _tell(self, part: Part) -> Iterator[Delta]:
        if isinstance(part, TextPart):
            if part.text:
                yield TextDelta(part.text)
        elif isinstance(part, ReasoningPart):
            if part.text or part.signature is not None:
                yield ReasoningDelta(part.text, signature=part.signature)
        elif isinstance(part, ToolCallPart):
            yield ToolCallOpened(self._calls, part.id, part.name)
            yield ArgumentsDelta(self._calls, part.arguments)
            self._calls += 1
        else:
            yield PartDelta(part)

    def _finish(self, reason: str | None) -> Iterator[Delta]:
        if reason is not None and not self._finished:
            self._finished, self._told = True, self._usage
            yield Finish(reason, self._usage)

    def finish(self) -> Sequence[Delta]:
        """The end, which nothing says but that the bytes end."""
        if self._ended:
            return ()
        self._ended = True
        usage = self._usage if self._usage != self._told else None
        return (Ended(usage, error=None if self._finished else _BROKEN),)


class StreamWriter:
    """Writes a stream. A tool's call is written when all of it is there, which is when anything else follows."""

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._id: str | None = None
        self._calls: dict[int, tuple[ToolCallOpened, list[str]]] = {}
        self._written: set[int] = set()
        self._held = Held()
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._ended = False

    @total
    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The pieces that say a delta."""
        return () if self._ended else [(None, piece) for piece in self._say(delta)]

    def _say(self, delta: Delta) -> Iterator[dict[str, Any]]:
        if isinstance(delta, Opened):
            self._id, self._model = delta.id, delta.model or self._model
            self._usage = delta.usage
        elif isinstance(delta, ToolCallOpened | ArgumentsDelta):
            self._hold(delta)
        elif isinstance(delta, Finish):
            self._finish = delta
            yield from self._flush()
        elif isinstance(delta, Ended):
            yield from self._end(delta)
        elif part := _part_of(delta):
            yield from self._flush()
            yield self._piece({"content": {"parts": [part], "role": "model"}, "index": 0})

    def _hold(self, delta: ToolCallOpened | ArgumentsDelta) -> None:
        if isinstance(delta, ToolCallOpened):
            if delta.index in self._calls or delta.index in self._written:
                raise UntranslatableError("a tool call begins twice")
            self._calls[delta.index] = (delta, [])
        elif delta.index not in self._calls:
            raise UntranslatableError("arguments belong to a tool call that is not open")
        else:
            self._calls[delta.index][1].append(self._held.add(delta.text))

    def _flush(self) -> Iterator[dict[str, Any]]:
        """The calls that are whole now."""
        calls, self._calls = self._calls, {}
        self._written.update(calls)
        for call, pieces in calls.values():
            said = {"name": call.name, "args": parse_arguments("".join(pieces)), "id": call.id}
            yield self._piece({"content": {"parts": [{"functionCall": said}], "role": "model"}, "index": 0})

    def _piece(self, candidate: dict[str, Any], usage: Usage | None = None) -> dict[str, Any]:
        piece: dict[str, Any] = {"candidates": [candidate]}
        if usage is not None:
            piece["usageMetadata"] = write_usage(usage)
        if self._model is not None:
            piece["modelVersion"] = self._model
        if self._id is not None:
            piece["responseId"] = self._id
        return piece

    def _end(self, ended: Ended) -> Iterator[dict[str, Any]]:
        self._ended = True
        yield from self._flush()
        if ended.error is not None:
            yield {"error": {"code": 500, "message": ended.error, "status": "INTERNAL"}}
            return
        finish = self._finish or Finish("stop")
        content = {"parts": [{"text": ""}], "role": "model"}
        candidate = {"content": content, "finishReason": write_finish(finish.reason), "index": 0}
        yield self._piece(candidate, ended.usage or finish.usage or self._usage)


def _part_of(delta: Delta) -> dict[str, Any] | None:
    if isinstance(delta, TextDelta | RefusalDelta):
        return {"text": delta.text} if delta.text else None
    if isinstance(delta, ReasoningDelta):
        signed = delta.signature is not None and is_base64(delta.signature)
        if not delta.text and not signed:
            return None
        signature = {"thoughtSignature": delta.signature} if signed else {}
        return {"text": delta.text, "thought": True, **signature}
    if isinstance(delta, PartDelta):
        part = delta.part
        if isinstance(part, MediaPart) and part.data is None and part.url is None and part.file_id is None:
            raise UntranslatableError("there is nothing in one medium")
        return write_part(part, Lost(NAME), names={}, answering=True)
    return None
