"""Where a message says a thing twice: tool calls in a provider's own words, parsed replies, tokens and citations.

What repeats a call is not judged a second time, and changes with it. Only what says
the very same counts as repeated: anything else is a text like others, for some
providers are sent that, and not the call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.utils.json import parse_partial_json
from pydantic import BaseModel, ValidationError

from highflame_middleware.codecs.parts import Path, leaves

__all__ = ["ARGUMENTS", "CALL_BLOCKS", "CALL_KEYS", "echoes_of", "metadata_kept", "quotes", "repeated", "reparsed"]

# What blocks that are calls are called, where their arguments stand, and the same of what is beside the content.
CALL_BLOCKS = frozenset({"function_call", "input_json_delta", "tool_call", "tool_call_chunk", "tool_use"})
CALL_KEYS = frozenset({"tool_calls", "function_call"})
ARGUMENTS = frozenset({"input", "args", "arguments", "partial_json"})
# Of what a provider says about a reply, the parts that say nothing of it again.
_ABOUT = frozenset({"highflame", "prompt_feedback", "safety_ratings", "token_usage", "usage", "usage_metadata"})


def echoes_of(message: BaseMessage) -> dict[Path, Path | None]:
    """The places that repeat something of a tool call, and the place of its arguments, or None for its name."""
    if not isinstance(message, AIMessage) or not (message.tool_calls or message.invalid_tool_calls):
        return {}
    found: dict[Path, Path | None] = {}
    if not isinstance(message.content, str):
        for index, block in enumerate(message.content):
            if isinstance(block, dict) and block.get("type") in CALL_BLOCKS:
                ids = {str(block[key]) for key in ("id", "call_id") if block.get(key)}
                found |= _in(message, block, ("content", index), ids)
    more = message.additional_kwargs
    if isinstance(more.get("tool_calls"), list):
        for index, call in enumerate(more["tool_calls"]):
            if isinstance(call, dict) and isinstance(call.get("function"), dict):
                place = ("more", "tool_calls", index, "function")
                found |= _in(message, call["function"], place, {str(call["id"])} if call.get("id") else set())
    if isinstance(more.get("function_call"), dict):
        found |= _in(message, more["function_call"], ("more", "function_call"), None)
    return found


def repeated(path: Path, echoes: Mapping[Path, Any]) -> bool:
    """Whether a place is in what repeats a call."""
    return any(path[:length] in echoes for length in range(1, len(path) + 1))


def reparsed(more: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What stands beside the content, with the object that was parsed of the text made anew of an edited one."""
    before = more.get("parsed")
    if before is None:
        return dict(more)
    rest = {name: value for name, value in more.items() if name != "parsed"}
    try:
        if isinstance(before, BaseModel):
            return {**rest, "parsed": type(before).model_validate_json(text)}
        return {**rest, "parsed": json.loads(text)}
    except (ValidationError, ValueError):
        return rest


def metadata_kept(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What may still be said about a reply that was edited: tokens and citations would say it again as it was."""
    return {name: value for name, value in (metadata or {}).items() if not quotes(name, value)}


def quotes(name: str, value: Any) -> bool:
    """Whether something said about a reply may say the reply again."""
    if name in _ABOUT or not isinstance(value, dict | list | tuple | BaseModel):
        return name == "logprobs"
    return isinstance(value, BaseModel) or name == "logprobs" or any(True for _ in leaves(value, (), frozenset()))


def _in(message: AIMessage, node: Mapping[str, Any], place: Path, ids: set[str] | None) -> dict[Path, Path | None]:
    """What of a call in a provider's words is that of the message; ``ids`` is None where such calls have none."""
    told = {key: node[key] for key in ARGUMENTS & node.keys() if node[key] not in (None, "", {})}
    for source, name, args in _calls_of(message, ids):
        if all(_same(value, args) for value in told.values()):
            found: dict[Path, Path | None] = {(*place, key): source for key in told}
            return {**found, (*place, "name"): None} if node.get("name") == name else found
    return {}


def _calls_of(message: AIMessage, ids: set[str] | None) -> Iterator[tuple[Path, str | None, Any]]:
    calls = (
        *(("calls", index, call) for index, call in enumerate(message.tool_calls)),
        *(("bad", index, call) for index, call in enumerate(message.invalid_tool_calls)),
    )
    for kind, index, call in calls:
        if ids is None or str(call.get("id")) in ids:
            yield (kind, index), call.get("name"), call.get("args")


def _same(value: Any, args: Any) -> bool:
    if value == args:
        return True
    if not isinstance(value, str) or not isinstance(args, dict):
        return False
    try:
        return bool(parse_partial_json(value) == args)
    except ValueError:
        return False
