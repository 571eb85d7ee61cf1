"""Where the texts of a message are, and the message again once some were edited.

A message is read as one body: its content, what providers add to it, and the
arguments of its tool calls. Unknown blocks are read like known ones: every string
in them that is no id, address or data is a text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from highflame_middleware import BlockedError, CallContext, Decision, HighflameError, Stage
from highflame_middleware.checkpoint import Checkpoint, Flow, Ruling, Text, rendered, restored, text_at, worst
from highflame_middleware.codecs.parts import Path, leaves, rewrite

from .blocked import unusable

__all__ = [
    "OPAQUE",
    "Judged",
    "descriptions_of",
    "digest_of_message",
    "in_history",
    "judged",
    "remember",
    "ruled",
    "texts_of",
    "with_arguments",
]

# Names, addresses and bytes: nothing that a reader of the message reads.
OPAQUE = frozenset(
    {
        "base64",
        "cache_control",
        "call_id",
        "container_id",
        "data",
        "detail",
        "encrypted_content",
        "file_id",
        "format",
        "id",
        "index",
        "media_type",
        "mime_type",
        "parsed",
        "phase",
        "role",
        "signature",
        "source_type",
        "status",
        "thought_signature",
        "tool_call_id",
        "tool_use_id",
        "type",
        "url",
    }
)
# The calls of tools, in a provider's own words: they stand in `tool_calls` as well, and are judged there.
_CALL_BLOCKS = frozenset({"function_call", "input_json_delta", "tool_call", "tool_call_chunk", "tool_use"})
_CALL_KEYS = frozenset({"tool_calls", "function_call"})
_TEXTUAL = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")
_BYTES = ("base64", "data")


@dataclass(frozen=True, slots=True)
class Judged:
    """A message as it may go on, or why it may not; ``calls`` are the rulings on its tool calls."""

    message: Any
    error: HighflameError | None = None
    edited: bool = False
    calls: tuple[Ruling, ...] = ()


def texts_of(message: BaseMessage, *, calls: bool = True) -> list[Text]:
    """The texts of a message, each with its place in the message's body."""
    if isinstance(message, RemoveMessage):
        return []
    stage, role, tool = _standing(message)
    known = _ids_of(message)
    found = [
        text_at(stage, value, role=role, tool=tool)._replace(path=path)
        for path, value in (
            *_content(message.content, known),
            *leaves(message.additional_kwargs, ("more",), OPAQUE | _CALL_KEYS),
        )
        if value
    ]
    if isinstance(message, AIMessage) and calls:
        found += _calls(message)
    return found


def ruled(message: BaseMessage, texts: Sequence[Text], rulings: Sequence[Ruling], *, strict: bool) -> Judged:
    """What becomes of a message by the rulings on its texts; those on its tool calls are for the caller to heed."""
    changes: dict[Path, Any] = {}
    errors: list[HighflameError] = []
    calls: dict[int, Ruling] = {}
    for text, found in zip(texts, rulings, strict=True):
        place, ruling = text.path, found
        if place[0] == "calls":
            ruling, args = _arguments(message, text, found, strict=strict)
            calls[int(place[1])] = ruling
            if args is not None:
                changes[place] = args
        elif ruling.error is not None:
            errors.append(ruling.error)
        elif ruling.text is not None:
            changes[place] = _encoded(message, place, ruling.text)
    count = len(message.tool_calls) if isinstance(message, AIMessage) else 0
    return Judged(
        message=_rewritten(message, changes) if changes else message,
        error=worst(errors),
        edited=bool(changes),
        calls=tuple(calls.get(index, Ruling()) for index in range(count)),
    )


def descriptions_of(schemas: Any) -> Iterator[tuple[Path, str]]:
    """What tools and their parameters say of themselves, wherever it stands in their schemas."""
    stack: list[tuple[Path, Any]] = [((), schemas)]
    while stack:
        place, node = stack.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("description", "title") and isinstance(value, str):
                    if key == "description" and value:
                        yield (*place, key), value
                elif isinstance(value, dict | list):
                    stack.append(((*place, key), value))
        elif isinstance(node, list):
            stack += [((*place, index), value) for index, value in enumerate(node)]


