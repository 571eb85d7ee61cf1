"""A reply of a chat model, whole or in chunks, made into what may be shown of it.

Texts in chunks are let go as far as they are cleared. Arguments of tool calls, and
whatever else comes in pieces of which nobody knows how they end, are held until
the reply is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
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

from .blocked import bubbling
from .texts import OPAQUE, Judged, judged, with_arguments

__all__ = ["MARK", "ReplyStream", "marked_calls", "remarked", "result_judged", "settled", "unmarked"]

# Under this name a message says what was decided about it: in its response metadata, which no provider is sent.
MARK = "highflame"
# Where blocks of a reply have the text that grows.
_GROWING = ("text", "reasoning", "thinking", "refusal", "summary_text")
_MORE_GROWING = frozenset({"reasoning_content", "reasoning", "refusal", "thinking"})
MAX_HELD = 32 * 1024 * 1024


def marked_calls(message: BaseMessage) -> Mapping[str, Mapping[str, Any]]:
    """What a message says was decided about its tool calls, by their ids. It can only make things stricter."""
    mark = message.response_metadata.get(MARK)
    calls = mark.get("calls") if isinstance(mark, dict) else None
    return calls if isinstance(calls, dict) else {}


def unmarked(message: Any) -> Any:
    """A reply without the calls that have been decided on."""
    marks = marked_calls(message)
    if not marks or not isinstance(message, AIMessage):
        return message
    rest = [call for index, call in enumerate(message.tool_calls) if (call["id"] or str(index)) not in marks]
    content: Any = message.content
    if not isinstance(content, str):
        content = [block for block in content if not _names(block, marks)]
    return message.model_copy(update={"tool_calls": rest, "content": content})


def remarked(message: Any, one: Judged) -> Any:
    """The reply again, with what was edited in it besides those calls (``one`` is what became of the rest)."""
    marks = marked_calls(message)
    if not marks or not one.edited:
        return message if marks else one.message
    rest = iter(one.message.tool_calls)
    args = {
        index: next(rest)["args"]
        for index, call in enumerate(message.tool_calls)
        if (call["id"] or str(index)) not in marks
    }
    content: Any = one.message.content
    if not isinstance(content, str):
        content = [*content, *(block for block in message.content if _names(block, marks))]
    return with_arguments(message, args).model_copy(update={"content": content})


def _names(block: Any, marks: Mapping[str, Any]) -> bool:
    """Whether a block repeats a call that has been decided on."""
    return isinstance(block, dict) and any(block.get(key) in marks for key in ("id", "call_id") if block.get(key))


def result_judged(
    checkpoint: Checkpoint, result: ChatResult, *, marking: str, caller: CallContext, model: ModelContext
) -> Flow[ChatResult]:
    """The result of a call as it may be handed on; raises where it may not."""
    messages = [generation.message for generation in result.generations]
    found = yield from judged(
        checkpoint, [unmarked(message) for message in messages], caller=caller, model=model, once=True
    )
    if error := worst([one.error for one in found if one.error is not None]):
        raise bubbling(error)
    generations: list[ChatGeneration] = []
    for generation, one in zip(result.generations, found, strict=True):
        marked = bool(marked_calls(generation.message))
        message = remarked(generation.message, one) if marked else settled(one, marking=marking)
        if message is generation.message:
            generations.append(generation)
            continue
        info = {key: value for key, value in (generation.generation_info or {}).items() if key != "logprobs"}
        generations.append(ChatGeneration(message=message, generation_info=info or None))
    return ChatResult(generations=generations, llm_output=result.llm_output)


def settled(one: Judged, *, marking: str) -> Any:
    """A judged reply with what is done about its calls: raised, or marked on it with denied arguments taken out.

    ``marking`` says which calls are only marked: ``all`` that are stopped, those that are ``waiting`` for an
    approval, or ``none``.
    """
    stopped = {index: ruling for index, ruling in enumerate(one.calls) if ruling.error is not None}
    if not stopped:
        return one.message
    if marking == "none" or (marking == "waiting" and not all(map(_waits, stopped.values()))):
        raise bubbling(_worst_of(stopped))
    message: AIMessage = one.message
    marks: dict[str, Any] = {}
    for index, ruling in stopped.items():
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

    def __init__(self, checkpoint: Checkpoint, *, marking: str, caller: CallContext, model: ModelContext) -> None:
        self._checkpoint, self._marking = checkpoint, marking
        self._caller, self._model = caller, model
        self._on = checkpoint.policy.guard is not None and caller.bypass is None
        self._holds = self._on and checkpoint.policy.holds
        self._growing: dict[tuple[Any, ...], Growing] = {}
        self._shapes: dict[tuple[Any, ...], Any] = {}
        self._whole: AIMessageChunk | None = None  # all of it, where nothing is held
        self._rest: AIMessageChunk | None = None  # what is held until the end
        self._logprobs: list[Any] = []
        self._last: ChatGenerationChunk | None = None
        self._changed = False
        self._size = 0

    def feeding(self, chunk: ChatGenerationChunk) -> Flow[list[ChatGenerationChunk]]:
        """Take a chunk: what may be shown now."""
        message = chunk.message
        if not self._on:
            return [chunk]
        if not isinstance(message, AIMessageChunk):
            found = yield from judged(
                self._checkpoint, [message], caller=self._caller, model=self._model, once=True
            )
            if found[0].error is not None:
                raise bubbling(found[0].error)
            return [ChatGenerationChunk(message=found[0].message, generation_info=chunk.generation_info)]
        if not self._holds:
            self._whole = message if self._whole is None else self._whole + message  # type: ignore[assignment]
            return [chunk]
        shown = yield from self._shown(message)
        info = dict(chunk.generation_info or {})
        if "logprobs" in info:
            self._logprobs.append(info.pop("logprobs"))
        out = ChatGenerationChunk(message=shown, generation_info=info or None)
        if shown.chunk_position == "last":
            self._last = out
            return []
        return [out] if _tells(out) or not _tells(chunk) else []

    def ending(self) -> Flow[list[ChatGenerationChunk]]:
        """The reply is whole: what is left to be shown of it."""
        if not self._on:
            return []
        if not self._holds:
            if self._whole is not None:
                last = self._whole + AIMessageChunk(content="", chunk_position="last")
                yield from judged(self._checkpoint, [last], caller=self._caller, model=self._model, once=True)
            return []
        out: list[ChatGenerationChunk] = []
        for key, growing in self._growing.items():
            try:
                ready = yield from growing.ending()
            except HighflameError as error:
                raise bubbling(error) from None
            self._changed = self._changed or growing.edited
            if ready:
                out.append(ChatGenerationChunk(message=self._chunk_of(key, ready)))
        if self._rest is not None:
            out.append(ChatGenerationChunk(message=(yield from self._held())))
        if self._logprobs and not self._changed:
            info = {"logprobs": _merged(self._logprobs)}
            out.append(ChatGenerationChunk(message=AIMessageChunk(content=""), generation_info=info))
        return [*out, self._last] if self._last is not None else out

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
            elif not value or name in OPAQUE:
                more[name] = value
            else:
                held_more[name] = value
        metadata = dict(message.response_metadata)
        if "logprobs" in metadata:
            self._logprobs.append(metadata.pop("logprobs"))
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
        key = next((key for key in _GROWING if isinstance(block.get(key), str)), None)
        others = {name: value for name, value in block.items() if name != key}
        told = any(True for _ in leaves(others, (), OPAQUE)) or "data" in others or "base64" in others
        kind, index = block.get("type"), block.get("index")
        if key is None:
            return (None, block) if told else (block, None)
        place = ("block", kind, index, key)
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
            self._growing[place] = self._checkpoint.growing(Stage.RESPONSE, caller=self._caller, model=self._model)
        try:
            return (yield from self._growing[place].feeding(piece))
        except HighflameError as error:
            raise bubbling(error) from None

    def _hold(self, part: AIMessageChunk) -> None:
        self._size += len(str(part.content)) + sum(len(chunk.get("args") or "") for chunk in part.tool_call_chunks)
        if self._size > MAX_HELD:
            raise bubbling(GuardError(f"more than {MAX_HELD} characters were held back: they could not be guarded"))
        self._rest = part if self._rest is None else self._rest + part  # type: ignore[assignment]

    # --- what was held -----------------------------------------------------------------------------------------

    def _chunk_of(self, place: tuple[Any, ...], text: str) -> AIMessageChunk:
        if place[0] == "content":
            return AIMessageChunk(content=text)
        if place[0] == "more":
            return AIMessageChunk(content="", additional_kwargs={place[1]: text})
        return AIMessageChunk(content=[text] if len(place) == 1 else [{**self._shapes[place], place[3]: text}])

    def _held(self) -> Flow[AIMessageChunk]:
        """The chunk with all that was held, judged as a whole."""
        assert self._rest is not None
        last: Any = self._rest + AIMessageChunk(content=[], chunk_position="last")
        (one,) = yield from judged(self._checkpoint, [last], caller=self._caller, model=self._model, once=True)
        if one.error is not None:
            raise bubbling(one.error)
        message: AIMessageChunk = settled(one, marking=self._marking)
        self._changed = self._changed or message is not last
        chunks = []
        known = {call["id"]: call for call in message.tool_calls}
        before = {call["id"]: call for call in last.tool_calls}
        for chunk in self._rest.tool_call_chunks:
            call = known.get(chunk.get("id"))
            same = call is not None and call["args"] == before[chunk.get("id")]["args"]
            chunks.append(chunk if call is None or same else {**chunk, "args": json.dumps(call["args"])})
        if message.invalid_tool_calls != last.invalid_tool_calls:
            edited = {bad.get("id"): bad for bad in message.invalid_tool_calls}
            chunks = [
                {**chunk, "args": edited[chunk["id"]]["args"]} if chunk.get("id") in edited else chunk
                for chunk in chunks
            ]
        mark = message.response_metadata.get(MARK)
        return AIMessageChunk(
            content=message.content or "",
            additional_kwargs=message.additional_kwargs,
            tool_call_chunks=chunks,
            response_metadata={MARK: mark} if mark is not None else {},
        )


def _tells(chunk: ChatGenerationChunk) -> bool:
    """Whether a chunk says anything at all."""
    message = chunk.message
    said = (message.content, message.additional_kwargs, message.response_metadata, chunk.generation_info)
    more = (getattr(message, "usage_metadata", None), getattr(message, "tool_call_chunks", None))
    return any((*said, *more))


def _merged(parts: list[Any]) -> Any:
    """Log probabilities as they would have come to stand together: their lists one after the other."""
    if not all(isinstance(part, dict) for part in parts):
        return parts[-1]
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            known = out.get(name)
            out[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value
    return out
