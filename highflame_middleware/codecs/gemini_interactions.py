"""gemini-interactions: ``POST /interactions``, Gemini's agents with a memory: input and steps in, steps out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .calls import items_of, read_arguments
from .openai import fail, integer, mapping, number, read_definitions, read_unknown, stop_sequences, string, text_of
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text

__all__ = ["CODEC"]

_FRAME = frozenset(
    {
        "agent",
        "call_id",
        "created",
        "data",
        "file_search_store",
        "id",
        "index",
        "interaction_id",
        "mime_type",
        "model",
        "name",
        "object",
        "previous_interaction_id",
        "resolution",
        "role",
        "service_tier",
        "signature",
        "status",
        "type",
        "updated",
        "uri",
        "url",
        "usage",
    }
)
_STEPS = ("steps", "outputs")
_ENDS = frozenset({"interaction.completed", "interaction.complete", "error"})


def read_call(body: Any) -> CallRead:
    """The system instruction, the input in whichever shape, and the tool definitions."""
    body = mapping(body)
    texts = list(text_of(body.get("system_instruction"), ("system_instruction",), Stage.PROMPT, "system"))
    for position, item in items_of(body.get("input")):
        texts.extend(_step(item, ("input", *position), None))
    for key in ("tools", "response_format"):
        texts.extend(read_definitions(body.get(key), (key,)))
    model = string(body.get("model")) or string(body.get("agent"))
    return CallRead(model, body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    given = mapping(mapping(body).get("generation_config"))
    return Params(
        max_tokens=integer(given.get("max_output_tokens")),
        temperature=number(given.get("temperature")),
        top_p=number(given.get("top_p")),
        seed=integer(given.get("seed")),
        stop_sequences=stop_sequences(given.get("stop_sequences")),
    )


def read_reply(body: Any) -> ReplyRead:
    """Every step of the reply, or of an interaction that is looked up."""
    read = mapping(body)
    keys = [key for key in _STEPS if key in read]
    if not keys:
        described = "status" in read or "id" in read
        return ReplyRead(() if described else tuple(read_unknown(body)), _summary(read))
    texts = [
        text
        for key in keys
        for position, step in items_of(read[key])
        for text in _step(step, (key, *position), Stage.RESPONSE)
    ]
    return ReplyRead(tuple(texts), _summary(read))


class Reader:
    """Reads events; a step is one text, which its deltas go on with, and so is what a call passes to its tool."""

    def __init__(self) -> None:
        self._tools: dict[int, str] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event."""
        said = mapping(data)
        kind = string(said.get("event_type")) or event or ""
        number_ = integer(said.get("index")) or 0
        if kind in ("step.stop", "content.stop"):
            return EventRead(closes=((number_,),))
        if kind.startswith("interaction.") or not ({"step", "delta", "content"} & said.keys()):
            inner = mapping(said.get("interaction"))
            whole = (
                read_reply(inner) if inner else ReplyRead(tuple(read_unknown(data)) if not kind else (), Summary())
            )
            texts = tuple(
                text._replace(path=("interaction", *text.path)) if inner else text for text in whole.texts
            )
            return EventRead(texts, (), whole.summary if inner else None, terminal=kind in _ENDS)
        key = next(key for key in ("delta", "step", "content") if key in said)
        if (name := string(mapping(said[key]).get("name"))) is not None:
            self._tools[number_] = name
        return EventRead(tuple(self._pieces(said[key], key, number_)))

    def _pieces(self, value: Any, key: str, number_: int) -> Iterator[Text]:
        for text in _step(value, (key,), Stage.RESPONSE):
            if text.structured:
                yield text
            elif text.stage is Stage.TOOL_CALL:
                if text.value:
                    yield text._replace(tool=text.tool or self._tools.get(number_), channel=(number_, "call"))
            else:
                yield text._replace(channel=(number_, *(str(part) for part in text.path[1:])))


def refuse(message: str) -> dict[str, Any]:
    """An interaction whose only step says no."""
    step = {"type": "model_output", "content": [{"type": "text", "text": message}]}
    return {"id": "highflame", "object": "interaction", "status": "completed", "model": "", "steps": [step]}


def _step(step: Any, path: Path, said: Stage | None) -> Iterator[Text]:
    """The texts of one step or part: what is passed to a tool, what it gave, or what somebody said."""
    if not isinstance(step, dict):
        yield from text_of(step, path, said or Stage.PROMPT, "assistant" if said else "user")
        return
    kind, name = string(step.get("type")) or "", string(step.get("name"))
    role = string(step.get("role")) or ("assistant" if said or kind in ("model_output", "thought") else "user")
    called = kind.endswith("_call") or kind == "arguments_delta"
    for key, value in step.items():
        if key in _FRAME:
            continue
        place = (*path, key)
        if called and key in ("arguments", "partial_arguments"):
            yield from read_arguments(step, key, path)
        elif kind.endswith("_result"):
            for text in text_of(value, place, Stage.TOOL_RESULT, "tool"):
                yield text._replace(tool=name)
        else:
            yield from text_of(value, place, said or Stage.PROMPT, role)


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    status = string(body.get("status"))
    return Summary(
        id=string(body.get("id")),
        model=string(body.get("model")),
        finish_reasons=(status,) if status in ("completed", "incomplete", "failed", "cancelled") else (),
        input_tokens=integer(usage.get("total_input_tokens")),
        output_tokens=integer(usage.get("total_output_tokens")),
        cached_tokens=integer(usage.get("total_cached_tokens")),
        reasoning_tokens=integer(usage.get("total_thought_tokens")),
    )


CODEC = Codec(
    name="gemini-interactions",
    provider="gemini",
    operation="chat",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
