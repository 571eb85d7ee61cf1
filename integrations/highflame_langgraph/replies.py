"""A reply of a chat model, whole or in chunks, made into what may be shown of it.

Texts in chunks are let go as far as they are cleared. Arguments of tool calls, and
whatever else comes in pieces of which nobody knows how they end, are held until
the reply is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from highflame_middleware import (
    BlockedError,
    CallContext,
    Decision,
    GuardError,
    HighflameError,
    ModelContext,
    Stage,
)
from highflame_middleware.checkpoint import (
    Checkpoint,
    Flow,
    Growing,
    Ruling,
    StepUp,
    digest_of,
    worst,
)
from highflame_middleware.codecs.parts import leaves

from .blocked import bubbling, unusable
from .echoes import metadata_kept, quotes, reparsed
from .marks import MARK, marked_calls
from .texts import OPAQUE, Judged, judged, with_arguments

__all__ = ["Marking", "ReplyStream", "result_judged", "settled"]

# Where blocks of a reply have the text that grows.
_GROWING = ("text", "reasoning", "thinking", "refusal", "summary_text")
_MORE_GROWING = frozenset({"reasoning_content", "reasoning", "refusal", "thinking"})
_PROVIDER = frozenset({"model_provider", "output_version"})
# A text that goes on again and again is judged when the reply is whole.
_MAX_ENDINGS = 4
MAX_HELD = 32 * 1024 * 1024


def result_judged(
    checkpoint: Checkpoint,
    result: ChatResult,
    *,
    marking: Marking,
    caller: CallContext,
    model: ModelContext,
    tools: Mapping[str, str] | None = None,
) -> Flow[ChatResult]:
    """The result of a call as it may be handed on; raises where it may not."""
    messages = [generation.message for generation in result.generations]
    # Marks may be a guard's further inside, or a provider's words: all is judged.
    found = yield from judged(checkpoint, messages, caller=caller, model=model, descriptions=tools, once=True)
    if error := worst([one.error for one in found if one.error is not None]):
        raise bubbling(error)
    generations: list[ChatGeneration] = []
    for generation, one in zip(result.generations, found, strict=True):
        message = settled(one, marking=marking)
        if message is generation.message:
            generations.append(generation)
            continue
        info = metadata_kept(generation.generation_info)
        generations.append(ChatGeneration(message=message, generation_info=info or None))
    return ChatResult(generations=generations, llm_output=result.llm_output)


@dataclass(frozen=True, slots=True)
class Marking:
    """Which of the calls that are stopped are marked on a reply, for a tool node to heed: others are raised.

    ``which`` is ``all``, those that are ``waiting`` for an approval, or ``none``. Calls of what is in ``answers``
    run no tool: what they are given is the answer itself (`ToolStrategy`), and is stopped like one.
    """

    which: str = "none"
    answers: frozenset[str] = frozenset()

    def covers(self, name: str, ruling: Ruling) -> bool:
        """Whether a call that was stopped is marked."""
        return name not in self.answers and (self.which == "all" or (self.which == "waiting" and _waits(ruling)))


def settled(one: Judged, *, marking: Marking) -> Any:
    """A judged reply with what is done about its calls: raised, or marked on it with denied arguments taken out."""
    stopped = {index: ruling for index, ruling in enumerate(one.calls) if ruling.error is not None}
    if not stopped:
        return one.message
    if not all(marking.covers(one.message.tool_calls[index]["name"], ruling) for index, ruling in stopped.items()):
        raise bubbling(_worst_of(stopped))
    message: AIMessage = one.message
    marks: dict[str, Any] = dict(marked_calls(message))
    # Where several have one id, the last word is that of one that is denied.
    for index, ruling in sorted(stopped.items(), key=lambda item: not _waits(item[1])):
        call = message.tool_calls[index]
        marks[call["id"] or str(index)] = mark_of(ruling, call["name"], call["args"])
    denied: dict[int, dict[str, Any]] = {index: {} for index, ruling in stopped.items() if not _waits(ruling)}
    message = with_arguments(message, denied) if denied else message
    metadata = {**message.response_metadata, MARK: {"calls": marks}}
    return message.model_copy(update={"response_metadata": metadata})


def mark_of(ruling: Ruling, name: str, args: Any) -> dict[str, Any]:
    """What is said of a call that was stopped: of its arguments a digest at most, where it waits for approval."""
    error = ruling.error
    if not isinstance(error, BlockedError):
        return {"decision": "error"}
    mark: dict[str, Any] = {"decision": error.decision.value, "request_id": error.response.request_id}
    if StepUp.of(ruling, name, args) is not None:
        mark |= {"digest": digest_of(name, args), "reason": error.response.policy_reason}
    return mark


def _waits(ruling: Ruling) -> bool:
    return isinstance(ruling.error, BlockedError) and ruling.error.decision is Decision.STEP_UP


def _worst_of(stopped: Mapping[int, Ruling]) -> HighflameError:
    error = worst([ruling.error for ruling in stopped.values() if ruling.error is not None])
    assert error is not None
    return error


class ReplyStream:
    """The chunks of one reply on their way."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        marking: Marking,
        caller: CallContext,
        model: ModelContext,
        tools: Mapping[str, str] | None = None,
    ) -> None:
        self._checkpoint, self._marking = checkpoint, marking
        self._caller, self._model = caller, model
        self._about: dict[str, Any] = {"caller": caller, "model": model, "descriptions": tools, "once": True}
        self._on = checkpoint.policy.guard is not None and caller.bypass is None
        self._holds = self._on and checkpoint.policy.holds
        self._growing: dict[tuple[Any, ...], _Part] = {}
        self._provider: dict[str, Any] = {}  # who says it: its blocks are read accordingly
        self._shapes: dict[tuple[Any, ...], Any] = {}
        self._whole: AIMessageChunk | None = None  # all of it, where nothing is held
        self._rest: AIMessageChunk | None = None  # what is held until the end
        self._quotes: dict[str, list[Any]] = {}  # what else says the reply again: tokens, citations
        self._parsed: Any = None
        self._legacy: list[Any] = []  # calls as they were written before there were several
        self._said: list[str] = []
        self._last: ChatGenerationChunk | None = None
        self._changed = False
        self._size = 0

    def feeding(self, chunk: ChatGenerationChunk) -> Flow[list[ChatGenerationChunk]]:
        """Take a chunk: what may be shown now."""
        message = chunk.message
        if not self._on:
            return [chunk]
        if not isinstance(message, AIMessageChunk):
            found = yield from judged(self._checkpoint, [message], **self._about)
            if found[0].error is not None:
                raise bubbling(found[0].error)
            return [ChatGenerationChunk(message=found[0].message, generation_info=chunk.generation_info)]
        if not self._holds:
            self._whole = message if self._whole is None else self._whole + message
            return [chunk]
        self._provider |= {
            name: message.response_metadata[name] for name in _PROVIDER & message.response_metadata.keys()
        }
        before = yield from self._others_ended(message)
        shown = yield from self._shown(message)
        info = self._kept_about(chunk.generation_info)
        out = ChatGenerationChunk(message=shown, generation_info=info or None)
        if shown.chunk_position == "last":
            self._last = out
            return before
        return [*before, out] if _tells(out) or not _tells(chunk) else before

    def ending(self) -> Flow[list[ChatGenerationChunk]]:
        """The reply is whole: what is left to be shown of it."""
        if not self._on:
            return []
        if not self._holds:
            if self._whole is not None:
                last = self._whole + AIMessageChunk(content="", chunk_position="last")
                yield from judged(self._checkpoint, [last], **self._about)
            return []
        out: list[ChatGenerationChunk] = []
        for key in self._growing:
            out += yield from self._ended(key)
        if self._rest is not None:
            out.append(ChatGenerationChunk(message=(yield from self._held())))
        if self._quotes and not self._changed:
            info = {name: _merged(parts) for name, parts in self._quotes.items()}
            out.append(ChatGenerationChunk(message=AIMessageChunk(content=""), generation_info=info))
        if self._parsed is not None:
            parsed = {"parsed": self._parsed}
            more = reparsed(parsed, "".join(self._said)) if self._changed else parsed
            out.append(ChatGenerationChunk(message=AIMessageChunk(content="", additional_kwargs=more)))
        return [*out, self._last] if self._last is not None else out

    def _others_ended(self, message: AIMessageChunk) -> Flow[list[ChatGenerationChunk]]:
        """What is left of other blocks once one is begun: the events of a stream have one after the other."""
        places = set(_places(message))
        begun = {place for place in self._growing if not self._growing[place].over}
        out: list[ChatGenerationChunk] = []
        if places and not places <= begun:
            for place in self._growing:
                if place in begun - places and self._growing[place].times < _MAX_ENDINGS:
                    out += yield from self._ended(place)
        return out

    def _ended(self, place: tuple[Any, ...]) -> Flow[list[ChatGenerationChunk]]:
        part = self._growing[place]
        try:
            ready = yield from part.ending()
        except HighflameError as error:
            raise bubbling(error) from None
        self._changed = self._changed or part.edited
        if not ready:
            return []
        self._said += [ready] if _is_content(place) else []
        return [ChatGenerationChunk(message=self._chunk_of(place, ready))]

    # --- chunks that come --------------------------------------------------------------------------------------

    def _shown(self, message: AIMessageChunk) -> Flow[AIMessageChunk]:
        """The part of a chunk that may be shown now; the rest of it is kept."""
        content: Any
        held: list[Any] = []
        if isinstance(message.content, str):
            content = yield from self._fed(("content",), message.content)
        else:
            content = []
            for block in message.content:
                shown, rest = yield from self._block(block)
                content += [shown] if shown is not None else []
                held += [rest] if rest is not None else []
        more: dict[str, Any] = {}
        held_more: dict[str, Any] = {}
        for name, value in message.additional_kwargs.items():
            if isinstance(value, str) and name in _MORE_GROWING:
                more[name] = yield from self._fed(("more", name), value)
            elif name == "parsed":
                self._parsed = value if value is not None else self._parsed
            elif name == "function_call" and _repeats(value, message.tool_call_chunks):
                self._legacy.append(value)
            elif not value or name in OPAQUE:
                more[name] = value
            else:
                held_more[name] = value
        metadata = self._kept_about(message.response_metadata)
        if held or held_more or message.tool_call_chunks:
            self._hold(
                AIMessageChunk(content=held, additional_kwargs=held_more, tool_call_chunks=message.tool_call_chunks)
            )
        return AIMessageChunk(
            content=content,
            additional_kwargs=more,
            response_metadata=metadata,
            usage_metadata=message.usage_metadata,
            id=message.id,
            name=message.name,
            chunk_position=message.chunk_position,
        )

    def _block(self, block: Any) -> Flow[tuple[Any, Any]]:
        """What may be shown of a block of content now, and what is held of it."""
        if isinstance(block, str):
            return (yield from self._fed(("block",), block)), None
        place = _place_of(block)
        kind, index, key = place[1:]
        others = {name: value for name, value in block.items() if name != key}
        told = any(True for _ in leaves(others, (), OPAQUE)) or "data" in others or "base64" in others
        if key is None:
            return (None, block) if told else (block, None)
        self._shapes.setdefault(place, {"type": kind, **({"index": index} if index is not None else {})})
        ready = yield from self._fed(place, block[key])
        if not told:
            return {**others, key: ready}, None
        plain = {name: value for name, value in others.items() if name in OPAQUE}
        return {**plain, key: ready}, {**others, **self._shapes[place]}

    def _fed(self, place: tuple[Any, ...], piece: str) -> Flow[str]:
        if not piece:
            return ""
        if place not in self._growing:
            make = partial(self._checkpoint.growing, Stage.RESPONSE, caller=self._caller, model=self._model)
            self._growing[place] = _Part(make)
        try:
            ready = yield from self._growing[place].feeding(piece)
        except HighflameError as error:
            raise bubbling(error) from None
        self._said += [ready] if _is_content(place) else []
        return ready

    def _kept_about(self, said: Mapping[str, Any] | None) -> dict[str, Any]:
        """What may be said of the reply before it is known whether it was edited."""
        out: dict[str, Any] = {}
        for name, value in (said or {}).items():
            if quotes(name, value):
                self._quotes.setdefault(name, []).append(value)
            else:
                out[name] = value
        return out

    def _hold(self, part: AIMessageChunk) -> None:
        self._size += len(str(part.content)) + sum(len(chunk.get("args") or "") for chunk in part.tool_call_chunks)
        if self._size > MAX_HELD:
            raise bubbling(GuardError(f"more than {MAX_HELD} characters were held back: they could not be guarded"))
        self._rest = part if self._rest is None else self._rest + part

    # --- what was held -----------------------------------------------------------------------------------------

    def _chunk_of(self, place: tuple[Any, ...], text: str) -> AIMessageChunk:
        content: Any = ""
        more: dict[str, Any] = {}
        if place[0] == "content":
            content = text
        elif place[0] == "more":
            more = {place[1]: text}
        else:
            content = [text] if len(place) == 1 else [{**self._shapes[place], place[3]: text}]
        return AIMessageChunk(content=content, additional_kwargs=more, response_metadata=dict(self._provider))

    def _held(self) -> Flow[AIMessageChunk]:
        """The chunk with all that was held, judged as a whole."""
        assert self._rest is not None
        # Of several calls the chunks, put together, would make one of no sense.
        more = {"function_call": self._legacy[0]} if len(self._legacy) == 1 else {}
        last: Any = self._rest + AIMessageChunk(content=[], additional_kwargs=more, chunk_position="last")
        (one,) = yield from judged(self._checkpoint, [last], **self._about)
        if one.error is not None:
            raise bubbling(one.error)
        message: AIMessageChunk = settled(one, marking=self._marking)
        self._changed = self._changed or message is not last
        chunks: list[Any] = [
            {**chunk, "args": args} if args is not None else chunk
            for chunk, args in zip(self._rest.tool_call_chunks, _new_arguments(last, message), strict=True)
        ]
        mark = message.response_metadata.get(MARK)
        return AIMessageChunk(
            content=message.content or "",
            additional_kwargs=message.additional_kwargs,
            tool_call_chunks=chunks,
            response_metadata={**self._provider, **({MARK: mark} if mark is not None else {})},
        )


