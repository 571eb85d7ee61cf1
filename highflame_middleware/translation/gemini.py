"""Gemini's generateContent: calls and replies. The path names the model and says whether there is a stream.

Calls of tools have ids there only sometimes: those without one get one that is made of their place,
and results are matched with calls by name and order. The ids of other formats are left out again, since
results stand in the order of their calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from .conversation import Conversation, Message, OtherPart, Part, Reply, ToolCallPart, ToolResultPart
from .fields import form_of, keep, kept, mapping, string, without
from .gemini_config import read_config, read_tools, write_config, write_tools
from .gemini_parts import (
    NAME,
    read_finish,
    read_part,
    read_usage,
    spelt,
    write_finish,
    write_part,
    write_usage,
)
from .gemini_stream import StreamReader, StreamWriter
from .leftovers import Leftover, Lost, object_of, objects_of, total
from .translator import Translator, UntranslatableError, WrittenCall
from .turns import called_tools, check_essentials, is_native, split_system, split_turn, turns

__all__ = ["TRANSLATOR"]

_PATH = re.compile(
    r"/(?P<kind>models|tunedModels|endpoints)/(?P<model>[^/:]+?)(?::|%3A)"
    r"(?P<verb>generateContent|streamGenerateContent)$",
    re.IGNORECASE,
)
_BASE = "/v1beta"
_RESOURCE = re.compile(r"^(models|tunedModels|endpoints|publishers/[^/]+/models)/")
# What other models called has no signature, which newer models want of every turn: this word excuses them.
_UNSIGNED = "skip_thought_signature_validator"
_ROLES = {"user": "user", "model": "assistant", "assistant": "assistant", "function": "user", "tool": "user"}


@total
def read_call(body: Any, path: str) -> Conversation:
    """A call to a model; those that count tokens, embed or start batches are none."""
    left = Leftover(spelt(object_of(body, "the call")))
    path = path.partition("?")[0]
    found = _PATH.search(path)
    if found is None:
        raise UntranslatableError("only calls for an answer can be translated")
    model = unquote(found["model"])
    model = model if found["kind"].lower() == "models" else f"{found['kind']}/{model}"
    essentials: dict[str, Any] = {}
    if left.rest.get("cachedContent"):
        essentials["cachedContent"] = left.rest.pop("cachedContent")
    config, form = read_config(left, essentials)
    tools, layout = read_tools(left)
    form.update(path=path, model=model, **layout)
    return Conversation(
        model=model,
        stream="stream" in found["verb"].lower(),
        messages=(*_read_system(left), *_read_messages(left)),
        **tools,
        **config,
        essentials=(OtherPart(format=NAME, value=essentials),) if essentials else (),
        extra=keep(NAME, left.rest, form=form),
    )


def _read_system(left: Leftover) -> list[Message]:
    system = left.rest.pop("systemInstruction", None)
    if system is None:
        return []
    if isinstance(system, str):
        system = {"parts": [{"text": system}]}
    content = spelt(object_of(system, "the system prompt"))
    parts = tuple(read_part(part, place="") for part in objects_of(content.pop("parts", ()), "parts"))
    return [Message(role="system", parts=parts, extra=keep(NAME, form={"beside": content}))]


def _read_messages(left: Leftover) -> list[Message]:
    given = left.rest.pop("contents", ())
    out: list[Message] = []
    pending: list[tuple[str, str]] = []
    for place, item in enumerate(objects_of([given] if isinstance(given, dict) else given, "contents")):
        content = spelt(item)
        role = content.get("role", "user")
        if not isinstance(role, str) or role not in _ROLES:
            raise UntranslatableError("a message has a role that is not known")
        parts: list[Part] = []
        for index, value in enumerate(objects_of(content.get("parts", ()), "parts")):
            part = read_part(value, place=f"{place}.{index}", pending=pending)
            _follow(part, pending)
            parts.append(part)
        form = {"role": content.get("role"), "parts": "parts" in content}
        extra = keep(NAME, without(content, ("role", "parts")), form=form)
        out.extend(split_turn(NAME, Message(role=_ROLES[role], extra=extra), parts))
    return out


def _follow(part: Part, pending: list[tuple[str, str]]) -> None:
    """Note a call as waiting for its result, and a result as that of the first call that waits for it."""
    if isinstance(part, ToolCallPart):
        pending.append((part.name, part.id))
    elif isinstance(part, ToolResultPart):
        answered = (part.name or "", part.call_id)
        if answered in pending:
            pending.remove(answered)


@total
def write_call(conversation: Conversation) -> WrittenCall:
    """A call to a model."""
    check_essentials(NAME, conversation)
    lost = Lost(NAME)
    lost.add_foreign(conversation.extra)
    native = is_native(NAME, conversation.extra)
    system, others, moved = split_system(conversation)
    if moved and not native:
        lost.add("messages.order")
    names = called_tools(conversation.messages)
    body: dict[str, Any] = {}
    if system:
        parts = [part for message in system for part in _write_parts(message, lost, names)]
        beside = mapping(form_of(NAME, system[0].extra)).get("beside")
        if parts or beside is not None:
            body["systemInstruction"] = {"parts": parts, **mapping(beside)}
    body["contents"] = _write_messages(conversation, others, lost, names)
    essentials = {key: value for part in conversation.essentials for key, value in mapping(part.value).items()}
    write_config(conversation, body, essentials, lost)
    write_tools(conversation, body, lost)
    if "cachedContent" in essentials:
        body["cachedContent"] = essentials["cachedContent"]
    for key, value in kept(NAME, conversation.extra).items():
        if "." not in key:
            body.setdefault(key, value)
    return WrittenCall(path=_write_path(conversation), body=body, dropped=lost.names)


def _write_parts(message: Message, lost: Lost, names: Mapping[str, str]) -> list[dict[str, Any]]:
    lost.add_foreign(message.extra, "messages.")
    if message.name is not None:
        lost.add("messages.name")
    written = (write_part(part, lost, names=names) for part in message.parts)
    return [part for part in written if part is not None]


def _write_messages(
    conversation: Conversation, messages: list[Message], lost: Lost, names: Mapping[str, str]
) -> list[dict[str, Any]]:
    order = {identity: place for place, identity in enumerate(names)}
    unsigned = "gemini-3" in (conversation.model or "")
    out: list[dict[str, Any]] = []
    for turn in turns(NAME, messages):
        first = turn[0]
        form = form_of(NAME, first.extra)
        joined = turn if form is not None else _in_order(turn, order)
        parts = [part for message in joined for part in _write_parts(message, lost, names)]
        if form is None and unsigned:
            _excuse(parts)
        if not parts and form is None:
            continue
        content: dict[str, Any] = (
            {} if form is not None and not parts and not mapping(form).get("parts") else {"parts": parts}
        )
        role = mapping(form).get("role", "model" if first.role == "assistant" else "user")
        if role is not None:
            content["role"] = role
        out.append({**content, **kept(NAME, first.extra)})
    return out


def _in_order(turn: list[Message], order: Mapping[str, int]) -> list[Message]:
    """A turn with its tools' results first, in the order of their calls, which is how they are known apart."""
    results = [part for message in turn for part in message.parts if isinstance(part, ToolResultPart)]
    if not results:
        return turn
    results.sort(key=lambda part: order.get(part.call_id, len(order)))
    rest = [
        replace(message, parts=tuple(part for part in message.parts if not isinstance(part, ToolResultPart)))
        for message in turn
    ]
    return [Message(role="tool", parts=tuple(results)), *rest]


