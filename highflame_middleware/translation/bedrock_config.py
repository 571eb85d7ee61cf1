"""What a call to Bedrock says beside its messages: parameters, tools, and which of those are to be called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .anthropic_config import read_thinking
from .bedrock_blocks import NAME
from .conversation import Conversation, OtherPart, Tool
from .fields import boolean, dump, form_of, integer, keep, kept, mapping, number, string, without
from .leftovers import Leftover, Lost, filled, objects_of, strings
from .turns import called_tools, is_native, tools_of

__all__ = ["read_params", "read_tools", "write_params", "write_tools"]

_CONFIGS = ("inferenceConfig", "additionalModelRequestFields", "outputConfig")
_PARAMS = ("frequency_penalty", "presence_penalty", "seed", "user", "output_strict")


def read_params(left: Leftover) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters by their names in a conversation, and their form."""
    empty = [key for key in _CONFIGS if left.rest.get(key) == {}]
    for key in empty:
        del left.rest[key]
    config, more, output = (Leftover(left.take(key, filled)) for key in _CONFIGS)
    said: dict[str, Any] = {
        "max_tokens": config.take("maxTokens", integer),
        "temperature": config.take("temperature", number),
        "top_p": config.take("topP", number),
        "stop": config.take("stopSequences", strings) or (),
        # Claude's own words.
        "top_k": more.take("top_k", integer),
        "reasoning_budget": more.take("thinking", read_thinking),
        "reasoning_effort": output.take("effort", string),
    }
    schema = output.take("textFormat", _read_format)
    if schema is not None:
        said["output_schema"], said["output_name"] = schema[:2]
    for key, rest in zip(_CONFIGS, (config, more, output), strict=True):
        left.put_back(key, rest.rest)
    return said, {"schema": schema[2] if schema is not None else None, "empty": empty}


def read_tools(
    left: Leftover,
) -> tuple[tuple[Tool, ...], tuple[OtherPart, ...], str | None, list[tuple[int, Any]]]:
    """The functions, Bedrock's own tools, which are to be called, and what is no function with its place."""
    config = Leftover(left.take("toolConfig", filled))
    tools: list[Tool] = []
    others: list[OtherPart] = []
    places: list[tuple[int, Any]] = []
    for place, item in enumerate(objects_of(config.rest.pop("tools", ()), "tools")):
        spec = mapping(item.get("toolSpec"))
        schema = mapping(spec.get("inputSchema")).get("json")
        if len(item) == 1 and isinstance(spec.get("name"), str) and isinstance(schema, dict):
            tools.append(_read_tool(spec, schema))
        else:
            places.append((place, item))
            if set(item) != {"cachePoint"}:
                others.append(OtherPart(format=NAME, value=item))
    choice = config.take("toolChoice", _read_choice)
    left.put_back("toolConfig", config.rest)
    return tuple(tools), tuple(others), choice, places


def _read_tool(spec: Mapping[str, Any], schema: dict[str, Any]) -> Tool:
    left = Leftover(without(spec, ("name",)))
    left.put_back("inputSchema", without(left.rest.pop("inputSchema"), ("json",)))
    return Tool(
        name=spec["name"],
        schema=schema,
        description=left.take("description", string),
        strict=left.take("strict", boolean),
        extra=keep(NAME, left.rest, form="toolSpec"),
    )


def _read_choice(value: Any) -> str | None:
    if value == {"auto": {}}:
        return "auto"
    if value == {"any": {}}:
        return "required"
    tool = mapping(mapping(value).get("tool"))
    known = len(mapping(value)) == len(tool) == 1 and isinstance(tool.get("name"), str)
    return f"tool:{tool['name']}" if known else None


def _read_format(value: Any) -> tuple[dict[str, Any], str | None, Mapping[str, Any]] | None:
    """The schema that a text must match, its name, and how all of it was written."""
    structure = mapping(mapping(value).get("structure")).get("jsonSchema")
    written = mapping(structure).get("schema")
    if mapping(value).get("type") != "json_schema" or not isinstance(written, str):
        return None
    try:
        schema = json.loads(written)
    except (ValueError, RecursionError):
        return None
    name = mapping(structure).get("name")
    return (schema, name, value) if isinstance(schema, dict) and isinstance(name, str | None) else None


