"""ConverseStream: blocks that grow and end one after the other, then why it stopped, then what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from .bedrock_blocks import NAME, read_finish, read_usage, write_blocks, write_finish, write_usage
from .blocks import Blocks
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
from .leftovers import Lost, total
from .translator import UntranslatableError
from .turns import safe_id

__all__ = ["StreamReader", "StreamWriter"]

_Event: TypeAlias = tuple[str, Any]
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
    """Writes a stream: one block open at a time."""

    def __init__(self, model: str | None = None) -> None:  # noqa: ARG002 - no event names one
        self._blocks = Blocks(stop=_stopped, call=_called, argue=_argued)
        self._usage: Usage | None = None
        self._started = self._stopped = self._ended = False

    @total
    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The events that say a delta."""
        return () if self._ended else list(self._say(delta))

    def _say(self, delta: Delta) -> Iterator[_Event]:
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
            yield from self._blocks.take(delta)
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

    def _grow(self, kind: str, delta: dict[str, Any]) -> Iterator[_Event]:
        """More of a block, which begins with its first piece."""
        if self._blocks.kind != kind:
            yield from self._blocks.open(kind)
        yield _grown(self._blocks.index, delta)

    def _think(self, delta: ReasoningDelta) -> Iterator[_Event]:
        if delta.text:
            yield from self._grow("thinking", {"reasoningContent": {"text": delta.text}})
        if delta.signature is not None:
            yield from self._grow("thinking", {"reasoningContent": {"signature": delta.signature}})
            yield from self._blocks.close()
        if delta.sealed is not None:
            yield from self._blocks.close()
            yield from self._grow("sealed", {"reasoningContent": {"redactedContent": delta.sealed}})
            yield from self._blocks.close()

    def _stop(self, finish: Finish) -> Iterator[_Event]:
        if self._stopped:
            return
        self._stopped = True
        self._usage = finish.usage or self._usage
        yield from self._blocks.close()
        yield "messageStop", {"stopReason": write_finish(finish.reason)}

    def _end(self, ended: Ended) -> Iterator[_Event]:
        self._ended = True
        if ended.error is not None:
            yield "internalServerException", {"message": ended.error}
            return
        yield from self._stop(Finish("stop"))
        yield "metadata", {"usage": write_usage(ended.usage or self._usage), "metrics": {"latencyMs": 0}}


def _grown(index: int, delta: dict[str, Any]) -> _Event:
    return "contentBlockDelta", {"delta": delta, "contentBlockIndex": index}


def _stopped(index: int) -> _Event:
    return "contentBlockStop", {"contentBlockIndex": index}


def _called(index: int, call: ToolCallOpened) -> _Event:
    start = {"toolUse": {"toolUseId": safe_id(call.id), "name": call.name}}
    return "contentBlockStart", {"start": start, "contentBlockIndex": index}


def _argued(index: int, text: str) -> _Event:
    return _grown(index, {"toolUse": {"input": text}})