def _excuse(parts: list[dict[str, Any]]) -> None:
    called = next((part for part in parts if "functionCall" in part), None)
    if called is not None:
        called.setdefault("thoughtSignature", _UNSIGNED)


def _write_path(conversation: Conversation) -> str:
    verb = "streamGenerateContent" if conversation.stream else "generateContent"
    query = "?alt=sse" if conversation.stream else ""
    model = conversation.model
    if model is None:
        raise UntranslatableError(f"{NAME} wants a model's name")
    form = mapping(form_of(NAME, conversation.extra))
    found = _PATH.search(form.get("path") or "")
    if found is not None and form.get("model") == model:
        between = found.string[found.end("model") : found.start("verb")]
        return f"{found.string[: found.end('model')]}{between}{verb}{query}"
    # A name may have a maker's before it: only a resource's name has segments.
    named = quote(model, safe="/" if _RESOURCE.match(model) else "", errors="replace")
    named = named if _RESOURCE.match(model) else f"models/{named}"
    base = found.string[: found.start()] if found is not None else _BASE
    return f"{base}/{named}:{verb}{query}"


@total
def read_reply(body: Any) -> Reply:
    """A reply of one candidate; one of none was blocked."""
    left = Leftover(spelt(object_of(body, "the reply")))
    if "error" in left.rest:
        raise UntranslatableError("the reply is an error")
    candidates = list(objects_of(left.rest.pop("candidates", ()), "candidates"))
    if len(candidates) > 1:
        raise UntranslatableError("the reply has several candidates")
    candidate = Leftover(spelt(candidates[0]) if candidates else {})
    content = spelt(candidate.rest.get("content"))
    identity = left.take("responseId", string)
    parts = tuple(
        read_part(part, place=f"{identity}.{index}")
        for index, part in enumerate(objects_of(content.get("parts", ()), "parts"))
    )
    calls = any(isinstance(part, ToolCallPart) for part in parts)
    reason = candidate.rest.pop("finishReason", None)
    finish = read_finish(reason, calls=calls)
    if not candidates and mapping(left.rest.get("promptFeedback")):
        finish = "content_filter"
    usage = left.rest.pop("usageMetadata", None)
    form = {
        "finishReason": reason,
        "usage": usage,
        "content": without(content, ("parts",)) if "content" in candidate.rest else None,
        "parts": "parts" in content,
    }
    candidate.rest.pop("content", None)
    if candidates:
        left.rest["candidate"] = candidate.rest
    return Reply(
        id=identity,
        model=left.take("modelVersion", string),
        parts=parts,
        finish=finish,
        usage=read_usage(usage),
        extra=keep(NAME, left.rest, form=form),
    )


