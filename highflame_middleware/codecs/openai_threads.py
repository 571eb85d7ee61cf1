"""openai-threads: the Assistants API: assistants, threads, their messages, runs and the steps of runs.

A run streams messages and steps as deltas, each of which stands whole in the
event that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..types import Stage
from .openai import (
    OPAQUE,
    fail,
    integer,
    mapping,
    number,
    read_definitions,
    read_unknown,
    sequence,
    string,
    text_of,
)
from .parts import CallRead, Channel, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

_RUNS = re.compile(r"/runs(/[^/]+/submit_tool_outputs)?$")
_MESSAGES = ("messages", "additional_messages")
_INSTRUCTIONS = ("instructions", "additional_instructions", "description")
# What a tool's call holds, and what it gave back.
_CALL_KEYS = frozenset({"arguments", "input"})
_RESULT_KEYS = frozenset({"output", "outputs", "results"})
_ENDINGS = (".completed", ".failed", ".cancelled", ".expired", ".incomplete", ".requires_action")
# What says nothing new: settings that the caller gave, and what is gone.
_SILENT = re.compile(r"assistant|thread|.*\.deleted")


def name_operation(method: str, path: str) -> str | None:
    """To run a thread is to invoke its assistant; to keep and look things up has no name in the conventions."""
    if method != "POST":
        return None
    if _RUNS.search(path):
        return "invoke_agent"
    return "create_agent" if path.endswith("/assistants") else None


def read_call(body: Any) -> CallRead:
    """Messages, instructions, tool definitions, and what tools gave back."""
    body = mapping(body)
    texts = list(_thread(body, ()))
    texts.extend(_thread(mapping(body.get("thread")), ("thread",)))
    for key in _INSTRUCTIONS:
        texts.extend(text_of(body.get(key), (key,), Stage.PROMPT, "system"))
    for key in ("tools", "response_format"):
        texts.extend(read_definitions(body.get(key), (key,)))
    for index, output in enumerate(sequence(body.get("tool_outputs"))):
        for place, found in leaves(mapping(output).get("output"), ("tool_outputs", index, "output"), frozenset()):
            if found:
                texts.append(Text(place, found, Stage.TOOL_RESULT, "tool"))
    return CallRead(string(body.get("model")), body.get("stream") is True, tuple(texts))


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    body = mapping(body)
    return Params(
        max_tokens=integer(body.get("max_completion_tokens")),
        temperature=number(body.get("temperature")),
        top_p=number(body.get("top_p")),
    )


def read_reply(body: Any) -> ReplyRead:
    """A message, a run, a step, or a listing of them."""
    read = mapping(body)
    if isinstance(read.get("data"), list):
        texts = [
            text for index, item in enumerate(read["data"]) for text in _object(item, ("data", index), _kind(item))
        ]
        return ReplyRead(tuple(texts), Summary())
    return ReplyRead(tuple(_object(body, (), _kind(body))), _summary(read))


class Reader:
    """Reads the events of a run; keeps the names of the functions that are being called."""

    def __init__(self) -> None:
        self._tools: dict[Channel, str] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: a delta, or a whole object as it is now."""
        said = mapping(data)
        kind = _kind(said)
        identity = string(said.get("id")) or ""
        if kind.endswith(".delta"):
            return EventRead(tuple(self._delta(mapping(said.get("delta")), identity)))
        closes: tuple[Channel, ...] = ()
        named = event or ""
        if named.startswith("thread.") and named.endswith(_ENDINGS):
            # A run that ends, or waits, says no more; the others end by themselves.
            closes = ((),) if named.startswith("thread.run.") and ".step." not in named else ((identity,),)
        return EventRead(tuple(_object(data, (), kind)), closes, _summary(said))

    def _delta(self, delta: Any, identity: str) -> Iterator[Text]:
        for position, part in enumerate(sequence(delta.get("content"))):
            number = _index(part, position)
            for text in text_of(part, ("delta", "content", position), Stage.RESPONSE, "assistant"):
                whole = "annotations" in text.path
                yield text if whole else text._replace(channel=(identity, number, *text.path[3:]))
        calls = mapping(delta.get("step_details")).get("tool_calls")
        for position, call in enumerate(sequence(calls)):
            place: Path = ("delta", "step_details", "tool_calls", position)
            channel: Channel = (identity, "call", _index(call, position))
            if named := string(mapping(mapping(call).get("function")).get("name")):
                self._tools[channel] = named
            for text in _call(mapping(call), place, self._tools.get(channel), whole=False):
                yield text._replace(channel=(*channel, *text.path[4:]))


