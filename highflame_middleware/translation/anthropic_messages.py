"""Anthropic's Messages: calls and replies.

``max_tokens`` must be given: where nobody did, it is `DEFAULT_MAX_TOKENS`, which every model takes.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

from .anthropic_blocks import (
    NAME,
    read_blocks,
    read_finish,
    read_usage,
    write_block,
    write_finish,
    write_usage,
)
from .anthropic_config import (
    read_choice,
    read_format,
    read_thinking,
    read_tools,
    write_params,
    write_tools,
)
from .anthropic_stream import StreamReader, StreamWriter
from .conversation import Conversation, Message, OtherPart, Reply
from .fields import boolean, form_of, integer, keep, kept, mapping, number, string, without
from .leftovers import Leftover, Lost, filled, object_of, objects_of, strings, total
from .translator import Translator, UntranslatableError, WrittenCall
from .turns import adopted, check_essentials, is_native, split_system, split_turn, turns

__all__ = ["DEFAULT_MAX_TOKENS", "TRANSLATOR"]

DEFAULT_MAX_TOKENS = 4096
_PATH = "/v1/messages"
# Elsewhere the path names the model and says whether there is a stream.
_ELSEWHERE = re.compile(
    r"/(?P<model>[^/]+?)(?::|%3A|/)(?P<verb>rawPredict|streamRawPredict|invoke|invoke-with-response-stream)$",
    re.IGNORECASE,
)
_VERBS = {
    "rawpredict": ("rawPredict", "streamRawPredict"),
    "streamrawpredict": ("rawPredict", "streamRawPredict"),
    "invoke": ("invoke", "invoke-with-response-stream"),
    "invoke-with-response-stream": ("invoke", "invoke-with-response-stream"),
}
_ESSENTIALS = ("container", "mcp_servers")


@total
def read_call(body: Any, path: str) -> Conversation:
    """A call to a model; those that count tokens or start batches are none."""
    left = Leftover(object_of(body, "the call"))
    path = path.partition("?")[0]
    elsewhere = _ELSEWHERE.search(path)
    if elsewhere is None and not path.rstrip("/").endswith("/messages"):
        raise UntranslatableError("only calls for a message can be translated")
    model, said = left.take("model", string), left.take("stream", boolean)
    stream = bool(said)
    if elsewhere is not None:
        model, stream = unquote(elsewhere["model"]), "stream" in elsewhere["verb"].lower()
    tools, others, order = read_tools(left)
    choice, parallel = left.take("tool_choice", read_choice) or (None, None)
    output = Leftover(left.take("output_config", filled) or {})
    effort, schema = output.take("effort", string), output.take("format", read_format)
    left.put_back("output_config", output.rest)
    given = Leftover(left.take("metadata", filled) or {})
    user = given.take("user_id", string)
    left.put_back("metadata", given.rest)
    essentials = {key: left.rest.pop(key) for key in _ESSENTIALS if left.rest.get(key)}
    form = {"tools": order, "path": path if elsewhere is not None else None, "stream": said}
    return Conversation(
        model=model,
        stream=stream,
        messages=(*_read_system(left), *_read_messages(left)),
        tools=tools,
        other_tools=others,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=left.take("max_tokens", integer),
        temperature=left.take("temperature", number),
        top_p=left.take("top_p", number),
        top_k=left.take("top_k", integer),
        stop=left.take("stop_sequences", strings) or (),
        output_schema=schema,
        reasoning_effort=effort,
        reasoning_budget=left.take("thinking", read_thinking),
        user=user,
        essentials=(OtherPart(format=NAME, value=essentials),) if essentials else (),
        extra=keep(NAME, left.rest, form=form),
    )


def _read_system(left: Leftover) -> list[Message]:
    system = left.rest.pop("system", None)
    if system is None:
        return []
    form = {"beside": "text" if isinstance(system, str) else "blocks"}
    return [Message(role="system", parts=read_blocks(system), extra=keep(NAME, form=form))]


def _read_messages(left: Leftover) -> list[Message]:
    out: list[Message] = []
    for item in objects_of(left.rest.pop("messages", None), "messages"):
        role, content = item.get("role"), item.get("content")
        if role not in ("user", "assistant", "system"):
            raise UntranslatableError("a message has a role that is not known")
        form = {"text": isinstance(content, str)}
        message = Message(role=role, extra=keep(NAME, without(item, ("role", "content")), form=form))
        out.extend(split_turn(NAME, message, read_blocks(content)))
    return out


@total
def write_call(conversation: Conversation) -> WrittenCall:
    """A call to a model."""
    check_essentials(NAME, conversation)
    conversation = adopted(NAME, conversation)
    lost = Lost(NAME)
    lost.add_foreign(conversation.extra)
    system, others, moved = split_system(conversation)
    native = is_native(NAME, conversation.extra)
    if native:
        # Instructions in the midst of a conversation stand there.
        system = [message for message in system if _stands_beside(message)]
        others = [message for message in conversation.messages if not _stands_beside(message)]
    elif moved:
        lost.add("messages.order")
    body: dict[str, Any] = {"model": conversation.model} if conversation.model is not None else {}
    if not native or conversation.max_tokens is not None:
        body["max_tokens"] = conversation.max_tokens if conversation.max_tokens is not None else DEFAULT_MAX_TOKENS
    if written := _write_system(system, lost):
        body["system"] = written[0]
    body["messages"] = _write_messages(others, lost)
    write_tools(conversation, body, lost)
    write_params(conversation, body, lost)
    if conversation.stream or mapping(form_of(NAME, conversation.extra)).get("stream") is not None:
        body["stream"] = conversation.stream
    for essential in conversation.essentials:
        body.update(mapping(essential.value))
    own = dict(kept(NAME, conversation.extra))
    for key in ("output_config", "metadata"):
        if isinstance(own.get(key), dict) and key in body:
            body[key] = {**own.pop(key), **body[key]}
    body.update(own)
    return WrittenCall(path=_write_path(conversation, body), body=body, dropped=lost.names)


def _stands_beside(message: Message) -> bool:
    form = form_of(NAME, message.extra)
    return message.role == "system" and (form is None or "beside" in mapping(form))


def _write_system(messages: list[Message], lost: Lost) -> list[Any]:
    """The system prompt: a list of it, or an empty one where there is none."""
    if not messages:
        return []
    blocks: list[Any] = []
    for message in messages:
        lost.add_foreign(message.extra, "messages.")
        blocks.extend(_write_parts(message, lost))
    plain = [block["text"] for block in blocks if mapping(block).keys() == {"type", "text"}]
    form = mapping(form_of(NAME, messages[0].extra)).get("beside")
    if len(blocks) == 1 and len(plain) == 1 and form in (None, "text"):
        return [plain[0]]
    return [blocks] if blocks or form else []


def _write_parts(message: Message, lost: Lost) -> list[dict[str, Any]]:
    if message.name is not None:
        lost.add("messages.name")
    blocks = (write_block(part, lost) for part in message.parts)
    return [block for block in blocks if block is not None]


def _write_messages(messages: list[Message], lost: Lost) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for turn in turns(NAME, messages):
        first = turn[0]
        for message in turn:
            lost.add_foreign(message.extra, "messages.")
        content: Any = [block for message in turn for block in _write_parts(message, lost)]
        form = form_of(NAME, first.extra)
        text = mapping(content[0]).get("text") if len(content) == 1 and len(turn) == 1 else None
        if text is not None and mapping(content[0]).keys() == {"type", "text"} and mapping(form).get("text", True):
            content = text
        if not content and form is None:
            continue
        role = "user" if first.role == "tool" else first.role
        out.append({"role": role, "content": content, **kept(NAME, first.extra)})
    return out


def _write_path(conversation: Conversation, body: dict[str, Any]) -> str:
    """The path; where it names the model and asks for the stream, the body does not."""
    path = mapping(form_of(NAME, conversation.extra)).get("path")
    elsewhere = _ELSEWHERE.search(path) if isinstance(path, str) else None
    if elsewhere is None or conversation.model is None:
        return _PATH
    body.pop("model", None)
    body.pop("stream", None)
    verb = _VERBS[elsewhere["verb"].lower()][conversation.stream]
    path = str(path)
    between = path[elsewhere.end("model") : elsewhere.start("verb")]
    model = elsewhere["model"]
    if unquote(model) != conversation.model:
        model = quote(conversation.model, safe="@", errors="replace")
    return path[: elsewhere.start("model")] + model + between + verb


@total
def read_reply(body: Any) -> Reply:
    """A message. The counts that nobody else keeps stay with it."""
    left = Leftover(object_of(body, "the reply"))
    if left.rest.get("type") == "error":
        raise UntranslatableError("the reply is an error")
    reason, usage = left.rest.pop("stop_reason", None), left.rest.pop("usage", None)
    for key in ("type", "role"):
        left.rest.pop(key, None)
    return Reply(
        id=left.take("id", string),
        model=left.take("model", string),
        parts=read_blocks(left.rest.pop("content", ())),
        finish=read_finish(reason),
        usage=read_usage(usage),
        extra=keep(NAME, left.rest, form={"stop_reason": reason, "usage": usage}),
    )


@total
def write_reply(reply: Reply) -> dict[str, Any]:
    """A message."""
    lost = Lost(NAME)
    form = mapping(form_of(NAME, reply.extra))
    blocks = (write_block(part, lost, answering=True) for part in reply.parts)
    reason, usage = form.get("stop_reason"), form.get("usage")
    return {
        "id": reply.id if reply.id is not None else "msg_0",
        "type": "message",
        "role": "assistant",
        "model": reply.model or "",
        "content": [block for block in blocks if block is not None],
        "stop_reason": reason if read_finish(reason) == reply.finish else write_finish(reply.finish),
        **({} if form else {"stop_sequence": None}),
        "usage": usage if usage is not None and read_usage(usage) == reply.usage else write_usage(reply.usage),
        **kept(NAME, reply.extra),
    }


TRANSLATOR = Translator(
    name=NAME,
    read_call=read_call,
    write_call=write_call,
    read_reply=read_reply,
    write_reply=write_reply,
    read_stream=StreamReader,
    write_stream=StreamWriter,
)
