"""Bedrock's Converse: calls and replies. The path names the model and says whether there is a stream.

Calls that hold tool calls define their tools, barely where nobody did: Bedrock takes them no other way.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

from .bedrock_blocks import (
    NAME,
    read_blocks,
    read_finish,
    read_usage,
    write_blocks,
    write_finish,
    write_usage,
)
from .bedrock_config import read_params, read_tools, write_params, write_tools
from .bedrock_stream import StreamReader, StreamWriter
from .conversation import Conversation, Message, OtherPart, Reply
from .fields import form_of, keep, kept, mapping, without
from .leftovers import Leftover, Lost, object_of, objects_of, total
from .translator import Translator, UntranslatableError, WrittenCall
from .turns import adopted, check_essentials, is_native, split_system, split_turn, turns

__all__ = ["TRANSLATOR"]

_PATH = re.compile(r"/model/(?P<model>[^/]+)/converse(?P<stream>-stream)?$")
# What fails or guards the call: a call without it is another call.
_ESSENTIALS = ("guardrailConfig", "promptVariables")


@total
def read_call(body: Any, path: str) -> Conversation:
    """A call to a model."""
    left = Leftover(object_of(body, "the call"))
    found = _PATH.search(path.partition("?")[0])
    if found is None:
        raise UntranslatableError("only calls for a message can be translated")
    said, form = read_params(left)
    tools, others, choice, caches = read_tools(left)
    essentials = {key: left.rest.pop(key) for key in _ESSENTIALS if left.rest.get(key)}
    return Conversation(
        model=unquote(found["model"]),
        stream=found["stream"] is not None,
        messages=(*_read_system(left), *_read_messages(left)),
        tools=tools,
        other_tools=others,
        tool_choice=choice,
        **said,
        essentials=(OtherPart(format=NAME, value=essentials),) if essentials else (),
        extra=keep(NAME, left.rest, form={**form, "tools": caches}),
    )


def _read_system(left: Leftover) -> list[Message]:
    system = left.rest.pop("system", None)
    if system is None:
        return []
    return [Message(role="system", parts=read_blocks(system), extra=keep(NAME, form={"beside": True}))]


def _read_messages(left: Leftover) -> list[Message]:
    out: list[Message] = []
    for item in objects_of(left.rest.pop("messages", ()), "messages"):
        role = item.get("role")
        if role not in ("user", "assistant", "system"):
            raise UntranslatableError("a message has a role that is not known")
        extra = keep(NAME, without(item, ("role", "content")), form={"role": role})
        out.extend(split_turn(NAME, Message(role=role, extra=extra), read_blocks(item.get("content"))))
    return out


@total
def write_call(conversation: Conversation) -> WrittenCall:
    """A call to a model."""
    check_essentials(NAME, conversation)
    conversation = adopted(NAME, conversation)
    if conversation.model is None:
        raise UntranslatableError(f"{NAME} wants a model's name")
    lost = Lost(NAME)
    lost.add_foreign(conversation.extra)
    native = is_native(NAME, conversation.extra)
    system, others, moved = split_system(conversation)
    if native:
        system = [message for message in system if _stands_beside(message)]
        others = [message for message in conversation.messages if not _stands_beside(message)]
    elif moved:
        lost.add("messages.order")
    body: dict[str, Any] = {}
    if system:
        blocks = [block for message in system for block in _write_message(message, lost)]
        if blocks or native:
            body["system"] = blocks
    body["messages"] = _write_messages(others, lost)
    write_params(conversation, body, lost)
    write_tools(conversation, body, lost)
    for essential in conversation.essentials:
        body.update(mapping(essential.value))
    for key, value in kept(NAME, conversation.extra).items():
        both = isinstance(value, dict) and isinstance(body.get(key), dict)
        body[key] = {**value, **body[key]} if both else value
    verb = "converse-stream" if conversation.stream else "converse"
    path = f"/model/{quote(conversation.model, safe='', errors='replace')}/{verb}"
    return WrittenCall(path=path, body=body, dropped=lost.names)


def _stands_beside(message: Message) -> bool:
    form = form_of(NAME, message.extra)
    return message.role == "system" and (form is None or "beside" in mapping(form))


def _write_message(message: Message, lost: Lost) -> list[Any]:
    lost.add_foreign(message.extra, "messages.")
    if message.name is not None:
        lost.add("messages.name")
    return write_blocks(message.parts, lost)


def _write_messages(messages: list[Message], lost: Lost) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for turn in turns(NAME, messages):
        content = [block for message in turn for block in _write_message(message, lost)]
        first = turn[0]
        if not content and not is_native(NAME, first.extra):
            continue
        role = "user" if first.role == "tool" else first.role
        if out and not is_native(NAME, first.extra) and out[-1]["role"] == role:
            # What stood between the two had nothing to say.
            out[-1]["content"].extend(content)
        else:
            out.append({"role": role, "content": content, **kept(NAME, first.extra)})
    return out


@total
def read_reply(body: Any) -> Reply:
    """A reply. It has neither id nor model."""
    left = Leftover(object_of(body, "the reply"))
    output = object_of(left.rest.pop("output", None), "the output")
    message = object_of(output.get("message"), "the message")
    reason, usage = left.rest.pop("stopReason", None), left.rest.pop("usage", None)
    left.put_back("output", without(output, ("message",)))
    form = {"stopReason": reason, "usage": usage, "message": without(message, ("content",))}
    return Reply(
        parts=read_blocks(message.get("content", ())),
        finish=read_finish(reason),
        usage=read_usage(usage),
        extra=keep(NAME, left.rest, form=form),
    )


@total
def write_reply(reply: Reply) -> dict[str, Any]:
    """A reply."""
    form = mapping(form_of(NAME, reply.extra))
    own = dict(kept(NAME, reply.extra))
    content = write_blocks(reply.parts, Lost(NAME), answering=True)
    reason, usage = form.get("stopReason"), form.get("usage")
    message = {"role": "assistant", **mapping(form.get("message")), "content": content}
    return {
        "output": {**own.pop("output", {}), "message": message},
        "stopReason": reason if read_finish(reason) == reply.finish and reason else write_finish(reply.finish),
        "usage": usage if usage is not None and read_usage(usage) == reply.usage else write_usage(reply.usage),
        **({} if form else {"metrics": {"latencyMs": 0}}),
        **own,
    }


TRANSLATOR = Translator(
    name=NAME,
    read_call=read_call,
    write_call=write_call,
    read_reply=read_reply,
    write_reply=write_reply,
    read_stream=StreamReader,
    write_stream=StreamWriter,
    content_type="application/vnd.amazon.eventstream",
)