def with_arguments(message: AIMessage, changed: Mapping[int, Mapping[str, Any]]) -> AIMessage:
    """The message with other arguments of some tool calls, wherever they stand."""
    edited: AIMessage = _rewritten(message, {("calls", index): args for index, args in changed.items()})
    return edited


def _standing(message: BaseMessage) -> tuple[Stage, str, str | None]:
    if isinstance(message, AIMessage):
        return Stage.RESPONSE, "assistant", None
    if isinstance(message, ToolMessage | FunctionMessage):
        return Stage.TOOL_RESULT, "tool", message.name or None
    if isinstance(message, SystemMessage) or message.type in ("system", "developer"):
        return Stage.PROMPT, "system", None
    return Stage.PROMPT, "user", None


def _ids_of(message: BaseMessage) -> frozenset[str]:
    calls = (*message.tool_calls, *message.invalid_tool_calls) if isinstance(message, AIMessage) else ()
    return frozenset(str(call["id"]) for call in calls if call.get("id"))


def _content(content: Any, known: frozenset[str]) -> Iterator[tuple[Path, str]]:
    if isinstance(content, str):
        yield ("content",), content
        return
    for index, block in enumerate(content):
        if isinstance(block, str):
            yield ("content", index), block
        elif isinstance(block, dict) and not _repeats_call(block, known):
            yield from leaves(block, ("content", index), OPAQUE)
            yield from _files(block, ("content", index))


def _repeats_call(block: Mapping[str, Any], known: frozenset[str]) -> bool:
    return block.get("type") in _CALL_BLOCKS and bool({block.get("id"), block.get("call_id")} & known)


