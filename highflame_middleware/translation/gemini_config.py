"""What a call to Gemini says beside its contents: parameters, tools, and which of those are to be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .conversation import Conversation, OtherPart, Tool
from .fields import form_of, integer, keep, kept, mapping, number, sequence, string, without
from .gemini_parts import NAME, spelt
from .gemini_schema import json_schema
from .leftovers import Leftover, Lost, objects_of, strings
from .turns import is_native, tools_of

__all__ = ["read_config", "read_tools", "write_config", "write_tools"]

_CONFIG = "generationConfig"
_DOTTED = _CONFIG + "."
_JSON = "application/json"
_PARAMS = {
    "temperature": ("temperature", number),
    "topP": ("top_p", number),
    "maxOutputTokens": ("max_tokens", integer),
    "seed": ("seed", integer),
    "presencePenalty": ("presence_penalty", number),
    "frequencyPenalty": ("frequency_penalty", number),
}
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none"}
# How much the models before the third may think, which know no levels: Google's own numbers for OpenAI's words.
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def read_config(left: Leftover, essentials: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters by their names in a conversation, and their form.

    Several answers are ``essentials``, and so are answers that are not only text.
    """
    if not isinstance(left.rest.get(_CONFIG), dict):
        return {}, {}
    config = Leftover(spelt(left.rest.pop(_CONFIG)))
    said: dict[str, Any] = {name: config.take(key, read) for key, (name, read) in _PARAMS.items()}
    said["top_k"] = config.take("topK", _whole)
    said["stop"] = config.take("stopSequences", strings) or ()
    form: dict[str, Any] = {"config": {}}
    _read_thinking(config, said, form)
    _read_format(config, said, form)
    if (count := config.take("candidateCount", integer)) is not None:
        (essentials if count > 1 else form["config"])["candidateCount"] = count
    if modalities := config.take("responseModalities", strings):
        plain = [modality.upper() for modality in modalities] == ["TEXT"]
        (form["config"] if plain else essentials)["responseModalities"] = list(modalities)
    left.rest.update((_DOTTED + key, value) for key, value in config.rest.items())
    return said, form


def _whole(value: Any) -> int | None:
    return int(value) if number(value) is not None and value == value // 1 else None


def _read_thinking(config: Leftover, said: dict[str, Any], form: dict[str, Any]) -> None:
    if not isinstance(config.rest.get("thinkingConfig"), dict):
        return
    thinking = Leftover(spelt(config.rest.pop("thinkingConfig")))
    said["reasoning_budget"] = thinking.take("thinkingBudget", _natural)
    if (level := thinking.take("thinkingLevel", string)) is not None:
        said["reasoning_effort"], form["level"] = level.lower(), level
    config.put_back("thinkingConfig", thinking.rest)


def _natural(value: Any) -> int | None:
    """A budget; less than nothing means that the model decides."""
    budget = integer(value)
    return budget if budget is not None and budget >= 0 else None


def _read_format(config: Leftover, said: dict[str, Any], form: dict[str, Any]) -> None:
    mime_type = config.rest.get("responseMimeType")
    for key in ("responseJsonSchema", "responseSchema"):
        schema = config.rest.get(key)
        if isinstance(schema, dict) and mime_type in (_JSON, None):
            said["output_schema"] = schema if key == "responseJsonSchema" else json_schema(schema)
            form["schema"] = {"key": key, "value": schema, "type": mime_type}
            del config.rest[key]
            config.rest.pop("responseMimeType", None)
            return
    if mime_type == _JSON:
        said["json_output"] = True
        del config.rest["responseMimeType"]


def write_config(
    conversation: Conversation, body: dict[str, Any], essentials: Mapping[str, Any], lost: Lost
) -> None:
    """Write the parameters."""
    form = mapping(form_of(NAME, conversation.extra))
    config: dict[str, Any] = {key: getattr(conversation, name) for key, (name, _) in _PARAMS.items()}
    config["topK"] = conversation.top_k
    config["stopSequences"] = list(conversation.stop) or None
    config.update(form.get("config") or {})
    config.update({key: value for key, value in essentials.items() if key != "cachedContent"})
    config.update(_write_format(conversation, mapping(form.get("schema"))))
    config = {key: value for key, value in config.items() if value is not None}
    for key, value in kept(NAME, conversation.extra).items():
        if key.startswith(_DOTTED):
            config[key[len(_DOTTED) :]] = value
    if thinking := {**mapping(config.get("thinkingConfig")), **_write_thinking(conversation, form, lost)}:
        config["thinkingConfig"] = thinking
    if config or "config" in form:
        body[_CONFIG] = config
    lost.add_given(
        {
            "user": conversation.user,
            "output_name": conversation.output_name,
            "output_strict": conversation.output_strict,
            "parallel_tool_calls": conversation.parallel_tool_calls is False,
        }
    )


def _write_format(conversation: Conversation, form: Mapping[str, Any]) -> dict[str, Any]:
    schema = conversation.output_schema
    if schema is None:
        return {"responseMimeType": _JSON} if conversation.json_output else {}
    if form.get("key") == "responseSchema" and json_schema(form["value"]) == schema:
        return {"responseMimeType": form["type"], "responseSchema": form["value"]}
    return {"responseMimeType": form["type"] if form else _JSON, "responseJsonSchema": dict(schema)}


