"""Anthropic's streams: messages whose blocks begin, grow and end one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from .anthropic_blocks import NAME, read_finish, read_usage, write_block, write_finish, write_usage
from .blocks import Blocks
from .conversation import (
    ArgumentsDelta,
    Delta,
    Ended,
    Finish,
    Opened,
    OtherPart,
    PartDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallOpened,
)
from .fields import dump, integer, mapping, string
from .leftovers import Held, Lost, total
from .translator import UntranslatableError
from .turns import safe_id

__all__ = ["BROKEN", "StreamReader", "StreamWriter"]

BROKEN = "the stream broke off"


class StreamReader:
    """Reads a stream. A block that only Anthropic has is told when it is whole."""

    def __init__(self) -> None:
        self._tools: dict[int, int] = {}
        self._others: dict[int, dict[str, list[str]]] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}
        self._held = Held()
        self._finished = self._ended = False

    @total
    def read(self, data: Any, event: str | None) -> Sequence[Delta]:
        """What one event says."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        index = integer(said.get("index")) or 0
        if self._ended:
            return ()
        if kind == "message_start":
            message = mapping(said.get("message"))
            usage = self._count(message.get("usage"))
            opened = Opened(id=string(message.get("id")), model=string(message.get("model")), usage=usage)
            return (opened,)
        if kind == "content_block_start":
            return tuple(self._begin(index, said.get("content_block")))
        if kind == "content_block_delta":
            return tuple(self._grow(index, mapping(said.get("delta"))))
        if kind == "content_block_stop":
            return tuple(self._close(index))
        if kind == "message_delta":
            return tuple(self._finish(said))
        if kind == "message_stop":
            self._ended = True
            return (Ended(),)
        if kind == "error":
            self._ended = True
            return (Ended(error=string(mapping(said.get("error")).get("message")) or BROKEN),)
        return ()

    def finish(self) -> Sequence[Delta]:
        """The end of a stream that did not say so."""
        if self._ended:
            return ()
        self._ended = True
        return (Ended(error=None if self._finished else BROKEN),)

    def _count(self, value: Any) -> Any:
        self._usage.update((key, count) for key, count in mapping(value).items() if count is not None)
        return read_usage(self._usage) if isinstance(value, dict) else None

    def _begin(self, index: int, block: Any) -> Iterator[Delta]:
        said = mapping(block)
        kind = said.get("type")
        if kind == "text":
            yield from _text(said.get("text"))
        elif kind == "thinking":
            yield from _thought(said.get("thinking"), said.get("signature"))
        elif kind == "redacted_thinking" and isinstance(said.get("data"), str):
            yield ReasoningDelta(sealed=said["data"])
        elif kind == "tool_use":
            number = self._tools[index] = len(self._tools)
            yield ToolCallOpened(number, string(said.get("id")) or "", string(said.get("name")) or "")
            if said.get("input"):
                yield ArgumentsDelta(number, dump(said["input"]))
        else:
            self._blocks[index], self._others[index] = dict(said), {}

    def _grow(self, index: int, delta: Any) -> Iterator[Delta]:
        kind = delta.get("type")
        if index in self._blocks:
            for key, value in delta.items():
                if key != "type" and isinstance(value, str):
                    self._others[index].setdefault(key, []).append(self._held.add(value))
                elif key != "type":
                    self._blocks[index][key] = value
        elif kind == "text_delta":
            yield from _text(delta.get("text"))
        elif kind == "thinking_delta":
            yield from _thought(delta.get("thinking"), None)
        elif kind == "signature_delta":
            yield from _thought(None, delta.get("signature"))
        elif kind == "input_json_delta" and index in self._tools:
            if isinstance(delta.get("partial_json"), str) and delta["partial_json"]:
                yield ArgumentsDelta(self._tools[index], delta["partial_json"])
        elif kind != "citations_delta":
            raise UntranslatableError("a block grows in a way that is not known")

    def _close(self, index: int) -> Iterator[Delta]:
        block, grown = self._blocks.pop(index, None), self._others.pop(index, {})
        if block is None:
            return
        for key, pieces in grown.items():
            text = "".join(pieces)
            if key == "partial_json":
                try:
                    block["input"] = json.loads(text or "{}")
                except (ValueError, RecursionError):
                    block["input"] = text
            else:
                block[key] = (string(block.get(key)) or "") + text
        yield PartDelta(OtherPart(format=NAME, value=block))

    def _finish(self, said: Any) -> Iterator[Delta]:
        usage = self._count(said.get("usage"))
        reason = read_finish(mapping(said.get("delta")).get("stop_reason"))
        if reason is not None and not self._finished:
            self._finished = True
            yield Finish(reason, usage)


