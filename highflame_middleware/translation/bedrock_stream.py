"""ConverseStream: blocks that grow and end one after the other, then why it stopped, then what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .bedrock_blocks import NAME, read_finish, read_usage, write_blocks, write_finish, write_usage
from .conversation import (
    ArgumentsDelta,
    Delta,
    Ended,
    Finish,
    MediaPart,
    Opened,
    OtherPart,
    PartDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallOpened,
    Usage,
)
from .fields import integer, mapping, string
from .leftovers import Held, Lost, total
from .translator import UntranslatableError
from .turns import safe_id

__all__ = ["StreamReader", "StreamWriter"]

_BROKEN = "the stream broke off"


class StreamReader:
    """Reads a stream."""

    def __init__(self) -> None:
        self._tools: dict[int, int] = {}
        self._opened = self._finished = self._ended = False

    @total
    def read(self, data: Any, event: str | None) -> Sequence[Delta]:
        """What one event says, by its name."""
        if self._ended:
            return ()
        said = mapping(data)
        out: list[Delta] = []
        if not self._opened and event in ("messageStart", "contentBlockStart", "contentBlockDelta", "messageStop"):
            self._opened = True
            out.append(Opened())
        index = integer(said.get("contentBlockIndex")) or 0
        if event == "contentBlockStart":
            out.extend(self._begin(index, mapping(said.get("start"))))
        elif event == "contentBlockDelta":
            out.extend(self._grow(index, mapping(said.get("delta"))))
        elif event == "messageStop" and not self._finished:
            self._finished = True
            out.append(Finish(read_finish(said.get("stopReason")) or "stop"))
        elif event == "metadata":
            self._ended = True
            out.append(self._end(read_usage(said.get("usage"))))
        elif event is not None and event.endswith("Exception"):
            self._ended = True
            out.append(Ended(error=string(said.get("message")) or _BROKEN))
        return out

    def finish(self) -> Sequence[Delta]:
        """The end of a stream that did not say so."""
        if self._ended:
            return ()
        self._ended = True
        return (self._end(None),)

    def _end(self, usage: Usage | None) -> Ended:
        return Ended(usage, error=None if self._finished else _BROKEN)

    def _begin(self, index: int, start: Any) -> Iterator[Delta]:
        if not start:
            return
        call = mapping(start.get("toolUse"))
        if not call or "type" in call:
            # Tools that Bedrock runs itself are typed; nobody else has those.
            raise UntranslatableError(f"{NAME} streams a block that is not known")
        number = self._tools[index] = len(self._tools)
        yield ToolCallOpened(number, string(call.get("toolUseId")) or "", string(call.get("name")) or "")

    def _grow(self, index: int, delta: Any) -> Iterator[Delta]:
        if isinstance(delta.get("text"), str):
            if delta["text"]:
                yield TextDelta(delta["text"])
        elif isinstance(thought := delta.get("reasoningContent"), dict):
            text, signature = string(thought.get("text")) or "", string(thought.get("signature"))
            sealed = string(thought.get("redactedContent"))
            if text or signature is not None or sealed is not None:
                yield ReasoningDelta(text, signature=signature, sealed=sealed)
        elif isinstance(call := delta.get("toolUse"), dict) and index in self._tools:
            if isinstance(call.get("input"), str) and call["input"]:
                yield ArgumentsDelta(self._tools[index], call["input"])
        elif delta and "citation" not in delta:
            raise UntranslatableError(f"{NAME} streams a block that grows in a way that is not known")


class StreamWriter:
    """Writes a stream: one block open at a time.

    Tools that are called while another's arguments still grow wait until those are whole, which
    is when anything else follows: formats that write them at once need not say when one ends.
    """

    def __init__(self, model: str | None = None) -> None:  # noqa: ARG002 - no event names one
        self._index = -1
        self._open: str | None = None
        self._calls: dict[int, int | list[str]] = {}
        self._waiting: list[ToolCallOpened] = []
        self._held = Held()
        self._usage: Usage | None = None
        self._started = self._stopped = self._ended = False

    @total
    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The events that say a delta."""
        return () if self._ended else list(self._say(delta))

    def _say(self, delta: Delta) -> Iterator[tuple[str, Any]]:
        if not self._started and not (isinstance(delta, Ended) and delta.error is not None):
            self._started = True
            yield "messageStart", {"role": "assistant"}
        if isinstance(delta, Opened):
            self._usage = delta.usage
        elif isinstance(delta, TextDelta | RefusalDelta):
            if delta.text:
                yield from self._grow("text", {"text": delta.text})
        elif isinstance(delta, ReasoningDelta):
            yield from self._think(delta)
        elif isinstance(delta, ToolCallOpened | ArgumentsDelta):
            yield from self._call_or_argue(delta)
        elif isinstance(delta, PartDelta):
            self._refuse(delta)
        elif isinstance(delta, Finish):
            yield from self._stop(delta)
        elif isinstance(delta, Ended):
            yield from self._end(delta)

    def _refuse(self, delta: PartDelta) -> None:
        """Streams of this format have no whole parts; media, which other replies may have, are refused by name."""
        write_blocks((delta.part,), Lost(NAME), answering=True)
        kind = delta.part.kind if isinstance(delta.part, MediaPart) else "such a part"
        if isinstance(delta.part, MediaPart | OtherPart):
            raise UntranslatableError(f"{NAME} does not stream {kind}")

    def _close(self) -> Iterator[tuple[str, Any]]:
        """End the open block, and write the calls that waited for it."""
        if self._open is None:
            return
        self._open = None
        yield "contentBlockStop", {"contentBlockIndex": self._index}
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            pieces = self._calls[call.index]
            yield from self._call(call)
            if isinstance(pieces, list) and pieces:
                yield self._delta({"toolUse": {"input": "".join(pieces)}})
            self._open = None
            yield "contentBlockStop", {"contentBlockIndex": self._index}

    def _delta(self, delta: dict[str, Any]) -> tuple[str, Any]:
        return "contentBlockDelta", {"delta": delta, "contentBlockIndex": self._index}

    def _grow(self, kind: str, delta: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """More of a block, which begins with its first piece."""
        if self._open != kind:
            yield from self._close()
            self._index += 1
            self._open = kind
        yield self._delta(delta)

    def _think(self, delta: ReasoningDelta) -> Iterator[tuple[str, Any]]:
        if delta.text:
            yield from self._grow("thinking", {"reasoningContent": {"text": delta.text}})
        if delta.signature is not None:
            yield from self._grow("thinking", {"reasoningContent": {"signature": delta.signature}})
            yield from self._close()
        if delta.sealed is not None:
            yield from self._close()
            yield from self._grow("sealed", {"reasoningContent": {"redactedContent": delta.sealed}})
            yield from self._close()

    def _call_or_argue(self, delta: ToolCallOpened | ArgumentsDelta) -> Iterator[tuple[str, Any]]:
        place = self._calls.get(delta.index)
        if isinstance(delta, ToolCallOpened):
            if place is not None:
                raise UntranslatableError("a tool call begins twice")
            if self._open == "toolUse":
                self._calls[delta.index] = []
                self._waiting.append(delta)
            else:
                yield from self._call(delta)
        elif isinstance(place, list):
            place.append(self._held.add(delta.text))
        elif place is None or self._open is None or place != self._index:
            raise UntranslatableError("arguments belong to a tool call that is not open")
        elif delta.text:
            yield self._delta({"toolUse": {"input": delta.text}})

    def _call(self, call: ToolCallOpened) -> Iterator[tuple[str, Any]]:
        yield from self._close()
        self._index += 1
        self._open = "toolUse"
        self._calls[call.index] = self._index
        start = {"toolUse": {"toolUseId": safe_id(call.id), "name": call.name}}
        yield "contentBlockStart", {"start": start, "contentBlockIndex": self._index}

    def _stop(self, finish: Finish) -> Iterator[tuple[str, Any]]:
        if self._stopped:
            return
        self._stopped = True
        self._usage = finish.usage or self._usage
        yield from self._close()
        yield "messageStop", {"stopReason": write_finish(finish.reason)}

    def _end(self, ended: Ended) -> Iterator[tuple[str, Any]]:
        self._ended = True
        if ended.error is not None:
            yield "internalServerException", {"message": ended.error}
            return
        yield from self._stop(Finish("stop"))
        yield "metadata", {"usage": write_usage(ended.usage or self._usage), "metrics": {"latencyMs": 0}}