def refuse(message: str) -> dict[str, Any]:
    """A run that failed, saying why; SDKs that want another object of it find its fields missing."""
    return {
        "id": "run_highflame",
        "object": "thread.run",
        "created_at": 0,
        "status": "failed",
        "last_error": {"code": "invalid_prompt", "message": message},
        "data": [],
    }


def _thread(thread: Any, path: Path) -> Iterator[Text]:
    """The messages that come with a call, or the one that it is."""
    for key in _MESSAGES:
        for index, message in enumerate(sequence(thread.get(key))):
            yield from _content(message, (*path, key, index), Stage.PROMPT, "user")
    if "content" in thread:
        yield from _content(thread, path, Stage.PROMPT, "user")


def _content(message: Any, path: Path, stage: Stage, role: str) -> Iterator[Text]:
    if not isinstance(message, dict):
        yield from text_of(message, path, stage, role)
        return
    yield from text_of(message.get("content"), (*path, "content"), stage, string(message.get("role")) or role)


def _kind(value: Any) -> str:
    return string(mapping(value).get("object")) or ""


def _object(value: Any, path: Path, kind: str) -> Iterator[Text]:
    """The texts of one object of this API; all of them where it is of no kind that is known."""
    read = mapping(value)
    if kind == "thread.message":
        # Others' messages come back as they were sent.
        stage = Stage.PROMPT if read.get("role") == "user" else Stage.RESPONSE
        yield from _content(value, path, stage, "assistant")
    elif kind == "thread.run":
        calls: Any = mapping(mapping(read.get("required_action")).get("submit_tool_outputs")).get("tool_calls")
        yield from _calls(calls, (*path, "required_action", "submit_tool_outputs", "tool_calls"))
        yield from _error(read, path)
    elif kind == "thread.run.step":
        calls = mapping(read.get("step_details")).get("tool_calls")
        yield from _calls(calls, (*path, "step_details", "tool_calls"))
        yield from _error(read, path)
    elif not _SILENT.fullmatch(kind):
        for text in read_unknown(value):
            yield text._replace(path=(*path, *text.path))


def _error(read: Any, path: Path) -> Iterator[Text]:
    message = mapping(read.get("last_error")).get("message")
    yield from text_of(message, (*path, "last_error", "message"), Stage.RESPONSE, "assistant")


def _calls(calls: Any, path: Path) -> Iterator[Text]:
    for index, call in enumerate(sequence(calls)):
        function = mapping(mapping(call).get("function"))
        yield from _call(mapping(call), (*path, index), string(function.get("name")), whole=True)


def _call(call: Mapping[str, Any], path: Path, name: str | None, *, whole: bool) -> Iterator[Text]:
    """What is passed to a tool and what it gave back; one that is called with nothing is called all the same."""
    kind = string(call.get("type")) or "function"
    tool = name or (kind if kind != "function" else None)
    if whole and name is not None and not mapping(call.get("function")).get("arguments"):
        yield Text((*path, "function", "arguments"), "", Stage.TOOL_CALL, "assistant", name)
    for key, body in call.items():
        if not isinstance(body, dict):
            continue
        for inner, value in body.items():
            place = (*path, key, inner)
            if inner in _CALL_KEYS:
                for where, found in leaves(value, place, frozenset()):
                    if found:
                        is_json = inner == "arguments" and where == place
                        yield Text(where, found, Stage.TOOL_CALL, "assistant", tool, None, is_json)
            elif inner in _RESULT_KEYS:
                for where, found in leaves(value, place, OPAQUE):
                    if found:
                        yield Text(where, found, Stage.TOOL_RESULT, "tool", tool)
            elif inner not in OPAQUE:
                yield from text_of(value, place, Stage.TOOL_CALL, "assistant")


def _index(numbered: Any, position: int) -> int:
    """The number that a part or call gives itself, or its place where it gives none."""
    given = integer(mapping(numbered).get("index"))
    return position if given is None else given


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    return Summary(
        id=string(body.get("id")) if _kind(body) == "thread.run" else None,
        model=string(body.get("model")),
        input_tokens=integer(usage.get("prompt_tokens")),
        output_tokens=integer(usage.get("completion_tokens")),
    )


CODEC = Codec(
    name="openai-threads",
    provider="openai",
    operation=None,
    name_operation=name_operation,
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
)
