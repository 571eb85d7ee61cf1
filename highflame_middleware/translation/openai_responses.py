"""openai-responses: ``POST /responses`` and its replies.

Instructions that lead a call of another format become its ``instructions``, and
the provider is asked not to store it, as the other formats' do not. Tools that
were not said to be strict are said not to be: here they are by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .conversation import Conversation, Message, OtherPart, TextPart, Tool
from .fields import boolean, form_of, integer, keep, kept, mapping, number, string
from .leftovers import Leftover
from .openai_parts import merged, own, unsaid
from .openai_responses_items import NAME, read_item, write_items
from .openai_responses_reply import read_reply, write_reply
from .openai_responses_stream import Reader, Writer
from .translator import Translator, UntranslatableError, WrittenCall

__all__ = ["TRANSLATOR"]

_LACKING = ("top_k", "frequency_penalty", "presence_penalty", "seed", "stop", "reasoning_budget")
# Where the rest of the conversation is, or the rest of the call.
_ESSENTIALS = ("previous_response_id", "conversation", "prompt", "background", "context_management")
_CHOICES = ("auto", "none", "required")
_SAME = ("temperature", "top_p")


def read_call(body: Any, path: str) -> Conversation:  # noqa: ARG001 - the body says it all
    """A call; its form remembers spellings."""
    if not isinstance(body, dict):
        raise UntranslatableError(f"this is no call of {NAME}")
    left = Leftover(body)
    form: dict[str, Any] = {"own": True}
    said: dict[str, Any] = {key: left.take(key, number) for key in _SAME}
    said["model"], said["user"] = left.take("model", string), left.take("user", string)
    said["max_tokens"] = left.take("max_output_tokens", integer)
    said["parallel_tool_calls"] = left.take("parallel_tool_calls", boolean)
    if (streamed := left.take("stream", boolean)) is not None:
        said["stream"] = form["stream"] = streamed
    messages: list[Message] = []
    if instructions := left.take("instructions", lambda value: string(value) or None):
        extra = keep(NAME, form="instructions")
        messages.append(Message(role="system", parts=(TextPart(text=instructions),), extra=extra))
    messages += _read_input(left)
    said["messages"] = tuple(messages)
    reasoning = Leftover(left.rest.get("reasoning"))
    if (effort := reasoning.take("effort", string)) is not None:
        said["reasoning_effort"] = effort
        del left.rest["reasoning"]
        left.put_back("reasoning", reasoning.rest)
    _read_format(left, said)
    _read_tools(left, said, form)
    essentials = {key: left.rest.pop(key) for key in _ESSENTIALS if left.rest.get(key)}
    if essentials:
        said["essentials"] = (OtherPart(format=NAME, value=essentials),)
    return Conversation(**said, extra=keep(NAME, left.rest, form=form))


def _read_input(left: Leftover) -> list[Message]:
    given = left.rest.get("input")
    if isinstance(given, str) and given:
        del left.rest["input"]
        return [Message(role="user", parts=(TextPart(text=given),), extra=keep(NAME, form="input"))]
    if isinstance(given, list) and given:
        del left.rest["input"]
        return [read_item(item) for item in given]
    return []


def _read_format(left: Leftover, said: dict[str, Any]) -> None:
    text = Leftover(left.rest.get("text"))
    wanted = Leftover(text.rest.get("format"))
    kind = wanted.rest.get("type")
    if kind == "json_object":
        said["json_output"] = True
    elif kind == "json_schema" and isinstance(wanted.rest.get("schema"), dict):
        said["output_schema"] = wanted.rest.pop("schema")
        said["output_name"] = wanted.take("name", string)
        said["output_strict"] = wanted.take("strict", boolean)
    else:
        return
    del wanted.rest["type"], text.rest["format"], left.rest["text"]
    text.put_back("format", wanted.rest)
    left.put_back("text", text.rest)


def _read_tools(left: Leftover, said: dict[str, Any], form: dict[str, Any]) -> None:
    if isinstance(defined := left.rest.get("tools"), list) and defined:
        del left.rest["tools"]
        read = [_read_tool(tool) for tool in defined]
        said["tools"] = tuple(tool for tool in read if isinstance(tool, Tool))
        said["other_tools"] = tuple(tool for tool in read if isinstance(tool, OtherPart))
        # The order of functions among other tools.
        form["order"] = [isinstance(tool, Tool) for tool in read]
    choice = left.rest.get("tool_choice")
    name = string(mapping(choice).get("name")) if mapping(choice).get("type") == "function" else None
    if name or (isinstance(choice, str) and choice in _CHOICES):
        said["tool_choice"] = f"tool:{name}" if name else choice
        form["choice"] = (said["tool_choice"], left.rest.pop("tool_choice"))


def _read_tool(tool: Any) -> Tool | OtherPart:
    left = Leftover(tool)
    name, schema = left.take("name", string), left.rest.get("parameters")
    if name is None or left.rest.get("type") != "function" or not isinstance(schema, dict | None):
        return OtherPart(format=NAME, value={"type": left.rest.get("type"), "tool": tool})
    form = {"schema": "parameters" in left.rest and schema is not None}
    del left.rest["type"]
    if schema is not None:
        del left.rest["parameters"]
    description, strict = left.take("description", string), left.take("strict", boolean)
    extra = keep(NAME, left.rest, form=form)
    return Tool(name=name, description=description, schema=schema or {}, strict=strict, extra=extra)


def write_call(conversation: Conversation) -> WrittenCall:
    """A call. Media, tools and essentials of other formats are refused."""
    form = mapping(form_of(NAME, conversation.extra))
    dropped = unsaid(conversation, NAME, _LACKING)
    body: dict[str, Any] = {}
    if conversation.model is not None:
        body["model"] = conversation.model
    _write_input(conversation, body, dropped)
    for key in (*_SAME, "user", "parallel_tool_calls"):
        if (value := getattr(conversation, key)) is not None:
            body[key] = value
    if conversation.max_tokens is not None:
        body["max_output_tokens"] = conversation.max_tokens
    if conversation.reasoning_effort is not None:
        body["reasoning"] = {"effort": conversation.reasoning_effort}
    if conversation.stream or "stream" in form:
        body["stream"] = conversation.stream
    if not form:
        body["store"] = False
    _write_format(conversation, body)
    _write_tools(conversation, form, body)
    for part in conversation.essentials:
        body.update(own(part, NAME))
    body = merged(kept(NAME, conversation.extra), body)
    return WrittenCall(path="/responses", body=body, dropped=tuple(dict.fromkeys(dropped)))


def _write_input(conversation: Conversation, body: dict[str, Any], dropped: list[str]) -> None:
    messages = conversation.messages
    first = messages[0] if messages else None
    if first is not None and first.role == "system" and len(first.parts) == 1:
        (text,) = first.parts
        spelled = form_of(NAME, first.extra)
        if isinstance(text, TextPart) and (spelled == "instructions" or (spelled is None and len(messages) > 1)):
            body["instructions"] = text.text
            messages = messages[1:]
    only = messages[0] if len(messages) == 1 else None
    if only is not None and form_of(NAME, only.extra) == "input" and isinstance(only.parts[0], TextPart):
        body["input"] = only.parts[0].text
    elif messages:
        body["input"] = write_items(messages, dropped)


def _write_format(conversation: Conversation, body: dict[str, Any]) -> None:
    if conversation.output_schema is not None:
        wanted: dict[str, Any] = {"type": "json_schema", "schema": dict(conversation.output_schema)}
        name = conversation.output_name
        if name is None and form_of(NAME, conversation.extra) is None:
            name = "answer"
        for key, value in (("name", name), ("strict", conversation.output_strict)):
            if value is not None:
                wanted[key] = value
        body["text"] = {"format": wanted}
    elif conversation.json_output:
        body["text"] = {"format": {"type": "json_object"}}


def _write_tools(conversation: Conversation, form: Mapping[str, Any], body: dict[str, Any]) -> None:
    functions = [_write_tool(tool) for tool in conversation.tools]
    others = [own(part, NAME)["tool"] for part in conversation.other_tools]
    order = form.get("order", ())
    if functions or others:
        if order.count(True) == len(functions) and len(order) == len(functions) + len(others):
            mixed = {True: iter(functions), False: iter(others)}
            body["tools"] = [next(mixed[is_function]) for is_function in order]
        else:
            body["tools"] = functions + others
    if (choice := conversation.tool_choice) is None:
        return
    meant, spelled = form.get("choice", (None, None))
    if meant == choice:
        body["tool_choice"] = spelled
    elif choice.startswith("tool:"):
        body["tool_choice"] = {"type": "function", "name": choice.removeprefix("tool:")}
    else:
        body["tool_choice"] = choice


def _write_tool(tool: Tool) -> dict[str, Any]:
    form = form_of(NAME, tool.extra)
    said: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.schema or form is None or form["schema"]:
        said["parameters"] = dict(tool.schema)
    if tool.strict is not None or form is None:
        said["strict"] = tool.strict or False
    return merged(kept(NAME, tool.extra), said)


TRANSLATOR = Translator(
    name=NAME,
    read_call=read_call,
    write_call=write_call,
    read_reply=read_reply,
    write_reply=write_reply,
    read_stream=Reader,
    write_stream=Writer,
)
