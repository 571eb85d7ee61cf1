"""openai-chat: ``POST /chat/completions`` and its replies.

Written calls bound the answer by ``max_completion_tokens``, which every model of
OpenAI's takes, and ask for the usage of a stream. Of a refusal without a text of
its own the finish reason is ``content_filter``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .conversation import Conversation, OtherPart, Part, RefusalPart, Reply, Tool
from .fields import boolean, form_of, integer, keep, kept, mapping, number, sequence, string
from .leftovers import Leftover
from .openai_chat_messages import (
    FINISHES,
    NAME,
    USAGE,
    read_message,
    read_messages,
    write_messages,
    write_reply_message,
)
from .openai_chat_stream import Reader, Writer, answer
from .openai_parts import merged, own, read_usage, unsaid, write_usage
from .translator import Translator, UntranslatableError, WrittenCall

__all__ = ["TRANSLATOR"]

_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")
_LACKING = ("top_k", "reasoning_budget")
_NUMBERS = {
    "temperature": number,
    "top_p": number,
    "frequency_penalty": number,
    "presence_penalty": number,
}
# Without these a call means something else: what is asked for in them no other format can be asked.
_ESSENTIALS = ("web_search_options", "audio", "modalities", "prompt", "suffix")
_LIMITS = ("max_completion_tokens", "max_tokens")
_CHOICES = ("auto", "none", "required")


def read_call(body: Any, path: str) -> Conversation:
    """A call; its form remembers spellings."""
    if not isinstance(body, dict):
        raise UntranslatableError(f"this is no call of {NAME}")
    left = Leftover(body)
    form: dict[str, Any] = {"own": True}
    said: dict[str, Any] = {key: left.take(key, read) for key, read in _NUMBERS.items()}
    said["seed"], said["user"] = left.take("seed", integer), left.take("user", string)
    said["parallel_tool_calls"] = left.take("parallel_tool_calls", boolean)
    said["reasoning_effort"] = left.take("reasoning_effort", string)
    said["model"] = left.take("model", string)
    if said["model"] is None and "model" not in body and (deployment := _DEPLOYMENT.search(path)):
        said["model"], form["model"] = deployment[1], "path"
    for key in _LIMITS:
        if (limit := left.take(key, integer)) is not None:
            said["max_tokens"], form["limit"] = limit, key
            break
    if left.rest.get("stream") is True or left.rest.get("stream") is False:
        said["stream"] = form["stream"] = left.rest.pop("stream")
    if isinstance(messages := left.rest.get("messages"), list) and messages:
        said["messages"] = read_messages(messages)
        del left.rest["messages"]
    _read_stop(left, said, form)
    _read_format(left, said)
    _read_tools(left, said, form)
    essentials = {key: left.rest.pop(key) for key in _ESSENTIALS if left.rest.get(key)}
    if (count := integer(left.rest.get("n"))) is not None:
        del left.rest["n"]
        if count == 1:
            form["n"] = 1
        else:
            essentials["n"] = count
    if essentials:
        said["essentials"] = (OtherPart(format=NAME, value=essentials),)
    return Conversation(**said, extra=keep(NAME, left.rest, form=form))


def _read_stop(left: Leftover, said: dict[str, Any], form: dict[str, Any]) -> None:
    stop = left.rest.get("stop")
    if isinstance(stop, str) or (isinstance(stop, list) and stop and all(isinstance(item, str) for item in stop)):
        said["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        del left.rest["stop"]
        if isinstance(stop, str):
            form["stop"] = "string"


def _read_format(left: Leftover, said: dict[str, Any]) -> None:
    wanted = Leftover(left.rest.get("response_format"))
    kind = wanted.rest.get("type")
    if kind == "json_object":
        said["json_output"] = True
    elif kind == "json_schema" and isinstance(mapping(wanted.rest.get("json_schema")).get("schema"), dict):
        inner = Leftover(wanted.rest["json_schema"])
        said["output_schema"] = inner.rest.pop("schema")
        said["output_name"] = inner.take("name", string)
        said["output_strict"] = inner.take("strict", boolean)
        wanted.rest["json_schema"] = inner.rest
        if not inner.rest:
            del wanted.rest["json_schema"]
    else:
        return
    del wanted.rest["type"]
    left.rest["response_format"] = wanted.rest
    if not wanted.rest:
        del left.rest["response_format"]


def _read_tools(left: Leftover, said: dict[str, Any], form: dict[str, Any]) -> None:
    tools: list[Tool] = []
    others: list[OtherPart] = []
    for key in ("tools", "functions"):
        if not isinstance(defined := left.rest.get(key), list) or not defined:
            continue
        del left.rest[key]
        for tool in defined:
            read = _read_tool(tool, key)
            if isinstance(read, Tool):
                tools.append(read)
            else:
                others.append(read)
    said["tools"], said["other_tools"] = tuple(tools), tuple(others)
    for key in ("tool_choice", "function_call"):
        choice = left.rest.get(key)
        name = string(mapping(choice).get("name") or mapping(mapping(choice).get("function")).get("name"))
        # Mistral's and Groq's word for it.
        found = f"tool:{name}" if name else "required" if choice == "any" else choice
        if found in _CHOICES or name:
            said["tool_choice"], form["choice"] = found, (key, found, left.rest.pop(key))
            break


def _read_tool(tool: Any, key: str) -> Tool | OtherPart:
    left = Leftover(tool)
    inner = left if key == "functions" else Leftover(left.rest.get("function"))
    kind = left.rest.get("type", "function")
    name = inner.take("name", string)
    if name is None or (kind != "function" and key == "tools"):
        return OtherPart(format=NAME, value={"type": kind, key: tool})
    form = {"key": key, "typed": "type" in left.rest}
    description, strict = inner.take("description", string), inner.take("strict", boolean)
    schema = inner.rest.pop("parameters") if isinstance(inner.rest.get("parameters"), dict) else None
    if schema is None:
        form["schema"] = False
    if key == "tools":
        left.rest.pop("type", None)
        left.rest["function"] = inner.rest
        if not inner.rest:
            del left.rest["function"]
    extra = keep(NAME, left.rest, form=form)
    return Tool(name=name, description=description, schema=schema or {}, strict=strict, extra=extra)


def write_call(conversation: Conversation) -> WrittenCall:
    """A call. Media, tools and essentials of other formats are refused."""
    form = mapping(form_of(NAME, conversation.extra))
    dropped = unsaid(conversation, NAME, _LACKING)
    body: dict[str, Any] = {}
    if conversation.model is not None and "model" not in form:
        body["model"] = conversation.model
    body["messages"] = write_messages(conversation.messages, dropped)
    for key in (*_NUMBERS, "seed", "user", "parallel_tool_calls", "reasoning_effort"):
        if (value := getattr(conversation, key)) is not None:
            body[key] = value
    if conversation.max_tokens is not None:
        body[form.get("limit", _LIMITS[0])] = conversation.max_tokens
    if conversation.stop:
        alone = form.get("stop") == "string" and len(conversation.stop) == 1
        body["stop"] = conversation.stop[0] if alone else list(conversation.stop)
    if conversation.stream or "stream" in form:
        body["stream"] = conversation.stream
        if not form:
            body["stream_options"] = {"include_usage": True}
    if "n" in form:
        body["n"] = 1
    _write_format(conversation, body)
    _write_tools(conversation, form, body)
    for part in conversation.essentials:
        body.update(own(part, NAME))
    if form and not body["messages"]:
        del body["messages"]
    body = merged(kept(NAME, conversation.extra), body)
    return WrittenCall(path="/chat/completions", body=body, dropped=tuple(dict.fromkeys(dropped)))


def _write_format(conversation: Conversation, body: dict[str, Any]) -> None:
    if conversation.output_schema is not None:
        wanted: dict[str, Any] = {"name": conversation.output_name, "schema": dict(conversation.output_schema)}
        if wanted["name"] is None and "response_format" not in kept(NAME, conversation.extra):
            wanted["name"] = "answer"
        wanted["strict"] = conversation.output_strict
        said = {key: value for key, value in wanted.items() if value is not None}
        body["response_format"] = {"type": "json_schema", "json_schema": said}
    elif conversation.json_output:
        body["response_format"] = {"type": "json_object"}


def _write_tools(conversation: Conversation, form: Mapping[str, Any], body: dict[str, Any]) -> None:
    for tool in conversation.tools:
        key, said = _write_tool(tool)
        body.setdefault(key, []).append(said)
    for part in conversation.other_tools:
        for key, said in own(part, NAME).items():
            if key != "type":
                body.setdefault(key, []).append(said)
    if (choice := conversation.tool_choice) is None:
        return
    key, meant, spelled = form.get("choice", ("tool_choice", None, None))
    if meant == choice:
        body[key] = spelled
    elif choice.startswith("tool:"):
        body[key] = {"type": "function", "function": {"name": choice.removeprefix("tool:")}}
    else:
        body[key] = choice


def _write_tool(tool: Tool) -> tuple[str, dict[str, Any]]:
    spelling = mapping(form_of(NAME, tool.extra))
    said: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.schema or "schema" not in spelling:
        said["parameters"] = dict(tool.schema)
    if tool.strict is not None:
        said["strict"] = tool.strict
    key = spelling.get("key", "tools")
    if key == "tools":
        said = {"type": "function", "function": said} if spelling.get("typed", True) else {"function": said}
    return key, merged(kept(NAME, tool.extra), said)


def read_reply(body: Any) -> Reply:
    """A completion; choices beyond the first are parts that only this format has."""
    choices = sequence(mapping(body).get("choices"))
    first = mapping(choices[0]) if choices else {}
    # What a filter has stopped at once may have no message at all.
    if not isinstance(first.get("message", {}), dict) or first.keys().isdisjoint({"message", "finish_reason"}):
        raise UntranslatableError(f"this is no reply of {NAME}")
    left, choice = Leftover(body), Leftover(first)
    message = read_message({"role": "assistant", **choice.rest.pop("message", {})})
    parts: list[Part] = [*message.parts]
    for other in choices[1:]:
        parts.append(OtherPart(format=NAME, value={"choices": other}))
    form: dict[str, Any] = {"message": form_of(NAME, message.extra), "name": message.name}
    form["silent"] = "message" not in first
    said = choice.rest.pop("finish_reason", None)
    finish = FINISHES.get(said, "stop") if isinstance(said, str) else None
    if finish == "stop" and any(isinstance(part, RefusalPart) for part in parts):
        finish = "refusal"
    form["finish"] = (finish, said)
    usage, tally = read_usage(left.rest.get("usage"), USAGE)
    if isinstance(left.rest.get("usage"), dict):
        left.rest["usage"] = tally
    identity, model = left.take("id", string), left.take("model", string)
    left.rest.pop("choices")
    fields = {"body": left.rest, "choice": choice.rest, "message": dict(kept(NAME, message.extra))}
    extra = keep(NAME, fields, form=form)
    return Reply(id=identity, model=model, parts=tuple(parts), finish=finish, usage=usage, extra=extra)


def write_reply(reply: Reply) -> dict[str, Any]:
    """A completion of one choice."""
    form = mapping(form_of(NAME, reply.extra))
    fields = kept(NAME, reply.extra)
    others = [other for part in reply.parts if (other := _other_choice(part)) is not None]
    parts = [part for part in reply.parts if _other_choice(part) is None]
    message = merged(mapping(fields.get("message")), write_reply_message(parts, mapping(form.get("message"))))
    if form.get("name") is not None:
        message["name"] = form["name"]
    if not form:
        message.setdefault("refusal", None)
    choice: dict[str, Any] = {"index": 0, **mapping(fields.get("choice")), "message": message}
    choice["finish_reason"] = _finish(reply, form)
    if form.get("silent") and not parts:
        del choice["message"]
    body: dict[str, Any] = {"choices": [choice, *others]}
    if not form:
        choice["logprobs"] = None
        body.update(id="", object="chat.completion", created=0, model="")
    body.update({key: value for key, value in (("id", reply.id), ("model", reply.model)) if value is not None})
    if reply.usage is not None:
        body["usage"] = write_usage(reply.usage, USAGE, details=False)
        if (total := mapping(mapping(fields.get("body")).get("usage")).get("total_tokens")) is not None:
            # Not all providers count thoughts as output.
            body["usage"]["total_tokens"] = total
    return merged(mapping(fields.get("body")), body)


def _other_choice(part: Part) -> Any:
    """A choice beyond the first, as it came."""
    return part.value.get("choices") if isinstance(part, OtherPart) and part.format == NAME else None


def _finish(reply: Reply, form: Mapping[str, Any]) -> str | None:
    meant, said = form.get("finish", (None, None))
    if form and meant == reply.finish:
        return string(said)
    if reply.finish == "refusal":
        spoken = any(isinstance(part, RefusalPart) for part in reply.parts)
        return "stop" if spoken else "content_filter"
    return "stop" if reply.finish in (None, "error") else reply.finish


TRANSLATOR = Translator(
    name=NAME,
    read_call=read_call,
    write_call=write_call,
    read_reply=read_reply,
    write_reply=write_reply,
    read_stream=Reader,
    write_stream=Writer,
    answer_stream=answer,
    done="[DONE]",
)