class _Part:
    """One text of a reply. Where it goes on after it was thought to have ended, it is judged as one text still."""

    __slots__ = ("_growing", "_make", "_out", "_raw", "_shown", "edited", "over", "times")

    def __init__(self, make: Callable[[], Growing]) -> None:
        self._make, self._growing = make, make()
        self._raw: list[str] = []
        self._shown = self._out = ""
        self.over = self.edited = False
        self.times = 0

    def feeding(self, piece: str) -> Flow[str]:
        before = ""
        if self.over:
            before, self._growing, self._out, self.over = "".join(self._raw), self._make(), "", False
        self._raw.append(piece)
        return self._new((yield from self._growing.feeding(before + piece)))

    def ending(self) -> Flow[str]:
        if self.over:
            return ""
        self.over = True
        self.times += 1
        ready = self._new((yield from self._growing.ending()))
        self.edited = self._growing.edited
        return ready

    def _new(self, ready: str) -> str:
        """What has not been shown yet; what has been must not have become another text."""
        self._out += ready
        known = min(len(self._out), len(self._shown))
        if self._out[:known] != self._shown[:known]:
            raise unusable(Stage.RESPONSE)
        new = self._out[known:]
        self._shown += new
        return new


def _places(message: AIMessageChunk) -> Iterator[tuple[Any, ...]]:
    """Where a chunk says something, as parts of the reply."""
    for name, value in message.additional_kwargs.items():
        if value and isinstance(value, str) and name in _MORE_GROWING:
            yield "more", name
    if isinstance(message.content, str):
        if message.content:
            yield ("content",)
        return
    for block in message.content:
        if isinstance(block, str):
            yield ("block",)
        else:
            yield _place_of(block)