def write_params(conversation: Conversation, body: dict[str, Any], lost: Lost) -> None:
    claude = is_native(NAME, conversation.extra) or "claude" in (conversation.model or "")
    given = {
        "maxTokens": conversation.max_tokens,
        "temperature": conversation.temperature,
        "topP": conversation.top_p,
        "stopSequences": list(conversation.stop) or None,
    }
    thinking = _write_thinking(conversation) if claude else None
    if not is_native(NAME, conversation.extra):
        _agree(conversation, given, lost, thinks=thinking is not None and "budget_tokens" in thinking)
    body["inferenceConfig"] = {key: value for key, value in given.items() if value is not None}
    more: dict[str, Any] = {"top_k": conversation.top_k if claude else None, "thinking": thinking}
    body["additionalModelRequestFields"] = {key: value for key, value in more.items() if value is not None}
    output: dict[str, Any] = {}
    if conversation.reasoning_effort is not None:
        output["effort"] = conversation.reasoning_effort
    if conversation.output_schema is not None:
        output["textFormat"] = _write_format(conversation, conversation.output_schema)
    body["outputConfig"] = output
    empty = mapping(form_of(NAME, conversation.extra)).get("empty") or ()
    for key in _CONFIGS:
        if not body[key] and key not in empty:
            del body[key]
    lost.add_given({key: getattr(conversation, key) for key in _PARAMS})
    lost.add_given(
        {
            "top_k": conversation.top_k if not claude else None,
            "reasoning_budget": conversation.reasoning_budget is not None and thinking is None,
            "json_output": conversation.json_output and conversation.output_schema is None,
        }
    )


def _agree(conversation: Conversation, given: dict[str, Any], lost: Lost, *, thinks: bool) -> None:
    """Make of what another format allows what this one does: no temperature above one, none while Claude thinks."""
    temperature = conversation.temperature
    if temperature is not None and temperature > 1:
        given["temperature"] = 1
        lost.add("temperature")
    both = temperature is not None and conversation.top_p is not None and "claude" in (conversation.model or "")
    for key, name in (("temperature", "temperature"), ("topP", "top_p")):
        if given[key] is not None and (thinks or (both and key == "topP")):
            given[key] = None
            lost.add(name)


def _write_thinking(conversation: Conversation) -> dict[str, Any] | None:
    budget = conversation.reasoning_budget
    if not budget:
        return {"type": "disabled"} if budget == 0 else None
    if not is_native(NAME, conversation.extra):
        limit, last = conversation.max_tokens, conversation.messages[-1:]
        forced = conversation.tool_choice not in (None, "auto", "none")
        # Claude wants the thoughts before a tool's call back, and those of another model's nobody has.
        if limit is None or limit <= 1024 or forced or any(message.role == "tool" for message in last):
            return None
        budget = max(min(budget, limit - 1), 1024)
    return {"type": "enabled", "budget_tokens": budget}


def _write_format(conversation: Conversation, schema: Mapping[str, Any]) -> Any:
    before = mapping(form_of(NAME, conversation.extra)).get("schema")
    read = _read_format(before)
    if read is not None and (read[0], read[1]) == (schema, conversation.output_name):
        return before
    written = {"schema": dump(dict(schema))}
    if conversation.output_name is not None:
        written["name"] = conversation.output_name
    return {"type": "json_schema", "structure": {"jsonSchema": written}}


def write_tools(conversation: Conversation, body: dict[str, Any], lost: Lost) -> None:
    choice = conversation.tool_choice
    native = is_native(NAME, conversation.extra)
    known = conversation.tools if native else tools_of(conversation)
    if choice == "none":
        # There is no such word; tools that nobody may call need not be told, unless they were called before.
        if called_tools(conversation.messages):
            lost.add("tool_choice")
        else:
            known = ()
    tools: list[Any] = [_write_tool(tool, lost) for tool in known]
    for place, item in mapping(form_of(NAME, conversation.extra)).get("tools") or ():
        tools.insert(place, item)
    if not tools:
        if choice not in (None, "none", "auto"):
            lost.add("tool_choice")
        return
    config: dict[str, Any] = {"tools": tools}
    if choice in ("auto", "required"):
        config["toolChoice"] = {"auto" if choice == "auto" else "any": {}}
    elif choice is not None and choice.startswith("tool:"):
        config["toolChoice"] = {"tool": {"name": choice[5:]}}
    body["toolConfig"] = config
    if conversation.parallel_tool_calls is False:
        lost.add("parallel_tool_calls")


def _write_tool(tool: Tool, lost: Lost) -> dict[str, Any]:
    lost.add_foreign(tool.extra, "tools.")
    schema = dict(tool.schema)
    native = is_native(NAME, tool.extra)
    if not native:
        schema.setdefault("type", "object")
    own = dict(kept(NAME, tool.extra))
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {**own.pop("inputSchema", {}), "json": schema}}
    # Bedrock refuses empty descriptions.
    if tool.description or (native and tool.description is not None):
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return {"toolSpec": {**spec, **own}}