@total
def write_reply(reply: Reply) -> dict[str, Any]:
    """A reply."""
    form = mapping(form_of(NAME, reply.extra))
    own = dict(kept(NAME, reply.extra))
    written = (write_part(part, Lost(NAME), names={}, answering=True) for part in reply.parts)
    parts = [part for part in written if part is not None]
    body: dict[str, Any] = {}
    candidate: dict[str, Any] = {} if form else {"index": 0}
    if not form or form.get("content") is not None or parts:
        said = form.get("content") if form else {"role": "model"}
        candidate["content"] = {
            **({"parts": parts} if parts or not form or form.get("parts") else {}),
            **mapping(said),
        }
    calls = any(isinstance(part, ToolCallPart) for part in reply.parts)
    reason = form.get("finishReason")
    if reason is not None and read_finish(reason, calls=calls) == reply.finish:
        candidate["finishReason"] = reason
    elif reply.finish is not None and not (form and "candidate" not in own):
        candidate["finishReason"] = write_finish(reply.finish)
    candidate.update(own.pop("candidate", {}))
    if candidate:
        body["candidates"] = [candidate]
    usage = form.get("usage")
    if usage is not None and read_usage(usage) == reply.usage:
        body["usageMetadata"] = usage
    elif reply.usage is not None:
        body["usageMetadata"] = write_usage(reply.usage)
    if reply.model is not None:
        body["modelVersion"] = reply.model
    if reply.id is not None:
        body["responseId"] = reply.id
    return {**body, **own}


TRANSLATOR = Translator(
    name=NAME,
    read_call=read_call,
    write_call=write_call,
    read_reply=read_reply,
    write_reply=write_reply,
    read_stream=StreamReader,
    write_stream=StreamWriter,
)