def _place_of(block: Mapping[str, Any]) -> tuple[Any, ...]:
    key = next((key for key in _GROWING if isinstance(block.get(key), str)), None)
    return "block", block.get("type"), block.get("index"), key


def _new_arguments(before: AIMessageChunk, after: AIMessage) -> Iterator[str | None]:
    """For each call of a reply, in the order of its chunks: its arguments as they are written now, if others.

    By their places, for ids may be missing, or there twice.
    """
    calls, bad = 0, 0
    for chunk in before.tool_call_chunks:
        wrong = before.invalid_tool_calls[bad] if bad < len(before.invalid_tool_calls) else None
        if wrong is not None and all(wrong[key] == chunk[key] for key in ("name", "args", "id")):
            new = after.invalid_tool_calls[bad]["args"]
            yield new if new != wrong["args"] else None
            bad += 1
        else:
            args = after.tool_calls[calls]["args"]
            yield json.dumps(args) if args != before.tool_calls[calls]["args"] else None
            calls += 1


def _repeats(value: Any, chunks: Sequence[Any]) -> bool:
    """Whether a call as it was written once is one of the calls that come with it."""
    if not isinstance(value, dict) or not value.keys() <= {"name", "arguments"}:
        return False
    return any(
        chunk.get("name") == value.get("name") and chunk.get("args") == value.get("arguments") for chunk in chunks
    )


def _is_content(place: tuple[Any, ...]) -> bool:
    """Whether a text that grows is the reply's own, as its object is parsed of."""
    return place[0] == "content" or place == ("block",) or (place[0] == "block" and place[1] == "text")


def _tells(chunk: ChatGenerationChunk) -> bool:
    """Whether a chunk says anything at all."""
    message = chunk.message
    said = (message.content, message.additional_kwargs, message.response_metadata, chunk.generation_info)
    more = (getattr(message, "usage_metadata", None), getattr(message, "tool_call_chunks", None))
    return any((*said, *more))


def _merged(parts: list[Any]) -> Any:
    """What was said of a reply in parts, as it would have come to stand together: lists one after the other."""
    if all(isinstance(part, list) for part in parts):
        return [item for part in parts for item in part]
    if not all(isinstance(part, dict) for part in parts):
        return parts[-1]
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            known = out.get(name)
            out[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value
    return out