def _text(value: Any) -> Iterator[Delta]:
    if isinstance(value, str) and value:
        yield TextDelta(value)


def _thought(text: Any, signature: Any) -> Iterator[Delta]:
    if isinstance(text, str) and text:
        yield ReasoningDelta(text)
    if isinstance(signature, str) and signature:
        yield ReasoningDelta(signature=signature)


class StreamWriter:
    """Writes a stream: one block open at a time."""

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._blocks = Blocks(stop=_stopped, call=_called, argue=_argued)
        self._finish: Finish | None = None
        self._started = self._ended = False

    @total
    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The events that say a delta."""
        if self._ended:
            return ()
        return [(data["type"], data) for data in self._say(delta)]

    def _say(self, delta: Delta) -> Iterator[dict[str, Any]]:
        if not self._started:
            self._started = True
            yield self._start(delta if isinstance(delta, Opened) else Opened())
        if isinstance(delta, TextDelta | RefusalDelta):
            if delta.text:
                yield from self._grow("text", {"type": "text_delta", "text": delta.text})
        elif isinstance(delta, ReasoningDelta):
            yield from self._think(delta)
        elif isinstance(delta, ToolCallOpened | ArgumentsDelta):
            yield from self._blocks.take(delta)
        elif isinstance(delta, PartDelta):
            block = write_block(delta.part, Lost(NAME), answering=True)
            if block is not None:
                yield from self._begin(str(block.get("type")), block)
        elif isinstance(delta, Finish):
            self._finish = delta
        elif isinstance(delta, Ended):
            yield from self._end(delta)

    def _start(self, opened: Opened) -> dict[str, Any]:
        message: dict[str, Any] = {
            "id": opened.id if opened.id is not None else "msg_0",
            "type": "message",
            "role": "assistant",
            "model": opened.model or self._model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(opened.usage),
        }
        return {"type": "message_start", "message": message}

    def _begin(self, kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._blocks.open(kind)
        yield _begun(self._blocks.index, block)

    def _grow(self, kind: str, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._blocks.kind != kind:
            empty = {"text": ""} if kind == "text" else {"thinking": "", "signature": ""}
            yield from self._begin(kind, {"type": kind, **empty})
        yield _grown(self._blocks.index, delta)

    def _think(self, delta: ReasoningDelta) -> Iterator[dict[str, Any]]:
        if delta.text:
            yield from self._grow("thinking", {"type": "thinking_delta", "thinking": delta.text})
        if delta.signature:
            yield from self._grow("thinking", {"type": "signature_delta", "signature": delta.signature})
            yield from self._blocks.close()
        if delta.sealed is not None:
            yield from self._begin("redacted_thinking", {"type": "redacted_thinking", "data": delta.sealed})
            yield from self._blocks.close()

    def _end(self, ended: Ended) -> Iterator[dict[str, Any]]:
        self._ended = True
        yield from self._blocks.close()
        if ended.error is not None:
            yield {"type": "error", "error": {"type": "api_error", "message": ended.error}}
            return
        finish = self._finish or Finish("stop")
        reason = {"stop_reason": write_finish(finish.reason), "stop_sequence": None}
        yield {"type": "message_delta", "delta": reason, "usage": write_usage(ended.usage or finish.usage)}
        yield {"type": "message_stop"}


def _begun(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _grown(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _stopped(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def _called(index: int, call: ToolCallOpened) -> dict[str, Any]:
    return _begun(index, {"type": "tool_use", "id": safe_id(call.id), "name": call.name, "input": {}})


def _argued(index: int, text: str) -> dict[str, Any]:
    return _grown(index, {"type": "input_json_delta", "partial_json": text})