def _write_thinking(conversation: Conversation, form: Mapping[str, Any], lost: Lost) -> dict[str, Any]:
    budget, effort = conversation.reasoning_budget, conversation.reasoning_effort
    if is_native(NAME, conversation.extra):
        level = form.get("level") or ""
        level = level if level.lower() == effort else (effort or "").upper()
        said = {"thinkingBudget": budget, "thinkingLevel": level if effort is not None else None}
        return {key: value for key, value in said.items() if value is not None}
    if budget is not None:
        # Who gives a budget elsewhere is shown the thoughts.
        return {"thinkingBudget": budget, **({"includeThoughts": True} if budget else {})}
    if effort is None:
        return {}
    old = "gemini-2" in (conversation.model or "")
    if effort not in _BUDGETS or (effort == "none" and not old):
        lost.add("reasoning_effort")
        return {}
    return {"thinkingBudget": _BUDGETS[effort]} if old else {"thinkingLevel": _LEVELS[effort].upper()}


def read_tools(left: Leftover) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tools and the choice among them by their names in a conversation, and their form."""
    given = left.rest.pop("tools", None)
    tools: list[Tool] = []
    others: list[OtherPart] = []
    layout: list[list[tuple[str, int | None]]] = []
    for item in objects_of([given] if isinstance(given, dict) else given or (), "tools"):
        places: list[tuple[str, int | None]] = []
        for key, value in spelt(item).items():
            declared = (
                [_read_tool(spelt(one)) for one in objects_of(value, "functions")] if key == _DECLARED else []
            )
            if key == _DECLARED and all(tool is not None for tool in declared):
                tools.extend(tool for tool in declared if tool is not None)
                places.append((key, len(declared)))
            else:
                others.append(OtherPart(format=NAME, value={key: value}))
                places.append((key, None))
        layout.append(places)
    said: dict[str, Any] = {"tools": tuple(tools), "other_tools": tuple(others)}
    if isinstance(left.rest.get("toolConfig"), dict):
        said["tool_choice"] = _read_choice(left)
    return said, {"tools": layout if given is not None else None}


_DECLARED = "functionDeclarations"


def _read_tool(declared: dict[str, Any]) -> Tool | None:
    left = Leftover(declared)
    name = left.take("name", string)
    key = next((key for key in ("parametersJsonSchema", "parameters") if isinstance(declared.get(key), dict)), None)
    if name is None:
        return None
    raw = left.rest.pop(key) if key is not None else None
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    if raw is not None:
        schema = raw if key == "parametersJsonSchema" else json_schema(raw)
    return Tool(
        name=name,
        schema=schema,
        description=left.take("description", string),
        extra=keep(NAME, left.rest, form={"key": key, "value": raw}),
    )


def _read_choice(left: Leftover) -> str | None:
    """Which tools are to be called; what else there is to it stays."""
    config = Leftover(spelt(left.rest.pop("toolConfig")))
    calling = Leftover(spelt(config.rest.pop("functionCallingConfig", None)))
    mode = calling.rest.get("mode")
    choice = _MODES.get(mode.upper()) if isinstance(mode, str) else None
    if choice is not None:
        del calling.rest["mode"]
        allowed = sequence(calling.rest.get("allowedFunctionNames"))
        if choice == "required" and len(allowed) == 1 and isinstance(allowed[0], str):
            choice = f"tool:{allowed[0]}"
            del calling.rest["allowedFunctionNames"]
    config.put_back("functionCallingConfig", calling.rest)
    left.put_back("toolConfig", config.rest)
    return choice


def write_tools(conversation: Conversation, body: dict[str, Any], lost: Lost) -> None:
    """Write the tools and the choice among them."""
    native = is_native(NAME, conversation.extra)
    known = conversation.tools if native else tools_of(conversation)
    tools = [_write_tool(tool, lost) for tool in known]
    others = [mapping(other.value) for other in conversation.other_tools]
    layout = mapping(form_of(NAME, conversation.extra)).get("tools")
    if (laid := _lay_out(layout, tools, others)) is not None:
        body["tools"] = laid
    elif tools or others:
        body["tools"] = [*([{_DECLARED: tools}] if tools else []), *(dict(other) for other in others)]
    choice = conversation.tool_choice if conversation.tools or native or not known else "none"
    if choice is not None and not native and not body.get("tools"):
        lost.add("tool_choice")
        return
    calling: dict[str, Any] = {}
    if choice is not None and choice.startswith("tool:"):
        calling = {"mode": "ANY", "allowedFunctionNames": [choice[5:]]}
    elif choice is not None:
        calling = {"mode": next((mode for mode, name in _MODES.items() if name == choice), "AUTO")}
    own = mapping(kept(NAME, conversation.extra).get("toolConfig"))
    if calling:
        rest = mapping(own.get("functionCallingConfig"))
        body["toolConfig"] = {**own, "functionCallingConfig": {**rest, **calling}}


def _lay_out(layout: Any, tools: list[dict[str, Any]], others: list[Mapping[str, Any]]) -> list[Any] | None:
    """The tools where they stood, if they are still as many."""
    places = [place for item in layout or () for place in item]
    declared = sum(count for _, count in places if count is not None)
    unlike = [key for key, count in places if count is None]
    if layout is None or declared != len(tools) or unlike != [next(iter(other), None) for other in others]:
        return None
    remaining, rest = iter(tools), iter(others)
    return [
        {
            key: [next(remaining) for _ in range(count)] if count is not None else next(rest)[key]
            for key, count in item
        }
        for item in layout
    ]


def _write_tool(tool: Tool, lost: Lost) -> dict[str, Any]:
    lost.add_foreign(tool.extra, "tools.")
    form = mapping(form_of(NAME, tool.extra))
    out: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    key = form.get("key")
    if key == "parameters" and json_schema(form["value"]) == tool.schema:
        out["parameters"] = form["value"]
    elif key is not None or not form:
        schema = dict(tool.schema)
        out["parametersJsonSchema"] = schema if form else {"type": "object", **schema}
    if tool.strict:
        lost.add("tools.strict")
    return {**out, **without(kept(NAME, tool.extra), out)}
