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
from .echoes import ARGUMENTS, CALL_BLOCKS, CALL_KEYS, echoes_of, metadata_kept, reparsed, repeated
from .marks import marked_calls

__all__ = [
    "OPAQUE",
    "Judged",
    "descriptions_of",
    "digest_of_message",
    "in_history",
    "instructions_of",
    "judged",
    "remember",
    "ruled",
    "texts_of",
    "tools_of",
    "with_arguments",
]

# Names, addresses and bytes: nothing that a reader of the message reads.
OPAQUE = frozenset(
    {
        "__gemini_function_call_thought_signatures__",
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
        "tool_id",
        "tool_use_id",
        "type",
        "url",
    }
)
# Arguments of a call that are prompts of a system.
_INSTRUCTIONS = frozenset({"instructions", "system", "system_instruction"})
_TEXTUAL = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")
_BYTES = ("base64", "data")


@dataclass(frozen=True, slots=True)
class Judged:
    """A message as it may go on, or why it may not; ``calls`` are the rulings on its tool calls."""

    message: Any
    error: HighflameError | None = None
    edited: bool = False
    calls: tuple[Ruling, ...] = ()


def texts_of(message: BaseMessage, *, decided: bool = False) -> list[Text]:
    """The texts of a message, each with its place in the message's body.

    Of a reply ``decided`` leaves out the calls that are marked.
    """
    if isinstance(message, RemoveMessage):
        return []
    stage, role, tool = _standing(message)
    echoes = echoes_of(message)
    found = [
        text_at(stage, value, role=role, tool=tool)._replace(path=path)
        for path, value in (
            *_content(message.content),
            *leaves(message.additional_kwargs, ("more",), OPAQUE | CALL_KEYS),
            *_calls_beside(message.additional_kwargs),
        )
        if value and not repeated(path, echoes)
    ]
    if isinstance(message, AIMessage):
        marks = marked_calls(message) if decided else {}
        found += [text for text in _calls(message) if not _marked(message, text.path, marks)]
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


def tools_of(given: Mapping[str, Any]) -> dict[str, str]:
    """What the tools that a model is told of say of themselves, by their names."""
    found: dict[str, str] = {}
    stack = [given.get(key) for key in ("tools", "functions")]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, dict):
            name, description = node.get("name"), node.get("description")
            if isinstance(name, str) and isinstance(description, str):
                found[name] = description
            else:
                stack += [node.get(key) for key in ("function", "function_declarations", "functionDeclarations")]
    return found


def instructions_of(given: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What the arguments of a call tell the model, past its messages."""
    for name in _INSTRUCTIONS & given.keys():
        yield from ((place, text) for place, text in leaves(given[name], (name,), OPAQUE) if text)


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


def _content(content: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(content, str):
        yield ("content",), content
        return
    for index, block in enumerate(content):
        if isinstance(block, str):
            yield ("content", index), block
        elif isinstance(block, dict):
            called = ARGUMENTS & block.keys() if block.get("type") in CALL_BLOCKS else frozenset()
            yield from leaves(block, ("content", index), OPAQUE | called)
            # To a tool an address is an argument like others.
            for key in sorted(called):
                yield from leaves(block[key], ("content", index, key), frozenset())
            yield from _files(block, ("content", index))


def _calls_beside(more: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for key in sorted(CALL_KEYS & more.keys()):
        yield from leaves(more[key], ("more", key), frozenset({"id", "index", "type"}))


def _marked(message: AIMessage, place: Path, marks: Mapping[str, Any]) -> bool:
    index = int(place[1])
    return place[0] == "calls" and (message.tool_calls[index]["id"] or str(index)) in marks


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
    written = {"content": message.content, "more": message.additional_kwargs}
    places = {place: value for place, value in changes.items() if place[0] in ("content", "more")}
    for place, source in echoes_of(message).items():
        if source is not None and source in changes:
            places[place] = _as_written(_at(written, place), changes[source])
    body = rewrite(written, places)
    update: dict[str, Any] = {"content": body["content"], "additional_kwargs": body["more"]}
    if isinstance(message, AIMessage):
        if calls:
            update["tool_calls"] = [
                {**call, "args": calls.get(index, call["args"])} for index, call in enumerate(message.tool_calls)
            ]
        if bad:
            update["invalid_tool_calls"] = [
                {**call, "args": bad.get(index, call["args"])}
                for index, call in enumerate(message.invalid_tool_calls)
            ]
        update["response_metadata"] = metadata_kept(message.response_metadata)
        if any(place[0] == "content" for place in changes):
            said = message.model_copy(update={"content": body["content"]})
            update["additional_kwargs"] = reparsed(body["more"], str(said.text))
    return message.model_copy(update=update)


def _at(body: Any, place: Path) -> Any:
    for key in place:
        body = body[key]
    return body


def _as_written(before: Any, args: Any) -> Any:
    """Arguments in the form that they were written in."""
    return json.dumps(args) if isinstance(before, str) and not isinstance(args, str) else args


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
    checkpoint: Checkpoint, messages: Sequence[BaseMessage], *, decided: bool = False, **about: Any
) -> Flow[list[Judged]]:
    """Have the texts of some messages judged, all at once: what becomes of each message.

    Calls that are marked are not judged again where they are ``decided``.
    """
    texts = [texts_of(message, decided=decided) for message in messages]
    rulings = yield from checkpoint.judging([text for own in texts for text in own], **about)
    out: list[Judged] = []
    at = 0
    for message, own in zip(messages, texts, strict=True):
        found = rulings[at : at + len(own)]
        at += len(own)
        out.append(ruled(message, own, found, strict=checkpoint.policy.mode.blocks))
    return out
