"""The chunks of openai-chat: read into deltas of one reply, and written from them.

Only one choice can be read: a stream of several is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
    Usage,
)
from .fields import integer, mapping, sequence, string
from .openai_chat_messages import FINISHES, NAME, REASONING, USAGE
from .openai_parts import own, read_usage, write_usage
from .translator import UntranslatableError

__all__ = ["Reader", "Writer", "answer"]

# What a delta says besides that is no part of the answer's content, or says it over again.
_BESIDE = frozenset({"role", "annotations", "reasoning_details", "logprobs", "token_id", "channel"})
_READ = frozenset({"content", "refusal", "tool_calls", "function_call", *REASONING})


class Reader:
    """Reads chunks; tells tool calls apart by their number, and by their id where several share one."""

    def __init__(self) -> None:
        self._opened = False
        self._refused = False
        self._finished = False
        self._ended = False
        self._usage: Usage | None = None
        self._calls: dict[int, tuple[str, int]] = {}
        self._count = 0

    def read(self, data: Any, event: str | None) -> Sequence[Delta]:  # noqa: ARG002 - chunks carry no event name
        """The deltas of one chunk."""
        chunk = mapping(data)
        if self._ended:
            return ()
        if (error := chunk.get("error")) is not None:
            self._ended = True
            said = string(mapping(error).get("message")) or string(error)
            return (Ended(error=said or "the provider ended the stream with an error"),)
        choices = sequence(chunk.get("choices"))
        if (usage := read_usage(chunk.get("usage"), USAGE)[0]) is not None:
            self._usage = usage
        return tuple(self._read(chunk, choices))

    def finish(self) -> Sequence[Delta]:
        """The end; a stream that never said why it ends has broken off."""
        if self._ended:
            return ()
        self._ended = True
        return (Ended(usage=self._usage, error=None if self._finished else "the stream broke off"),)

    def _read(self, chunk: Any, choices: Sequence[Any]) -> Iterator[Delta]:
        if not self._opened and choices:
            self._opened = True
            yield Opened(id=string(chunk.get("id")), model=string(chunk.get("model")))
        for choice in map(mapping, choices):
            if integer(choice.get("index")):
                raise UntranslatableError(f"a stream of several choices of {NAME}")
            yield from self._said(mapping(choice.get("delta")))
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason and not self._finished:
                self._finished = True
                meant = FINISHES.get(reason, "stop")
                yield Finish("refusal" if meant == "stop" and self._refused else meant)

    def _said(self, delta: Any) -> Iterator[Delta]:
        thoughts = (string(delta.get(key)) for key in REASONING)
        if thought := next((text for text in thoughts if text), None):
            yield ReasoningDelta(thought)
        content = delta.get("content")
        if isinstance(content, str) and content:
            yield TextDelta(content)
        for part in sequence(content):
            yield from _piece(part)
        if refusal := string(delta.get("refusal")):
            self._refused = True
            yield RefusalDelta(refusal)
        for position, call in enumerate(sequence(delta.get("tool_calls"))):
            yield from self._called(mapping(call), position)
        if isinstance(delta.get("function_call"), dict):
            yield from self._called({"id": "call_0", "function": delta["function_call"]}, 0)
        for key, value in delta.items():
            if value not in (None, "", [], {}) and key not in _READ and key not in _BESIDE:
                yield PartDelta(OtherPart(format=NAME, value={key: value}))

    def _called(self, call: Any, position: int) -> Iterator[Delta]:
        if string(call.get("type")) not in (None, "", "function"):
            raise UntranslatableError(f"{NAME} streams a call of a tool that is no function")
        given = integer(call.get("index"))
        number = position if given is None else given
        function = mapping(call.get("function"))
        name, identity = string(function.get("name")), string(call.get("id"))
        known = self._calls.get(number)
        if known is None or (identity and name and identity != known[0]):
            # A provider that does not number its calls gives each a name and an id at once.
            known = (identity or f"call_{self._count}", self._count)
            self._calls[number] = known
            self._count += 1
            yield ToolCallOpened(known[1], known[0], name or "")
        if arguments := string(function.get("arguments")):
            yield ArgumentsDelta(known[1], arguments)


def _piece(part: Any) -> Iterator[Delta]:
    """A piece of a content in parts, as Mistral streams it."""
    kind = mapping(part).get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        yield TextDelta(part["text"])
    elif kind == "thinking":
        for thought in sequence(part.get("thinking")):
            if text := string(mapping(thought).get("text")):
                yield ReasoningDelta(text)
    else:
        yield PartDelta(OtherPart(format=NAME, value={"content": part}))


class Writer:
    """Writes chunks. The usage comes in a chunk of no choices where the call asked for it, else with the reason."""

    def __init__(self, model: str | None, *, counted: bool = False) -> None:
        self._head: dict[str, Any] = {
            "id": "",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": model or "",
        }
        self._counted = counted
        self._refused = False
        self._opened = False
        self._finish: str | None = None
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> Sequence[tuple[str | None, Any]]:
        """The chunks that say a delta."""
        if isinstance(delta, Opened):
            self._usage = delta.usage
            self._head.update({key: value for key in ("id", "model") if (value := getattr(delta, key)) is not None})
            return self._open()
        if isinstance(delta, Finish):
            self._finish, self._usage = delta.reason, delta.usage or self._usage
            return ()
        if isinstance(delta, Ended):
            return self._end(delta)
        said = self._said(delta)
        return (*self._open(), *((self._chunk(said),) if said is not None else ()))

    def _open(self) -> tuple[tuple[None, Any], ...]:
        if self._opened:
            return ()
        self._opened = True
        return (self._chunk({"role": "assistant", "content": ""}),)

    def _said(self, delta: Delta) -> dict[str, Any] | None:
        if isinstance(delta, TextDelta):
            return {"content": delta.text}
        if isinstance(delta, RefusalDelta):
            self._refused = True
            return {"refusal": delta.text}
        if isinstance(delta, ReasoningDelta):
            # Signatures and sealed thoughts have no place here.
            return {REASONING[0]: delta.text} if delta.text else None
        if isinstance(delta, ToolCallOpened):
            function = {"name": delta.name, "arguments": ""}
            call = {"index": delta.index, "id": delta.id, "type": "function", "function": function}
            return {"tool_calls": [call]}
        if isinstance(delta, ArgumentsDelta):
            return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
        if isinstance(delta, PartDelta) and isinstance(delta.part, OtherPart):
            value = dict(own(delta.part, NAME))
            if "content" in value:
                value["content"] = [value["content"]]
            return value
        raise UntranslatableError(f"{NAME} has no words for media in a reply")

    def _end(self, delta: Ended) -> list[tuple[None, Any]]:
        usage = delta.usage or self._usage
        counted = write_usage(usage, USAGE, details=False) if usage is not None else None
        reason = self._finish or "stop"
        if reason == "refusal":
            reason = "stop" if self._refused else "content_filter"
        _, last = self._chunk({}, finish="stop" if reason == "error" else reason)
        if delta.error is not None:
            error = {"message": delta.error, "type": "server_error", "param": None, "code": None}
            told = (None, {"error": error})
            return [told] if self._finish is None else [(None, last), told]
        out: list[tuple[None, Any]] = [*self._open(), (None, last)]
        if counted is not None and self._counted:
            out.append((None, {**self._head, "choices": [], "usage": counted}))
        elif counted is not None:
            last["usage"] = counted
        return out

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> tuple[None, dict[str, Any]]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return None, {**self._head, "choices": [choice]}


def answer(model: str | None, call: Any) -> Writer:
    """The writer of the stream that a call asked for."""
    asked = mapping(mapping(call).get("stream_options")).get("include_usage")
    return Writer(model, counted=asked is True)