def _files(block: Any, place: Path) -> Iterator[tuple[Path, str]]:
    """Texts that are sent as files, at most three levels down, where blocks have them."""
    if not isinstance(block, dict) or len(place) > 5:
        return
    for key, value in block.items():
        if key in _BYTES and isinstance(value, str) and (text := _text_of(block, value)):
            yield (*place, key), text
        elif isinstance(value, dict):
            yield from _files(value, (*place, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from _files(item, (*place, key, index))


def _text_of(block: Mapping[str, Any], value: str) -> str:
    """What a block's bytes say, where they are a text."""
    kind = str(block.get("mime_type") or block.get("media_type") or "")
    if not kind.startswith(_TEXTUAL):
        return ""
    if block.get("type") == "text" or block.get("source_type") == "text":
        return value
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return value


def _encoded(message: BaseMessage, place: Path, text: str) -> str:
    """A new text as it stands at a place: files of text may be written in base64."""
    if place[-1] not in _BYTES:
        return text
    block: Any = {"content": message.content, "more": message.additional_kwargs}
    for key in place[:-1]:
        block = block[key]
    written = block[place[-1]]
    return text if _text_of(block, written) == written else base64.b64encode(text.encode()).decode()


def _calls(message: AIMessage) -> Iterator[Text]:
    for index, call in enumerate(message.tool_calls):
        yield text_at(Stage.TOOL_CALL, rendered(call["args"]), tool=call["name"] or None, is_json=True)._replace(
            path=("calls", index)
        )
    for index, bad in enumerate(message.invalid_tool_calls):
        if bad.get("args"):
            yield text_at(Stage.TOOL_CALL, str(bad["args"]), tool=bad.get("name"))._replace(path=("bad", index))


def _arguments(message: BaseMessage, text: Text, ruling: Ruling, *, strict: bool) -> tuple[Ruling, Any]:
    """The ruling on a call, and the arguments that it is to have from now on, if others."""
    if ruling.error is not None or ruling.text is None:
        return ruling, None
    assert isinstance(message, AIMessage)
    args = message.tool_calls[int(text.path[1])]["args"]
    try:
        return ruling, restored(args, ruling.text)
    except ValueError:
        edited = json.loads(ruling.text)
        if isinstance(edited, dict):
            return ruling, edited
    return (Ruling(error=unusable(Stage.TOOL_CALL)) if strict else Ruling()), None


def _rewritten(message: BaseMessage, changes: Mapping[Path, Any]) -> Any:
    """A copy of a message, by the same id, with some places of its body changed."""
    calls = {int(place[1]): value for place, value in changes.items() if place[0] == "calls"}
    bad = {int(place[1]): value for place, value in changes.items() if place[0] == "bad"}
    body = rewrite(
        {"content": message.content, "more": message.additional_kwargs},
        {place: value for place, value in changes.items() if place[0] in ("content", "more")},
    )
    update: dict[str, Any] = {"content": body["content"], "additional_kwargs": body["more"]}
    if isinstance(message, AIMessage):
        if calls:
            update["tool_calls"] = [
                {**call, "args": calls.get(index, call["args"])} for index, call in enumerate(message.tool_calls)
            ]
            named = {message.tool_calls[index]["id"]: args for index, args in calls.items()}
            update["content"] = _content_with(update["content"], named)
            update["additional_kwargs"] = _more_with(update["additional_kwargs"], named)
        if bad:
            update["invalid_tool_calls"] = [
                {**call, "args": bad.get(index, call["args"])}
                for index, call in enumerate(message.invalid_tool_calls)
            ]
        # Token by token it would say again what has been taken out.
        update["response_metadata"] = {
            key: value for key, value in message.response_metadata.items() if key != "logprobs"
        }
    return message.model_copy(update=update)


def _content_with(content: Any, named: Mapping[str | None, Any]) -> Any:
    """The content with new arguments where it repeats a call."""
    if isinstance(content, str):
        return content
    out: list[Any] = []
    for block in content:
        own = next((key for key in ("id", "call_id") if isinstance(block, dict) and block.get(key) in named), None)
        if own is None or block.get("type") not in _CALL_BLOCKS:
            out.append(block)
            continue
        new = dict(block)
        for key in ("input", "args", "arguments", "partial_json"):
            if key in new:
                args = named[new[own]]
                new[key] = json.dumps(args) if isinstance(new[key], str) else args
        out.append(new)
    return out


def _more_with(more: Mapping[str, Any], named: Mapping[str | None, Any]) -> dict[str, Any]:
    calls = more.get("tool_calls")
    if not isinstance(calls, list):
        return dict(more)
    out: list[Any] = []
    for call in calls:
        if isinstance(call, dict) and call.get("id") in named and isinstance(call.get("function"), dict):
            function = {**call["function"], "arguments": json.dumps(named[call["id"]])}
            out.append({**call, "function": function})
        else:
            out.append(call)
    return {**more, "tool_calls": out}


def in_history(one: Judged, messages: Sequence[BaseMessage]) -> Judged:
    """A judged message as a part of a history: its error says of its calls too.

    A call that has been answered is not waiting for anything: whether it was approved does not matter any more,
    and one that is denied loses its arguments, for it was not made.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    errors = [one.error] if one.error is not None else []
    emptied: dict[int, Mapping[str, Any]] = {}
    for index, ruling in enumerate(one.calls):
        error = ruling.error
        if error is None:
            continue
        if one.message.tool_calls[index]["id"] not in answered:
            errors.append(error)
        elif not (isinstance(error, BlockedError) and error.decision is Decision.STEP_UP):
            emptied[index] = {}
    message = with_arguments(one.message, emptied) if emptied else one.message
    return Judged(message=message, error=worst(errors), edited=one.edited or bool(emptied), calls=one.calls)


def digest_of_message(message: BaseMessage, whose: Sequence[Any]) -> str:
    """What a message says, and for whom it was judged, in a word."""
    said = [(text.stage, text.role, text.tool, text.value) for text in texts_of(message)]
    written = json.dumps([said, list(whose)], ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


def remember(checkpoint: Checkpoint, message: BaseMessage, caller: CallContext) -> None:
    """Have a message of our own not be judged when it is read again."""
    for text in texts_of(message):
        checkpoint.remember(text, caller=caller)


def judged(
    checkpoint: Checkpoint, messages: Sequence[BaseMessage], *, calls: bool = True, **about: Any
) -> Flow[list[Judged]]:
    """Have the texts of some messages judged, all at once: what becomes of each message."""
    texts = [texts_of(message, calls=calls) for message in messages]
    rulings = yield from checkpoint.judging([text for own in texts for text in own], **about)
    out: list[Judged] = []
    at = 0
    for message, own in zip(messages, texts, strict=True):
        found = rulings[at : at + len(own)]
        at += len(own)
        out.append(ruled(message, own, found, strict=checkpoint.policy.mode.blocks))
    return out
