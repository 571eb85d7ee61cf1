"""What a call to Anthropic says beside its messages: parameters, tools, and which of those are to be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .anthropic_blocks import NAME
from .conversation import Conversation, OtherPart, Tool
from .fields import boolean, form_of, integer, keep, kept, mapping, string, without
from .leftovers import Leftover, Lost, objects_of
from .turns import is_native, tools_of

__all__ = [
    "read_choice",
    "read_format",
    "read_thinking",
    "read_tools",
    "write_params",
    "write_tools",
]

# The least that a model may be given to think.
_MIN_BUDGET = 1024
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def read_tools(left: Leftover) -> tuple[tuple[Tool, ...], tuple[OtherPart, ...], list[int]]:
    """The functions, Anthropic's own tools, and where among all of them those stood."""
    tools: list[Tool] = []
    others: list[OtherPart] = []
    order: list[int] = []
    if not left.rest.get("tools"):
        return (), (), []
    for place, item in enumerate(objects_of(left.rest.pop("tools"), "tools")):
        name, schema = item.get("name"), item.get("input_schema")
        if item.get("type") in (None, "custom") and isinstance(name, str) and isinstance(schema, dict):
            tools.append(_read_tool(item, name, schema))
        else:
            order.append(place)
            others.append(OtherPart(format=NAME, value=item))
    return tuple(tools), tuple(others), order


def _read_tool(item: Mapping[str, Any], name: str, schema: dict[str, Any]) -> Tool:
    left = Leftover(without(item, ("name", "input_schema", "type")))
    return Tool(
        name=name,
        schema=schema,
        description=left.take("description", string),
        strict=left.take("strict", boolean),
        extra=keep(NAME, left.rest, form={key: item[key] for key in ("type",) if key in item}),
    )


def read_choice(value: Any) -> tuple[str, bool | None] | None:
    """Which tool is to be called, and whether several may be; nothing where there is more to it."""
    if not isinstance(value, dict) or set(value) - {"type", "name", "disable_parallel_tool_use"}:
        return None
    single = value.get("disable_parallel_tool_use")
    if not isinstance(single, bool | None):
        return None
    choice = _CHOICES.get(value["type"]) if isinstance(value.get("type"), str) else None
    if value.get("type") == "tool" and isinstance(value.get("name"), str):
        choice = "tool:" + value["name"]
    return (choice, not single if single is not None else None) if choice is not None else None


def read_format(value: Any) -> dict[str, Any] | None:
    known = isinstance(value, dict) and set(value) == {"type", "schema"} and value["type"] == "json_schema"
    return value["schema"] if known and isinstance(value["schema"], dict) else None


def read_thinking(value: Any) -> int | None:
    """How many tokens may be thought; nothing where the model is to decide."""
    if value == {"type": "disabled"}:
        return 0
    if isinstance(value, dict) and set(value) == {"type", "budget_tokens"} and value["type"] == "enabled":
        budget = integer(value["budget_tokens"])
        return budget if budget != 0 else None
    return None


def write_tools(conversation: Conversation, body: dict[str, Any], lost: Lost) -> None:
    native = is_native(NAME, conversation.extra)
    known = conversation.tools if native else tools_of(conversation)
    tools = [_write_tool(tool, lost) for tool in known]
    order = mapping(form_of(NAME, conversation.extra)).get("tools") or []
    for place, other in enumerate(conversation.other_tools):
        tools.insert(order[place] if place < len(order) else len(tools), other.value)
    if tools:
        body["tools"] = tools
    choice = conversation.tool_choice
    if known and not conversation.tools and not conversation.other_tools:
        choice = "none"
    parallel = conversation.parallel_tool_calls
    if not tools and not native:
        lost.add_given({"tool_choice": choice, "parallel_tool_calls": parallel is False})
        return
    if choice is None and parallel is False:
        choice = "auto"
    if choice is None:
        return
    kinds = {wire: mine for mine, wire in _CHOICES.items()}
    written: dict[str, Any] = (
        {"type": "tool", "name": choice[5:]} if choice.startswith("tool:") else {"type": kinds.get(choice, "auto")}
    )
    if parallel is not None and (native or (not parallel and choice != "none")):
        written["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = written


def _write_tool(tool: Tool, lost: Lost) -> dict[str, Any]:
    lost.add_foreign(tool.extra, "tools.")
    out: dict[str, Any] = {**mapping(form_of(NAME, tool.extra)), "name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    schema = dict(tool.schema)
    if not is_native(NAME, tool.extra):
        schema.setdefault("type", "object")
    out["input_schema"] = schema
    if tool.strict is not None:
        out["strict"] = tool.strict
    return {**out, **kept(NAME, tool.extra)}


def write_params(conversation: Conversation, body: dict[str, Any], lost: Lost) -> None:
    native = is_native(NAME, conversation.extra)
    temperature, top_p, top_k = conversation.temperature, conversation.top_p, conversation.top_k
    budget = conversation.reasoning_budget
    if not native:
        budget = _affordable(conversation, body["max_tokens"])
        temperature, top_p, top_k = _agreeing(conversation, thinks=bool(budget))
    given = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "stop_sequences": list(conversation.stop) or None,
    }
    body.update({key: value for key, value in given.items() if value is not None})
    if budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}
    output: dict[str, Any] = {}
    effort = conversation.reasoning_effort
    if effort is not None and not native:
        effort = _EFFORTS.get(effort)
    if effort is not None:
        output["effort"] = effort
    if conversation.output_schema is not None:
        output["format"] = {"type": "json_schema", "schema": dict(conversation.output_schema)}
    if output:
        body["output_config"] = output
    if conversation.user is not None:
        body["metadata"] = {"user_id": conversation.user}
    lost.add_given(
        {
            "temperature": conversation.temperature != temperature,
            "top_p": conversation.top_p != top_p,
            "top_k": conversation.top_k != top_k,
            "reasoning_budget": conversation.reasoning_budget != budget,
            "reasoning_effort": conversation.reasoning_effort if effort is None else None,
            "frequency_penalty": conversation.frequency_penalty,
            "presence_penalty": conversation.presence_penalty,
            "seed": conversation.seed,
            "json_output": conversation.json_output and conversation.output_schema is None,
            "output_name": conversation.output_name,
            "output_strict": conversation.output_strict,
        }
    )


def _affordable(conversation: Conversation, max_tokens: int) -> int | None:
    """What may be thought: at least the minimum, less than all; nothing where a tool's call was not signed.

    Anthropic wants the thoughts before a tool's call back, and those of another model's nobody has.
    """
    budget = conversation.reasoning_budget
    if not budget:
        return budget
    last = conversation.messages[-1] if conversation.messages else None
    forced = conversation.tool_choice not in (None, "auto", "none")
    if max_tokens <= _MIN_BUDGET or forced or (last is not None and last.role == "tool"):
        return None
    return max(min(budget, max_tokens - 1), _MIN_BUDGET)


def _agreeing(conversation: Conversation, *, thinks: bool) -> tuple[float | None, float | None, int | None]:
    """Temperature up to one, only one of temperature and top_p, neither while a model thinks."""
    temperature, top_p = conversation.temperature, conversation.top_p
    if thinks:
        return None, None, None
    if temperature is not None:
        return min(temperature, 1), None, conversation.top_k
    return None, top_p, conversation.top_k
